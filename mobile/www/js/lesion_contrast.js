/**
 * gCNR of the map's brightest tenth against the tissue round it (Rodriguez-Molares et al. 2020, equation 5), as
 * `sonoforge.runtime.images.lesion_contrast` measures a mask.  A figure of the map's area, not of a lesion.
 */

import { atSize } from "./activation_map.js";
import constants from "./constants.js";
import { greyLevels } from "./grey.js";

const { BINS, FEWEST } = constants.lesion_contrast;

/**
 * @param {import("./activation_map.js").ActivationMap} map
 * @param {number} limit - From which a place belongs to the brightest tenth.
 * @param {Uint8Array} view - (S, S, 3).
 * @returns {number | null} 0..1; null where either part has too few pixels.
 */
export function mapContrast(map, limit, view) {
  const side = Math.sqrt(view.length / 3);
  const { data: levels } = greyLevels({ width: side, height: side, channels: 3, data: view });
  const values = atSize(map, side, side);
  let [left, top, right, bottom] = [side, side, -1, -1];
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      if (values[y * side + x] < limit) continue;
      left = Math.min(left, x);
      top = Math.min(top, y);
      right = Math.max(right, x);
      bottom = y;
    }
  }
  const tall = (bottom - top + 1) >> 1;
  const wide = (right - left + 1) >> 1;
  const counts = [new Float64Array(BINS), new Float64Array(BINS)];
  for (let y = Math.max(0, top - tall); y < Math.min(side, bottom + 1 + tall); y++) {
    for (let x = Math.max(0, left - wide); x < Math.min(side, right + 1 + wide); x++) {
      const i = y * side + x;
      counts[values[i] >= limit ? 1 : 0][Math.floor((levels[i] * BINS) / 256)] += 1;
    }
  }
  const [surround, area] = counts.map((bins) => bins.reduce((sum, count) => sum + count, 0));
  if (Math.min(surround, area) < FEWEST) return null;
  return 1 - counts[0].reduce((sum, count, bin) => sum + Math.min(count / surround, counts[1][bin] / area), 0);
}
