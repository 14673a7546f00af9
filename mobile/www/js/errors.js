/** A file that cannot be answered for: `code` says which kind, as Python's `ImageError` does. */
export class ImageError extends Error {
  /**
   * @param {string} code - `not_an_image`, `truncated`, `too_large`, `too_small`, `animated`, `unsupported` or `empty`.
   * @param {string} message - One sentence with the remedy.
   */
  constructor(code, message) {
    super(message);
    this.name = "ImageError";
    this.code = code;
  }
}

/** A bundle whose files are not what its manifest says. */
export class BundleError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = "BundleError";
  }
}
