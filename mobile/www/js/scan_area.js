/** Where the scan lies in an exported screen: the five steps and constants of `sonoforge.runtime.images.scan_area`. */

import constants from "./constants.js";
import { boundsOf, connectedParts, cropped, greyLevels, mean, median, reducedTo, squeeze, toEven, variance } from "./pixels.js";

const {
  LONGEST, CELL, SMALL_CELL, SMALL, FLAT_SHARE, THINNEST, SMALLEST, AS_WIDE, ACTIVE_COLUMN, ACTIVE_ROW, GAP,
  STEP, COLUMNS_INSIDE, ROWS_INSIDE, SAME, REACH, MOST_BEYOND, SECTOR_CORNER, STRIP, SMOOTH, ALIVE, ALIKE, AS_BRIGHT,
} = constants.scan_area;

/** Return the view (S, S, 3), the crop if there is one, and the box of the picture that is seen. */
export function networkView(raster, recipe, crop) {
  const area = crop === "auto" ? findScanArea(raster) : null;
  const seen = area ? cropped(raster, area.box) : raster;
  const box = area?.box ?? [0, 0, raster.width, raster.height];
  return { pixels: squeeze(seen, recipe.size, recipe.resample), crop: area, box };
}

function findScanArea(raster) {
  const { width, height } = raster;
  const levels = reducedTo(greyLevels(raster), LONGEST);
  const side = Math.max(levels.width, levels.height) >= SMALL ? CELL : SMALL_CELL;
  const part = scanCells(textured(levels, side));
  const unknown = (why) => ({ box: [0, 0, width, height], outline: "unknown", kept: 1, reason: `${why} is kept` });
  if (!part) return unknown("no textured area; the whole picture");
  const [first, top, last, bottom] = boundsOf(part.on, part.across);
  const cut = refine(levels, [first * side, top * side, last * side, bottom * side], side);
  const box = continued(levels, cut);
  const outline = hasEmptyCorners(part, [first, top, last, bottom]) ? "sector" : "rectangle";
  const widened = outline === "sector" && box[0] < cut[0] && box[2] > cut[2];
  if (area(box) > (1 + MOST_BEYOND) * area(cut) && !widened) {
    return unknown("the picture goes on beyond its texture; the whole of it");
  }
  const limits = [width, height, width, height];
  const own = box.map((edge, i) => Math.min(edge * levels.factor, limits[i]));
  const size = `${own[2] - own[0]} x ${own[3] - own[1]} of ${width} x ${height} pixels`;
  return { box: own, outline, kept: area(own) / (width * height), reason: `${outline} of ${size}` };
}

const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);

/** Which cells are speckle; an incomplete last cell is filled by reflection. */
function textured({ width, height, data }, side) {
  const across = Math.ceil(width / side);
  const down = Math.ceil(height / side);
  const on = new Uint8Array(across * down);
  const cell = new Uint8Array(side * side);
  const within = (i, length) => (i < length ? i : 2 * (length - 1) - i);
  for (let row = 0; row < down; row++) {
    for (let column = 0; column < across; column++) {
      let at = 0;
      for (let y = row * side; y < (row + 1) * side; y++) {
        const line = within(y, height) * width;
        for (let x = column * side; x < (column + 1) * side; x++) cell[at++] = data[line + within(x, width)];
      }
      on[row * across + column] = flatShare(cell) >= FLAT_SHARE ? 0 : 1;
    }
  }
  return { across, down, on };
}

const counts = new Uint16Array(258); // of each level, and of none below and above

/** Share of values within one level of their (upper) median. */
function flatShare(values) {
  counts.fill(0);
  for (const value of values) counts[value + 1] += 1;
  let median = 0;
  for (let below = 0; below <= values.length >> 1; below += counts[++median]);
  return (counts[median - 1] + counts[median] + counts[median + 1]) / values.length;
}

/** Keep the cells of the scan: the largest part that survives opening, and parts of one column with it. */
function scanCells(cells) {
  const { across, down, on } = cells;
  const thinnest = Math.max(3, toEven(THINNEST * Math.min(across, down)) | 1);
  const found = connectedParts(opened(cells, thinnest), across);
  if (!found.length || found[0].length < SMALLEST * on.length) return null;
  const kept = new Uint8Array(on.length);
  const columns = (part) => part.map((cell) => cell % across).reduce(([a, b], x) => [Math.min(a, x), Math.max(b, x)], [across, -1]);
  const [first, last] = columns(found[0]);
  found.forEach((part, i) => {
    const [start, end] = columns(part);
    const beneath = start >= first - 1 && end <= last + 1 && end - start >= AS_WIDE * (last - first);
    if (i === 0 || beneath) for (const cell of part) kept[cell] = 1;
  });
  return { across, down, on: kept };
}

/** Close holes of one cell, then erase what is thinner; the edge cells are repeated outwards first. */
function opened({ across, down, on }, thinnest) {
  const grown = { across: across + 2 * thinnest, down: down + 2 * thinnest };
  const inside = (i, length) => Math.min(Math.max(i - thinnest, 0), length - 1);
  let mask = Uint8Array.from({ length: grown.across * grown.down }, (_, cell) => {
    const row = inside(Math.floor(cell / grown.across), down);
    return on[row * across + inside(cell % grown.across, across)];
  });
  for (const [size, choose] of [[3, Math.max], [3, Math.min], [thinnest, Math.min], [thinnest, Math.max]]) {
    mask = extreme(mask, grown, size, choose);
  }
  return on.map((_, cell) => {
    const row = Math.floor(cell / across) + thinnest;
    return mask[row * grown.across + (cell % across) + thinnest];
  });
}

/** The largest or smallest value of a square of `size` cells. */
function extreme(on, { across, down }, size, choose) {
  const half = size >> 1;
  const pass = (values, length, step, lines, between) => {
    const out = new Uint8Array(values.length);
    for (let line = 0; line < lines; line++) {
      for (let i = 0; i < length; i++) {
        let found = values[line * between + i * step];
        for (let k = Math.max(0, i - half); k <= Math.min(length - 1, i + half); k++) {
          found = choose(found, values[line * between + k * step]);
        }
        out[line * between + i * step] = found;
      }
    }
    return out;
  };
  return pass(pass(on, across, 1, down, across), down, across, across, 1);
}

/** Move each side, from well inside the cells outwards, to the pixel at which the scan ends. */
function refine({ width, height, data }, [startLeft, startTop, startRight, startBottom], side) {
  let [left, top] = [startLeft, startTop];
  let [right, bottom] = [Math.min(startRight, width), Math.min(startBottom, height)];
  const stepShare = (start, step, count) => {
    let steps = 0;
    for (let k = 0, i = start; k < count; k++, i += step) steps += Math.abs(data[i + step] - data[i]) >= STEP ? 1 : 0;
    return steps / count;
  };
  const ends = (active, first, last, inside) => {
    const reach = inside + REACH * side;
    const { length } = active;
    const end = endOf(active, last - 1 - inside, reach);
    return [length - endOf(active.toReversed(), length - 1 - (first + inside), reach), end];
  };
  const columns = Array.from({ length: width }, (_, x) => stepShare(top * width + x, width, bottom - top - 1) >= ACTIVE_COLUMN);
  [left, right] = ends(columns, left, right, toEven(COLUMNS_INSIDE * (right - left)));
  const rows = Array.from({ length: height }, (_, y) => stepShare(y * width + left, 1, right - left - 1) >= ACTIVE_ROW);
  [top, bottom] = ends(rows, top, bottom, toEven(ROWS_INSIDE * (bottom - top)));
  // Echoes fade with depth, so a scan may end in one dark level, distinguished from the screen's other level.
  const row = (y, from, to) => data.subarray(y * width + from, y * width + to);
  const column = (x) => Uint8Array.from({ length: height }, (_, y) => data[y * width + x]);
  const edges = [row(height - 1, 0, width), column(0), column(width - 1)].map(median);
  const depth = [];
  for (let y = Math.max(bottom - side, top); y < height; y++) depth.push(median(row(y, left, right)));
  const own = median(Float64Array.from(depth.slice(0, side)));
  const alike = (level) => Math.abs(level - own) <= SAME && edges.every((edge) => Math.abs(level - edge) > SAME);
  for (let i = side; i < depth.length && alike(depth[i]); i++) bottom += 1;
  return [left, top, right, bottom];
}

/** The index after the last active line, going up from `start` until more than `GAP` lines are flat. */
function endOf(active, start, reach) {
  let end = start + 1;
  let flat = 0;
  for (let index = start; index < Math.min(start + reach, active.length); index++) {
    flat = active[index] ? 0 : flat + 1;
    if (!flat) end = index + 1;
    else if (flat > GAP) break;
  }
  return end;
}

/** Whether both lower or both upper corners of the box are empty, over an eighth of its sides. */
function hasEmptyCorners({ across, on }, [left, top, right, bottom]) {
  const wide = Math.max(1, Math.floor((right - left) / 8));
  const high = Math.max(1, Math.floor((bottom - top) / 8));
  const share = (x, y) => {
    let sum = 0;
    for (let row = y; row < y + high; row++) for (let column = x; column < x + wide; column++) sum += on[row * across + column];
    return sum / (wide * high);
  };
  const pair = (y) => Math.max(share(left, y), share(right - wide, y));
  return Math.min(pair(top), pair(bottom - high)) < SECTOR_CORNER;
}

/** The last step: move each side of the box outwards while the picture goes on beyond it. */
function continued({ width, height, data }, [startLeft, startTop, startRight, startBottom]) {
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
    if (Math.sqrt(variance(after)) < ALIVE || apart > AS_BRIGHT) return begin - STRIP;
    if (!(correlation(before, after) >= ALIKE)) return begin - STRIP;
    before = after;
  }
  return lines.length - STRIP;
}

/** Mean level along a side, smoothed. */
function profile(data, strip) {
  const level = (i) => mean(strip.map(({ start, step }) => data[start + i * step]));
  const means = Array.from({ length: strip[0].length }, (_, i) => level(i));
  return Array.from({ length: means.length - SMOOTH + 1 }, (_, i) => mean(means.slice(i, i + SMOOTH)));
}

/** Pearson's; NaN for values that are all the same. */
function correlation(one, other) {
  const [a, b] = [mean(one), mean(other)];
  const products = one.map((value, i) => (value - a) * (other[i] - b));
  return mean(products) / Math.sqrt(variance(one) * variance(other));
}
