/**
 * Signs that a picture is no usable scan: colour, pose, grain, two scans, and image quality; as
 * `sonoforge.runtime.images.scan_checks` and `quality_metrics`.
 */

import constants from "./constants.js";
import { mean, median, sum, toEven, variance } from "./pixels.js";
import { say } from "./words.js";

const {
  ROWS, LEAST_DETAIL, DARK, NEAR_FIELD, GRAIN_WINDOW, LEAST_VARIANCE, LEAST_COLOUR, MIDDLE, CLIPPED, ACROSS, WINDOW, STRONGEST, WEIGHTS, GAP_DARK,
  BOTH_LIT, NARROWEST_GAP,
} = constants.scan_checks;
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
  const width = 3 * side;
  const rows = new Float64Array(side);
  for (let i = width; i < pixels.length; i++) {
    const y = Math.floor(i / width);
    const step = Math.abs(pixels[i] - pixels[i - width]);
    rows[y] += step;
    rows[y - 1] += step;
  }
  const start = (band) => Math.floor((band * side) / ROWS);
  const detail = (band) => Math.log(LEAST_DETAIL + mean(rows.slice(start(band), start(band + 1))) / width);
  const bands = Array.from({ length: ROWS }, (_, band) => detail(band));
  return sum(bands.map((value, band) => weights[band] * (value - bands[ROWS - 1 - band])));
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
  const surrounding = boxSums(boxSums(levels, side, 1, side, HALF), side, side, 1, HALF);
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

/** Sums of each value along lines and of `half` values on either side; the border is continued outwards. */
function boxSums(values, side, step, between, half) {
  const out = new Float64Array(values.length);
  for (let line = 0; line < side; line++) {
    const start = line * between;
    const at = (k) => values[start + step * Math.min(Math.max(k, 0), side - 1)];
    let sum = 0;
    for (let k = -half; k < half; k++) sum += at(k);
    for (let k = 0; k < side; k++) {
      sum += at(k + half);
      out[start + step * k] = sum;
      sum -= at(k - half);
    }
  }
  return out;
}

/** Name the kind of a view's grey levels (S, S); `overlay` says whether colours lie over the scan. */
export function nameKind(levels, overlay) {
  if (overlay) return "colour overlay";
  const side = Math.sqrt(levels.length);
  return hasGap(levels, side) || seamScore(levels, side) > 0 ? "two scans" : "B-mode";
}

/** Whether dark columns part a picture in two. */
function hasGap(levels, side) {
  const columns = Array.from({ length: side }, (_, x) => mean(columnOf(levels, side, x)));
  const typical = median(columns);
  const [first, last] = MIDDLE.map((share) => Math.trunc(share * side));
  const isDark = (level, x) => x >= first && x < last && level < Math.max(4, GAP_DARK * typical);
  if (columns.filter(isDark).length < NARROWEST_GAP) return false;
  const sides = [columns.slice(0, columns.findIndex(isDark)), columns.slice(columns.findLastIndex(isDark) + 1)];
  return Math.min(...sides.map(mean)) > BOTH_LIT * typical;
}

function seamScore(levels, side) {
  const total = new Array(side - 1).fill(0);
  for (let y = 0; y < side; y++) {
    const row = levels.subarray(y * side, (y + 1) * side);
    const steps = Array.from({ length: side - 1 }, (_, x) => Math.abs(row[x + 1] - row[x]));
    const typical = median(steps) + 1;
    steps.forEach((step, x) => (total[x] += Math.min(step / typical, CLIPPED)));
  }
  const difference = total.map((value) => value / side); // divided at the end: of equal columns the first one counts
  const typicalStep = Math.max(median(difference), 1e-9);
  const [first, last] = MIDDLE.map((share) => Math.trunc(share * side));
  const middle = difference.slice(first, last);
  const column = first + middle.indexOf(Math.max(...middle));
  const detail = detailOf(levels, side);
  const likeness = [];
  for (let x = 0; x + ACROSS < side; x++) {
    const [one, other] = [detail[x], detail[x + ACROSS]];
    likeness.push(sum(one.values.map((value, y) => value * other.values[y])) / (one.norm * other.norm));
  }
  const typical = median(likeness);
  const loss = typical - Math.min(...likeness.slice(column + 1 - ACROSS, column + 1)); // of pairs on both sides of it
  const features = [Math.log(Math.max(difference[column] / typicalStep, 1e-9)), loss, 1];
  return sum(features.map((value, i) => WEIGHTS[i] * value));
}

/** The levels of each column less their mean along the depth, in standard deviations of their row. */
function detailOf(levels, side) {
  const totals = boxSums(levels, side, side, 1, WINDOW >> 1);
  const found = totals.map((total, i) => levels[i] - total / WINDOW);
  for (let y = 0; y < side; y++) {
    const row = found.subarray(y * side, (y + 1) * side);
    const deviation = Math.sqrt(variance(row)) + 2;
    row.forEach((value, x) => (row[x] = Math.min(Math.max(value / deviation, -STRONGEST), STRONGEST)));
  }
  return Array.from({ length: side }, (_, x) => {
    const own = columnOf(found, side, x);
    const centre = mean(own);
    const values = own.map((value) => value - centre);
    return { values, norm: Math.sqrt(sum(values.map((value) => value * value))) + 1e-3 };
  });
}

const columnOf = (levels, side, x) => Array.from({ length: side }, (_, y) => levels[y * side + x]);

// ---- image quality

const { METRICS, SATURATED_FROM, BLACK_UP_TO } = constants.quality_metrics;

// For each row of Python's `METRICS`: of a view's `grey` (S, S), its `side` S, the `share` of pixels at each level, and the
// original's `width` and `height`.
const MEASURES = {
  sharpness: (view) => variance(filtered(view, ({ centre, cross }) => cross - 4 * centre)),
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

/** Measure the network's view (S, S, 3) of a picture of a size in pixels. */
export function measureQuality(pixels, width, height) {
  const grey = toGrey(pixels);
  const counts = new Float64Array(256);
  for (const level of grey) counts[level] += 1;
  const share = counts.map((count) => count / grey.length);
  const view = { grey, side: Math.sqrt(grey.length), share, width, height };
  return Object.fromEntries(Object.keys(METRICS).map((name) => [name, MEASURES[name](view)]));
}

/** Name what is beyond `limits`, of the manifest's `quality`, such as `sharpness_low`. */
export function qualityFlags(values, limits) {
  return Object.entries(METRICS).flatMap(([name, metric]) => [
    ...(metric.low && values[name] < limits[name]?.low ? [`${name}_low`] : []),
    ...(metric.high && values[name] > limits[name]?.high ? [`${name}_high`] : []),
  ]);
}

/** Flags of quality in the reader's language, or in English. */
export const flagsInWords = (flags) => flags.map((flag) => say(`flag ${flag}`, {}, flagInEnglish(flag))).join(", ");

/** A flag in English, such as `blurred` for `sharpness_low`. */
const flagInEnglish = (flag) => METRICS[flag.replace(/_[a-z]+$/, "")][flag.match(/[a-z]+$/)[0]];

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
