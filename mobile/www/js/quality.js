/** Image quality: the metrics of `sonoforge.runtime.images.quality_metrics`, and flags against the training images. */

import constants from "./constants.js";
import { sum, toEven } from "./numbers.js";
import { say } from "./words.js";

const { METRICS, SATURATED_FROM, BLACK_UP_TO } = constants.quality_metrics;

/**
 * One function for each row of Python's `METRICS`, of a view's evidence: `grey` (S, S), its `side` S, the `share` of
 * pixels at each level, the original's `width` and `height`.
 */
const MEASURES = {
  sharpness: (view) => {
    const laplacian = filtered(view, ({ centre, cross }) => cross - 4 * centre);
    return mean(laplacian.map((value) => value ** 2)) - mean(laplacian) ** 2;
  },
  noise: (view) => {
    const residuals = filtered(view, ({ centre, cross, corners }) => Math.abs(corners - 2 * cross + 4 * centre));
    return (Math.sqrt(Math.PI / 2) / 6) * mean(residuals);
  },
  contrast: ({ share }) => quantile(share, 0.95) - quantile(share, 0.05),
  brightness: ({ share }) => share.reduce((total, part, level) => total + part * level, 0),
  saturated: ({ share }) => sum(share.slice(SATURATED_FROM)),
  black: ({ share }) => sum(share.slice(0, BLACK_UP_TO + 1)),
  evenness,
  resolution: ({ width, height }) => Math.min(width, height),
};

/**
 * @param {Uint8Array} pixels - (S, S, 3), the network's view.
 * @param {number} width - Of the original, in pixels.
 * @returns {Record<string, number>} By metric.
 */
export function measureQuality(pixels, width, height) {
  const grey = toGrey(pixels);
  const counts = new Float64Array(256);
  for (const level of grey) counts[level] += 1;
  const share = counts.map((count) => count / grey.length);
  const view = { grey, side: Math.sqrt(grey.length), share, width, height };
  return Object.fromEntries(Object.keys(METRICS).map((name) => [name, MEASURES[name](view)]));
}

/**
 * @param {Record<string, {low: number, high: number}>} limits - `quality` of the manifest.
 * @returns {string[]} Such as `sharpness_low`.
 */
export function qualityFlags(values, limits) {
  return Object.entries(METRICS).flatMap(([name, metric]) => [
    ...(metric.low && values[name] < limits[name].low ? [`${name}_low`] : []),
    ...(metric.high && values[name] > limits[name].high ? [`${name}_high`] : []),
  ]);
}

/** Flags in the reader's language, or in English. */
export const inWords = (flags) => flags.map((flag) => say(`flag ${flag}`, {}, flagInEnglish(flag))).join(", ");

/** A flag in English, such as `blurred` for `sharpness_low`. */
export const flagInEnglish = (flag) => METRICS[flag.replace(/_[a-z]+$/, "")][flag.match(/[a-z]+$/)[0]];

const mean = (values) => sum(values) / values.length;

/** The lowest level up to which a share of the pixels lies. */
function quantile(share, limit) {
  let cumulative = 0;
  return share.findIndex((part) => (cumulative += part) >= limit);
}

/** Apply a function of the centre, the sum of its four neighbours and that of the four corners to each inner pixel. */
function filtered({ grey, side }, filter) {
  const out = new Float64Array((side - 2) ** 2);
  let to = 0;
  for (let y = 1; y < side - 1; y++) {
    for (let i = y * side + 1; i < (y + 1) * side - 1; i++) {
      const cross = grey[i - side] + grey[i + side] + grey[i - 1] + grey[i + 1];
      const corners = grey[i - side - 1] + grey[i + side - 1] + grey[i - side + 1] + grey[i + side + 1];
      out[to++] = filter({ centre: grey[i], cross, corners });
    }
  }
  return out;
}

/** The darkest band of a sixth of the width, below the upper quarter, against the darker of its neighbours. */
function evenness({ grey, side }) {
  const top = side >> 2;
  const width = Math.floor(side / 6);
  const below = new Float64Array(side);
  for (let i = top * side; i < grey.length; i++) below[i % side] += grey[i];
  let total = width * (side - top);
  const bands = [];
  for (let x = 0; x < side; x++) {
    total += below[x] - (x >= width ? below[x - width] : 0);
    if (x >= width - 1) bands.push(total);
  }
  const beside = (i) => Math.min(bands[i - width], bands[i + width]);
  return Math.min(...bands.slice(width, -width).map((band, i) => band / beside(i + width)));
}

/** The one channel of a grey image, or luma (ITU-R BT.601) in 32 bits, rounded to even. */
function toGrey(pixels) {
  const grey = new Uint8Array(pixels.length / 3);
  const isGrey = grey.every((_, i) => pixels[3 * i] === pixels[3 * i + 1] && pixels[3 * i] === pixels[3 * i + 2]);
  const [r, g, b] = [0.299, 0.587, 0.114].map(Math.fround);
  return grey.map((_, i) => {
    const [red, green, blue] = pixels.subarray(3 * i, 3 * i + 3);
    return isGrey ? red : toEven(Math.fround(r * red + g * green + b * blue));
  });
}
