import { ImageError } from "./errors.js";

/** As `sonoforge.runtime.images.limits` has them; `limits` of the test vectors holds both to the same. */
export const LIMITS = { fileBytes: 200_000_000, pixels: 50_000_000, webpPixels: 16_000_000, side: 16, aspect: 20 };

/**
 * @param {number} width
 * @param {number} height
 * @param {number} [most] - Pixels.
 * @throws {ImageError}
 */
export function checkSize(width, height, most = LIMITS.pixels) {
  const found = `found ${width}x${height} pixels`;
  if (width * height > most) {
    throw new ImageError("too_large", `${found}, expected at most ${most / 1e6} million; scale it down`);
  }
  if (Math.min(width, height) < LIMITS.side) {
    throw new ImageError("too_small", `${found}, expected at least ${LIMITS.side} a side`);
  }
  if (Math.max(width, height) > LIMITS.aspect * Math.min(width, height)) {
    throw new ImageError("unsupported", `${found}, expected one side at most ${LIMITS.aspect} times the other; crop it`);
  }
}
