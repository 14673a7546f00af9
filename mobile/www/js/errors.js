import constants from "./constants.js";

export const LIMITS = constants.limits;

/** A file that cannot be answered, with the `code` of Python's `ImageError`. */
export class ImageError extends Error {
  /** `code` is not_an_image, truncated, incomplete, too_large, too_small, too_slow, animated, unsupported or empty. */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** A bundle whose files do not match its manifest. */
export class BundleError extends Error {}

/** @param {number} [most] - Pixels. */
export function checkSize(width, height, most = LIMITS.MAX_PIXELS) {
  const found = `found ${width}x${height} pixels`;
  if (width * height > most) {
    throw new ImageError("too_large", `${found}, expected at most ${most / 1e6} million; scale it down`);
  }
  if (Math.min(width, height) < LIMITS.MIN_SIDE) {
    throw new ImageError("too_small", `${found}, expected at least ${LIMITS.MIN_SIDE} a side`);
  }
  if (Math.max(width, height) > LIMITS.MAX_ASPECT * Math.min(width, height)) {
    throw new ImageError("unsupported", `${found}, expected one side at most ${LIMITS.MAX_ASPECT} times the other; crop it`);
  }
}
