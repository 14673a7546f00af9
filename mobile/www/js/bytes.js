/** Bytes of files: text, checksums, compression; and the errors of files that cannot be read. */

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

export const damaged = (why) =>
  new ImageError("truncated", `the image data is cut off or damaged (${why}); obtain the file again`);

/** A bundle whose files do not match its manifest. */
export class BundleError extends Error {}

/** Refuse a size as Python does; `most` is in pixels. */
export function checkSize(width, height, most = LIMITS.MAX_PIXELS) {
  const found = `${width}x${height} pixels`;
  if (width * height > most) {
    throw new ImageError("too_large", `${found}, more than ${most / 1e6} million; scale it down`);
  }
  if (Math.min(width, height) < LIMITS.MIN_SIDE) {
    throw new ImageError("too_small", `${found}, but each side needs at least ${LIMITS.MIN_SIDE}`);
  }
  if (Math.max(width, height) > LIMITS.MAX_ASPECT * Math.min(width, height)) {
    throw new ImageError("unsupported", `${found}: one side is more than ${LIMITS.MAX_ASPECT} times the other; crop it`);
  }
}

export const viewOf = ({ buffer, byteOffset, byteLength }) => new DataView(buffer, byteOffset, byteLength);

/** One character a byte. */
export const ascii = (data, at, length) => String.fromCharCode(...data.subarray(at, at + length));

export function joined(parts) {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let position = 0;
  for (const part of parts) {
    out.set(part, position);
    position += part.length;
  }
  return out;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

/** CRC-32 of PNG and zip (ISO 3309), 0..2^32 - 1. */
export function crc32(data) {
  let c = 0xffffffff;
  for (let i = 0; i < data.length; i++) c = TABLE[(c ^ data[i]) & 255] ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

/** Decompress with zlib's header (`deflate`) or without (`deflate-raw`), to at most `most` bytes; errors if damaged. */
export async function inflate(data, format, most) {
  const reader = new Response(data).body.pipeThrough(new DecompressionStream(format)).getReader();
  const parts = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return joined(parts);
    size += value.length;
    if (size > most) {
      await reader.cancel();
      throw new Error(`found more than ${most} bytes after decompression`);
    }
    parts.push(value);
  }
}

/** Undo PackBits to at most `size` bytes (TIFF 6.0, section 9; PS3.5, annex G). */
export function unPackBits(stored, size) {
  const out = new Uint8Array(size);
  let to = 0;
  for (let at = 0; at < stored.length && to < size; ) {
    const control = stored[at++];
    if (control < 128) {
      const plain = stored.subarray(at, at + Math.min(control + 1, size - to));
      out.set(plain, to);
      to += plain.length;
      at += control + 1;
    } else if (control > 128 && at < stored.length) {
      out.fill(stored[at++], to, to + 257 - control);
      to = Math.min(size, to + 257 - control);
    }
  }
  return out.subarray(0, to);
}
