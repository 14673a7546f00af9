/**
 * How good an image is: the numbers of `sonoforge.runtime.images.quality_metrics`, and flags against the range
 * of the training images that the bundle records.
 */

import constants from "./constants.js";
import { sum, toEven } from "./numbers.js";
import { say } from "./words.js";

const { METRICS, SATURATED_FROM, BLACK_UP_TO } = constants.quality_metrics;

/**
 * @param {Uint8Array} pixels - (S, S, 3), the network's view.
 * @param {number} width - Of the original, in pixels.
 * @returns {Record<string, number>} By metric.
 */
export function measureQuality(pixels, width, height) {
  const grey = toGrey(pixels);
  const side = Math.sqrt(grey.length);
  const counts = new Float64Array(256);
  for (const level of grey) counts[level] += 1;
  const share = counts.map((count) => count / grey.length);
  let cumulative = 0;
  let low = -1;
  let high = -1;
  let brightness = 0;
  share.forEach((part, level) => {
    cumulative += part;
    brightness += part * level;
    if (low < 0 && cumulative >= 0.05) low = level;
    if (high < 0 && cumulative >= 0.95) high = level;
  });
  let total = 0;
  let squares = 0;
  let residuals = 0;
  for (let y = 1; y < side - 1; y++) {
    for (let x = 1; x < side - 1; x++) {
      const i = y * side + x;
      const cross = grey[i - side] + grey[i + side] + grey[i - 1] + grey[i + 1];
      const corners = grey[i - side - 1] + grey[i + side - 1] + grey[i - side + 1] + grey[i + side + 1];
      const laplacian = cross - 4 * grey[i];
      total += laplacian;
      squares += laplacian * laplacian;
      residuals += Math.abs(corners - 2 * cross + 4 * grey[i]);
    }
  }
  const inner = (side - 2) ** 2;
  const between = (from, to) => sum(share.slice(from, to));
  return {
    sharpness: squares / inner - (total / inner) ** 2,
    noise: (Math.sqrt(Math.PI / 2) / 6) * (residuals / inner),
    contrast: high - low,
    brightness,
    saturated: between(SATURATED_FROM, 256),
    black: between(0, BLACK_UP_TO + 1),
    evenness: evenness(grey, side),
    resolution: Math.min(width, height),
  };
}

/**
 * @param {Record<string, number>} values - What `measureQuality` returned.
 * @param {Record<string, {low: number, high: number}>} limits - `quality` of the manifest.
 * @returns {string[]} Such as `sharpness_low`.
 */
export function qualityFlags(values, limits) {
  return Object.entries(METRICS).flatMap(([name, metric]) => [
    ...(metric.low && values[name] < limits[name].low ? [`${name}_low`] : []),
    ...(metric.high && values[name] > limits[name].high ? [`${name}_high`] : []),
  ]);
}

/**
 * @param {string[]} flags - What `qualityFlags` returned.
 * @returns {string} In the reader's language, or in English.
 */
export function inWords(flags) {
  return flags.map((flag) => say(`flag ${flag}`, {}, flagInEnglish(flag))).join(", ");
}

/** What a flag says, such as `blurred` for `sharpness_low`. */
export function flagInEnglish(flag) {
  return METRICS[flag.replace(/_[a-z]+$/, "")][flag.match(/[a-z]+$/)[0]];
}

/** The darkest band of a sixth of the width, below the upper quarter, against the darker of its neighbours. */
function evenness(grey, side) {
  const top = side >> 2;
  const width = Math.floor(side / 6);
  const below = new Float64Array(side);
  for (let i = top * side; i < grey.length; i++) below[i % side] += grey[i];
  let sum = width * (side - top);
  const bands = [];
  for (let x = 0; x < side; x++) {
    sum += below[x] - (x >= width ? below[x - width] : 0);
    if (x >= width - 1) bands.push(sum);
  }
  const beside = (i) => Math.min(bands[i - width], bands[i + width]);
  return Math.min(...bands.slice(width, -width).map((band, i) => band / beside(i + width)));
}

/** The one channel of a grey image, or luma (ITU-R BT.601) in 32 bits, rounded to even. */
function toGrey(pixels) {
  const grey = new Uint8Array(pixels.length / 3);
  let coloured = false;
  for (let i = 0, from = 0; i < grey.length; i++, from += 3) {
    grey[i] = pixels[from];
    coloured ||= pixels[from] !== pixels[from + 1] || pixels[from] !== pixels[from + 2];
  }
  if (!coloured) return grey;
  const [r, g, b] = [0.299, 0.587, 0.114].map(Math.fround);
  for (let i = 0, from = 0; i < grey.length; i++, from += 3) {
    grey[i] = toEven(Math.fround(r * pixels[from] + g * pixels[from + 1] + b * pixels[from + 2]));
  }
  return grey;
}
