/** The last step of `scan_area.js`: move each side of the box outwards while the picture goes on beyond it. */

import constants from "./constants.js";

const { STRIP, SMOOTH, ALIVE, ALIKE, AS_BRIGHT } = constants.scan_area;

/**
 * @param {import("./grey.js").Levels} levels
 * @param {import("./grey.js").Box} box
 * @returns {import("./grey.js").Box}
 */
export function continued({ width, height, data }, [startLeft, startTop, startRight, startBottom]) {
  let [left, top, right, bottom] = [startLeft, startTop, startRight, startBottom];
  const column = (x) => ({ start: top * width + x, step: width, length: bottom - top });
  const row = (y) => ({ start: y * width + left, step: 1, length: right - left });
  const upTo = (from, count, direction, line) => Array.from({ length: count }, (_, i) => line(from + direction * i));
  right += further(data, upTo(right - STRIP, width - right + STRIP, 1, column));
  left -= further(data, upTo(left + STRIP - 1, left + STRIP, -1, column));
  bottom += further(data, upTo(bottom - STRIP, height - bottom + STRIP, 1, row));
  top -= further(data, upTo(top + STRIP - 1, top + STRIP, -1, row));
  return [left, top, right, bottom];
}

/** By how many lines a side moves: the lines begin with the strip inside it and go outwards. */
function further(data, lines) {
  if (lines.length < STRIP || lines[0].length < 2 * SMOOTH) return 0;
  let before = profile(data, lines.slice(0, STRIP));
  for (let begin = STRIP; begin < lines.length; begin += STRIP) {
    const after = profile(data, lines.slice(begin, begin + STRIP));
    const apart = after.reduce((sum, value, i) => sum + Math.abs(value - before[i]), 0) / after.length;
    if (deviation(after) < ALIVE || apart > AS_BRIGHT) return begin - STRIP;
    if (!(correlation(before, after) >= ALIKE)) return begin - STRIP;
    before = after;
  }
  return lines.length - STRIP;
}

/** Mean level along a side, smoothed. */
function profile(data, strip) {
  const { length } = strip[0];
  const means = new Float64Array(length);
  for (let i = 0; i < length; i++) {
    let sum = 0;
    for (const { start, step } of strip) sum += data[start + i * step];
    means[i] = sum / strip.length;
  }
  return Float64Array.from({ length: length - SMOOTH + 1 }, (_, i) => {
    let sum = 0;
    for (let k = 0; k < SMOOTH; k++) sum += means[i + k] / SMOOTH;
    return sum;
  });
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

function deviation(values) {
  const centre = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - centre) ** 2)));
}

/** Pearson's; NaN for values that are all the same. */
function correlation(one, other) {
  const [a, b] = [mean(one), mean(other)];
  let product = 0;
  let first = 0;
  let second = 0;
  one.forEach((value, i) => {
    product += (value - a) * (other[i] - b);
    first += (value - a) ** 2;
    second += (other[i] - b) ** 2;
  });
  return product / Math.sqrt(first * second);
}
