/**
 * What was burned into a scan: calipers, text, body marks; the search of `sonoforge.runtime.images.burned_in_marks`.
 *
 * Text, body marks and dotted lines are found from sharp steps between neighbours, as `sonoforge.runtime.images.lettering`
 * finds them (Jung, Kim, Jain, Pattern Recognition 37(5), 2004, section 3.2).
 */

import { findCrosses } from "./calipers.js";
import constants from "./constants.js";
import { connectedParts, cropped, greyLevels, reducedTo } from "./grey.js";
import { mean, toEven } from "./numbers.js";

const { SENTENCE, LONGEST, MOST_STEPS, PLURAL } = constants.burned_in_marks;
const {
  STEP, CELL, FEWEST, LOWEST, HIGHEST, NARROWEST, WIDER, TEXT, LINES, DRAWING, EVEN, BRIGHT,
  SMALLEST_DRAWING, LARGEST_DRAWING, STRAIGHT, SHORTEST_LINE, COVERED, FEWEST_STEPS,
} = constants.lettering;

/** @typedef {{summary: string, counts: Record<string, number>, note: string}} Marks - As in Python's `Marks.to_dict()`. */

/**
 * @param {import("./png.js").Raster} raster
 * @param {import("./grey.js").Box | null} box - Where to search; null for the whole picture.
 * @returns {Marks}
 */
export function findMarks(raster, box) {
  const counts = {};
  const kinds = markKinds(greyLevels(box ? cropped(raster, box) : raster));
  for (const kind of Object.keys(PLURAL)) {
    const found = kinds.filter((one) => one === kind).length;
    if (found) counts[kind] = found;
  }
  const named = ([kind, count]) => (kind === "text" ? kind : `${count} ${count === 1 ? kind : PLURAL[kind]}`);
  return { summary: Object.entries(counts).map(named).join(", "), counts, note: kinds.length ? SENTENCE : "" };
}

function markKinds(grey) {
  const levels = reducedTo(grey, LONGEST);
  if (Math.min(levels.width, levels.height) < 2) return [];
  const steps = sharpSteps(levels);
  if (steps.length > MOST_STEPS * levels.data.length) return [];
  const crosses = findCrosses(levels);
  const written = findLettering(levels, steps, crosses);
  const texts = written.filter(({ kind }) => kind === "text").map(({ box }) => box);
  const calipers = crosses.filter((own) => !texts.some((text) => overlap(own, text)));
  return [...calipers.map(() => "caliper"), ...written.map(({ kind }) => kind)];
}

function overlap(one, other) {
  return one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3];
}

/** @typedef {{row: number, column: number}} Step - Of the left pixel. */
/** @typedef {{kind: "text" | "body mark" | "dotted line", box: import("./grey.js").Box}} Lettering */

/**
 * @param {import("./grey.js").Levels} levels
 * @returns {Step[]} Where neighbours in a row differ by much.
 */
function sharpSteps({ width, height, data }) {
  const found = [];
  for (let row = 0; row < height; row++) {
    for (let column = 0, i = row * width; column < width - 1; column++, i++) {
      const step = data[i] - data[i + 1];
      if (step >= STEP || step <= -STEP) found.push({ row, column });
    }
  }
  return found;
}

/**
 * @param {import("./grey.js").Levels} levels
 * @param {Step[]} steps
 * @param {import("./grey.js").Box[]} calipers - What reaches into one is no body mark, and its line no other line.
 * @returns {Lettering[]}
 */
function findLettering(levels, steps, calipers) {
  const taken = ({ row, column }) =>
    calipers.some(
      ([left, top, right, bottom]) => row >= top - 1 && row <= bottom && column >= left - 2 && column <= right,
    );
  const found = [];
  for (const members of groups(levels, steps)) {
    const own = members.filter((step) => !taken(step));
    const kind = own.length >= FEWEST_STEPS && kindOf(levels, own, own.length === members.length);
    if (kind) found.push({ kind, box: boxOf(own) });
  }
  return found;
}

/** Join the steps of cells that touch, or lie one cell apart in a row. */
function groups({ width, height }, steps) {
  const across = Math.ceil(width / CELL);
  const down = Math.ceil(height / CELL);
  const cellOf = ({ row, column }) => Math.floor(row / CELL) * across + Math.floor(column / CELL);
  const counts = new Uint32Array(across * down);
  for (const step of steps) counts[cellOf(step)] += 1;
  // Neighbours in a row are joined over one empty cell; rows by cells that touch.
  const wide = new Uint8Array(counts.length);
  for (let cell = 0; cell < counts.length; cell++) {
    if (counts[cell] < FEWEST) continue;
    const column = cell % across;
    wide[cell] = 1;
    if (column > 0) wide[cell - 1] = 1;
    if (column < across - 1) wide[cell + 1] = 1;
  }
  const partOf = new Uint32Array(wide.length);
  const members = connectedParts(wide, across).map((cells, number) => {
    for (const cell of cells) partOf[cell] = number;
    return [];
  });
  for (const step of steps) {
    const cell = cellOf(step);
    if (counts[cell] >= FEWEST) members[partOf[cell]].push(step);
  }
  return members.filter((part) => part.length >= FEWEST_STEPS);
}

function boxOf(steps) {
  let [left, top, right, bottom] = [Infinity, Infinity, -1, -1];
  for (const { row, column } of steps) {
    left = Math.min(left, column);
    top = Math.min(top, row);
    right = Math.max(right, column);
    bottom = Math.max(bottom, row);
  }
  return [left, top, right + 2, bottom + 1];
}

/** What a group of steps is, null if nothing known; `alone`: no caliper is part of it. */
function kindOf({ width, height, data }, steps, alone) {
  const [left, top, right, bottom] = boxOf(steps);
  const [wide, high] = [right - left, bottom - top];
  const filled = steps.length / (wide * high);
  const fewest = wide >= WIDER * high ? TEXT : LINES;
  if (high >= LOWEST && high <= HIGHEST && wide >= NARROWEST && filled >= fewest) return "text";
  if (!alone) return null;
  const ink = Uint8Array.from(steps, ({ row, column }) => {
    const i = row * width + column;
    return Math.max(data[i], data[i + 1]);
  }).sort();
  const low = ink[Math.floor(ink.length / 4)];
  const bright = ink[Math.floor((ink.length * 9) / 10)];
  if (low < BRIGHT || bright - low > EVEN) return null;
  const [small, large] = [Math.min(wide, high), Math.max(wide, high)];
  const drawn = large <= LARGEST_DRAWING * Math.max(width, height) && filled >= DRAWING;
  if (small >= SMALLEST_DRAWING && drawn) return "body mark";
  return isDotted(steps) ? "dotted line" : null;
}

/** Whether the steps lie on one straight line, long enough and with gaps. */
function isDotted(steps) {
  const [x, y] = [mean(steps.map(({ column }) => column)), mean(steps.map(({ row }) => row))];
  const points = steps.map(({ row, column }) => [column - x, row - y]);
  const [xx, xy, yy] = points.reduce(([a, b, c], [u, v]) => [a + u * u, b + u * v, c + v * v], [0, 0, 0]);
  const angle = xy === 0 ? (xx >= yy ? 0 : Math.PI / 2) : Math.atan2(2 * xy, xx - yy) / 2;
  const [u, v] = angle === Math.PI / 2 ? [0, 1] : [Math.cos(angle), Math.sin(angle)];
  const along = points.map(([a, b]) => a * u + b * v);
  const beside = points.map(([a, b]) => Math.abs(b * u - a * v)).sort((a, b) => a - b);
  const length = Math.max(...along) - Math.min(...along);
  const covered = new Set(along.map(toEven)).size / (length + 1);
  const off = beside[Math.floor((beside.length * 9) / 10)];
  return length >= SHORTEST_LINE && off <= STRAIGHT && covered <= COVERED;
}
