/**
 * Where in the scan a class's evidence lies, as `sonoforge.runtime.inference.activation_map` defines it.
 *
 * Source: Zhou et al., Learning deep features for discriminative localization, CVPR 2016, section 2.
 */

import constants from "./constants.js";

const { GRID, BRIGHTEST_POINTS } = constants.activation_map;

/** @typedef {{values: Float32Array, rows: number, columns: number}} ActivationMap */

/**
 * Enlarge a map bilinearly; constant outside the outermost centres of cells.
 *
 * @param {ActivationMap} map
 * @param {number} width
 * @param {number} height
 * @returns {Float32Array} (height, width).
 */
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

/**
 * The strongest cell of a map laid over a picture, the first in reading order of several.
 *
 * @param {ActivationMap} map
 * @param {number} width
 * @param {number} height
 * @returns {{x: number, y: number, value: number}} The pixel at the cell's centre.
 */
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

/**
 * @param {ActivationMap} map
 * @returns {{share: number | null, from: number}} Of the brightest tenth of the area: its share of the positive mass, null
 *   without any, and the value from which a place belongs to it.
 */
export function brightestTenth(map) {
  const ordered = atSize(map, GRID, GRID).sort();
  const positive = (values) => values.reduce((sum, value) => sum + Math.max(value, 0), 0);
  const total = positive(ordered);
  const first = ordered.length - BRIGHTEST_POINTS;
  return { share: total > 0 ? positive(ordered.subarray(first)) / total : null, from: ordered[first] };
}
