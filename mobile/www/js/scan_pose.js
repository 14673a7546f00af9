/** How the probe was held, as `sonoforge.runtime.images.scan_pose` defines it. */

import constants from "./constants.js";

const { ROWS, DARK, NEAR_FIELD } = constants.scan_pose;

/**
 * @param {Uint8Array} pixels - (S, S, 3).
 * @param {number[]} weights - (ROWS,), `trust.checks.upright` of the manifest.
 * @returns {number} Below 0: more like the training images upside down.
 */
export function uprightScore(pixels, weights) {
  const side = Math.sqrt(pixels.length / 3);
  const rows = Array.from({ length: side }, (_, y) => mean(pixels.subarray(3 * side * y, 3 * side * (y + 1))));
  const bands = Array.from({ length: ROWS }, (_, i) =>
    mean(rows.slice(Math.floor((i * side) / ROWS), Math.floor(((i + 1) * side) / ROWS))),
  );
  const level = 1 + mean(bands);
  return bands.reduce((sum, band, i) => sum + (weights[i] * (band - bands[ROWS - 1 - i])) / level, 0);
}

/**
 * @param {Uint8Array} pixels - (S, S, 3).
 * @returns {number} Share of columns without echo below the near field, 0..1.
 */
export function darkColumns(pixels) {
  const side = Math.sqrt(pixels.length / 3);
  const first = Math.round(NEAR_FIELD * side);
  const sums = new Float64Array(side);
  for (let y = first; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const i = 3 * (y * side + x);
      sums[x] += pixels[i] + pixels[i + 1] + pixels[i + 2];
    }
  }
  const limit = DARK * 3 * (side - first);
  return sums.filter((sum) => sum < limit).length / side;
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
