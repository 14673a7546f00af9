import constants from "./constants.js";
import { ImageError } from "./errors.js";

export const LIMITS = constants.limits;

/**
 * @param {number} width
 * @param {number} height
 * @param {number} [most] - Pixels.
 * @throws {ImageError}
 */
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
