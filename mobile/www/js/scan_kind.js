/** What kind of picture a scan is, as `sonoforge.runtime.images.scan_checks` tells it. */

import constants from "./constants.js";
import { mean, median, sum } from "./numbers.js";

const {
  MIDDLE, CLIPPED, ACROSS, WINDOW, STRONGEST, WEIGHTS, GAP_DARK, BOTH_LIT, NARROWEST_GAP,
} = constants.scan_checks;

/** Name the kind of a view's grey levels (S, S); `overlay` says whether colours lie over the scan. */
export function nameKind(levels, overlay) {
  if (overlay) return "colour overlay";
  const side = Math.sqrt(levels.length);
  return hasGap(levels, side) || seamScore(levels, side) > 0 ? "two scans" : "B-mode";
}

/** Whether dark columns part a picture in two. */
function hasGap(levels, side) {
  const columns = Array.from({ length: side }, (_, x) => mean(columnOf(levels, side, x)));
  const usual = median(columns);
  const [first, last] = MIDDLE.map((share) => Math.trunc(share * side));
  const isDark = (level, x) => x >= first && x < last && level < Math.max(4, GAP_DARK * usual);
  if (columns.filter(isDark).length < NARROWEST_GAP) return false;
  const sides = [columns.slice(0, columns.findIndex(isDark)), columns.slice(columns.findLastIndex(isDark) + 1)];
  return Math.min(...sides.map(mean)) > BOTH_LIT * usual;
}

function seamScore(levels, side) {
  const total = new Array(side - 1).fill(0);
  for (let y = 0; y < side; y++) {
    const row = levels.subarray(y * side, (y + 1) * side);
    const steps = Array.from({ length: side - 1 }, (_, x) => Math.abs(row[x + 1] - row[x]));
    const usual = median(steps) + 1;
    steps.forEach((step, x) => (total[x] += Math.min(step / usual, CLIPPED)));
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
  const half = WINDOW >> 1;
  const found = new Float64Array(side * side);
  for (let x = 0; x < side; x++) {
    for (let y = 0; y < side; y++) {
      let total = 0;
      for (let k = y - half; k <= y + half; k++) total += levels[Math.min(Math.max(k, 0), side - 1) * side + x];
      found[y * side + x] = levels[y * side + x] - total / WINDOW;
    }
  }
  for (let y = 0; y < side; y++) {
    const row = found.subarray(y * side, (y + 1) * side);
    const centre = mean(row);
    const deviation = Math.sqrt(mean(row.map((value) => (value - centre) ** 2))) + 2;
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
