/** Recognise the network's training images, as `sonoforge.runtime.images.sketches`. */

import constants from "./constants.js";

const { ALIKE, ACROSS, DOWN, EVENS, SIDE, SIGNS } = constants.sketches;
const WAVES = Array.from({ length: SIDE }, (_, k) =>
  Float64Array.from({ length: SIDE }, (_, i) => Math.cos((Math.PI * (i + 0.5) * k) / SIDE) * Math.sqrt((k ? 2 : 1) / SIDE)),
);

/** Whether a picture's detail (1024,) is that of a training image; null if the bundle has no sketches. */
export function isTrainedOn(detail, { trained_usual: usual, trained_signs: signs }) {
  if (!signs) return null;
  const own = DOWN.map((down, i) => amplitude(detail, WAVES[down], WAVES[ACROSS[i]]) / Math.max(usual.data[i], 1e-6));
  const least = ALIKE * Math.hypot(...own) * Math.sqrt(SIGNS);
  if (!least) return false;
  for (let from = 0; from < signs.data.length; from += SIGNS / 8) {
    const parts = [0, 0]; // even and odd across: mirroring changes the sign of one
    own.forEach((value, i) => {
      parts[i < EVENS ? 0 : 1] += (signs.data[from + (i >> 3)] >> (7 - (i & 7))) & 1 ? value : -value;
    });
    if (Math.abs(parts[0]) + Math.abs(parts[1]) >= least) return true;
  }
  return false;
}

function amplitude(detail, down, across) {
  let sum = 0;
  for (let y = 0; y < SIDE; y++) for (let x = 0; x < SIDE; x++) sum += down[y] * across[x] * detail[y * SIDE + x];
  return sum;
}
