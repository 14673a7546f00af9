/**
 * Where in the scan a class's evidence lies, as `sonoforge.runtime.inference.activation_map` defines it.
 *
 * Source: Zhou et al., Learning deep features for discriminative localization, CVPR 2016, section 2.
 */

import constants from "./constants.js";
import { boundsOf } from "./pixels.js";

const { GRID, BRIGHTEST_POINTS } = constants.activation_map;
const { BINS, FEWEST } = constants.scan_metrics;
const MOST_OPAQUE = 0.55; // of the drawn map

/** Enlarge a map bilinearly to (height, width); constant beyond the outermost cells' centres. */
export function atSize({ values, rows, columns }, width, height) {
  const across = weights(columns, width);
  const down = weights(rows, height);
  const wide = new Float32Array(rows * width);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < width; x++) {
      const { first, second, share } = across[x];
      wide[y * width + x] = values[y * columns + first] * (1 - share) + values[y * columns + second] * share;
    }
  }
  const out = new Float32Array(width * height);
  for (let y = 0; y < height; y++) {
    const { first, second, share } = down[y];
    for (let x = 0; x < width; x++) {
      out[y * width + x] = wide[first * width + x] * (1 - share) + wide[second * width + x] * share;
    }
  }
  return out;
}

function weights(cells, length) {
  return Array.from({ length }, (_, i) => {
    const centre = Math.min(Math.max(((i + 0.5) * cells) / length - 0.5, 0), cells - 1);
    const first = Math.floor(centre);
    return { first, second: Math.min(first + 1, cells - 1), share: centre - first };
  });
}

/** Return the pixel at the centre of the strongest cell, the first in reading order, of a map laid over a picture. */
export function peak({ values, rows, columns }, width, height) {
  const best = values.indexOf(Math.max(...values));
  const row = Math.floor(best / columns);
  const column = best % columns;
  return {
    x: Math.floor(((2 * column + 1) * width) / (2 * columns)),
    y: Math.floor(((2 * row + 1) * height) / (2 * rows)),
    value: values[best],
  };
}

/** Return the brightest tenth's `share` of the positive mass (null without any), and the value it begins `from`. */
export function brightestTenth(map) {
  const ordered = atSize(map, GRID, GRID).sort();
  const positive = (values) => values.reduce((sum, value) => sum + Math.max(value, 0), 0);
  const total = positive(ordered);
  const first = ordered.length - BRIGHTEST_POINTS;
  return { share: total > 0 ? positive(ordered.subarray(first)) / total : null, from: ordered[first] };
}

/**
 * Return gCNR (0..1) of the map's brightest tenth, from `limit` on, against the tissue around it, as
 * `sonoforge.runtime.images.scan_metrics` measures a mask (Rodriguez-Molares et al. 2020, equation 5); null where either part has
 * too few pixels of the view's grey levels (S, S).  It describes the map's area, not a lesion.
 */
export function mapContrast(map, limit, { width: side, data: levels }) {
  const values = atSize(map, side, side);
  const [left, top, right, bottom] = boundsOf(values.map((value) => value >= limit), side);
  const tall = (bottom - top) >> 1;
  const wide = (right - left) >> 1;
  const counts = [new Float64Array(BINS), new Float64Array(BINS)];
  for (let y = Math.max(0, top - tall); y < Math.min(side, bottom + tall); y++) {
    for (let x = Math.max(0, left - wide); x < Math.min(side, right + wide); x++) {
      const i = y * side + x;
      counts[values[i] >= limit ? 1 : 0][Math.floor((levels[i] * BINS) / 256)] += 1;
    }
  }
  const [surround, area] = counts.map((bins) => bins.reduce((sum, count) => sum + count, 0));
  if (Math.min(surround, area) < FEWEST) return null;
  return 1 - counts[0].reduce((sum, count, bin) => sum + Math.min(count / surround, counts[1][bin] / area), 0);
}

/**
 * Draw a scan under its heat map, as `sonoforge.runtime.explanations` does, at an opacity of 0 to 1; `box` are left, top, right and
 * bottom of the map as shares of the picture, `colours` are (256, 3).
 */
export function drawHeatMap(canvas, picture, { map, box }, colours, opacity) {
  canvas.width = picture.width;
  canvas.height = picture.height;
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  const most = Math.max(...map.values);
  if (most <= 0 || opacity === 0) return;
  const [left, top, right, bottom] = box.map((share, i) => Math.round(share * (i % 2 ? picture.height : picture.width)));
  const [width, height] = [right - left, bottom - top];
  const values = atSize(map, width, height);
  const limit = Math.max(brightestTenth(map).from, Number.MIN_VALUE);
  const image = context.getImageData(left, top, width, height);
  const { data } = image;
  for (let i = 0; i < values.length; i++) {
    const level = Math.round(Math.min(Math.max(values[i] / most, 0), 1) * 255);
    const share = opacity * MOST_OPAQUE * Math.sqrt(level / 255);
    for (let k = 0; k < 3; k++) data[4 * i + k] = (1 - share) * data[4 * i + k] + share * colours[level][k];
  }
  outline(data, values, width, height, limit);
  context.putImageData(image, left, top);
}

/** White inside black, so that it shows on every ground. */
function outline(data, values, width, height, limit) {
  const line = Math.max(1, Math.round(Math.min(width, height) / 350));
  const inside = new Uint8Array(values.length);
  for (let i = 0; i < inside.length; i++) inside[i] = values[i] >= limit ? 1 : 0;
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const own = inside[i];
      const edge =
        (x >= line && inside[i - line] !== own) ||
        (x + line < width && inside[i + line] !== own) ||
        (y >= line && inside[i - line * width] !== own) ||
        (y + line < height && inside[i + line * width] !== own);
      if (edge) data.fill(own ? 255 : 0, 4 * i, 4 * i + 3);
    }
  }
}
