import constants from "./constants.js";

const { WINDOW, LEAST_VARIANCE } = constants.speckle_grain;
const HALF = WINDOW >> 1;

/**
 * By how much the grain of a picture is wider than deep, as that of ultrasound is; see
 * `sonoforge.runtime.images.speckle_grain` (Wagner et al. 1983).
 *
 * @param {Uint8Array} pixels - (S, S, 3).
 * @returns {number} -2 to 2; 0 for a picture of one level.
 */
export function flatness(pixels) {
  const side = Math.sqrt(pixels.length / 3);
  const levels = new Float64Array(side * side);
  for (let i = 0; i < levels.length; i++) levels[i] = pixels[3 * i] + pixels[3 * i + 1] + pixels[3 * i + 2];
  const surrounding = boxSums(boxSums(levels, side, 1, side), side, side, 1);
  const area = (2 * HALF + 1) ** 2;
  const grain = levels.map((level, i) => (level - surrounding[i] / area) / 3);
  let squares = 0;
  let across = 0;
  let along = 0;
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const i = y * side + x;
      squares += grain[i] ** 2;
      if (x) across += grain[i] * grain[i - 1];
      if (y) along += grain[i] * grain[i - side];
    }
  }
  const pairs = side * (side - 1);
  return (across / pairs - along / pairs) / (squares / (side * side) + LEAST_VARIANCE);
}

/** Sums of 9 values along lines; the border is continued outwards. */
function boxSums(values, side, step, between) {
  const out = new Float64Array(values.length);
  for (let line = 0; line < side; line++) {
    const start = line * between;
    const at = (k) => values[start + step * Math.min(Math.max(k, 0), side - 1)];
    let sum = 0;
    for (let k = -HALF; k < HALF; k++) sum += at(k);
    for (let k = 0; k < side; k++) {
      sum += at(k + HALF);
      out[start + step * k] = sum;
      sum -= at(k - HALF);
    }
  }
  return out;
}
