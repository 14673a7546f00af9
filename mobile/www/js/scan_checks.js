/** Signs that a picture is no usable scan: colour, how the probe was held, grain; as `sonoforge.runtime.images.scan_checks`. */

import constants from "./constants.js";
import { mean } from "./numbers.js";

const { ROWS, DARK, NEAR_FIELD, GRAIN_WINDOW, LEAST_VARIANCE, LEAST_COLOUR } = constants.scan_checks;
const HALF = GRAIN_WINDOW >> 1;

/** Share (0..1) of pixels (S, S, 3) whose channels differ by more than 24 levels. */
export function colouredShare(pixels) {
  let coloured = 0;
  for (let i = 0; i < pixels.length; i += 3) {
    const [red, green, blue] = [pixels[i], pixels[i + 1], pixels[i + 2]];
    if (Math.max(red, green, blue) - Math.min(red, green, blue) > LEAST_COLOUR) coloured += 1;
  }
  return coloured / (pixels.length / 3);
}

/** Below 0: more like the training images upside down; `weights` (ROWS,) are `trust.checks.upright` of the manifest. */
export function uprightScore(pixels, weights) {
  const side = Math.sqrt(pixels.length / 3);
  const rows = Array.from({ length: side }, (_, y) => mean(pixels.subarray(3 * side * y, 3 * side * (y + 1))));
  const bands = Array.from({ length: ROWS }, (_, i) =>
    mean(rows.slice(Math.floor((i * side) / ROWS), Math.floor(((i + 1) * side) / ROWS))),
  );
  const level = 1 + mean(bands);
  return bands.reduce((sum, band, i) => sum + (weights[i] * (band - bands[ROWS - 1 - i])) / level, 0);
}

/** Share (0..1) of columns without echo below the near field. */
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

/** How much wider than deep the grain is, as in ultrasound: -2 to 2, 0 for a single level (Wagner et al. 1983). */
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
