/**
 * Marks burned into a scan: calipers, text, body marks, coloured ink; as `sonoforge.runtime.images.burned_in_marks` finds them.
 *
 * A step is `{row, column}`: a pixel of ink, or the left one of a sharp step between neighbours.
 */

import { findCrosses } from "./calipers.js";
import constants from "./constants.js";
import { connectedParts, cropped, greyLevels, mean, reducedTo, sum, toEven } from "./pixels.js";

const {
  BINS, BRIGHT, CELL, COVERED, DRAWING, EVEN, FEWEST, FEWEST_STEPS, FILLED, FRAME, FULL, HIGHEST, LARGEST_DRAWING, LEAST_SPREAD, LINES,
  LIT, LONGEST, LONGEST_CROSS, LOWEST, MOST_INK, MOST_STEPS, NARROWEST, ON_SIDES, PLURAL, ROUND, SENTENCE, SHORTEST_LINE, SIDE,
  SMALLEST_DRAWING, SOLID, SPANS_HEIGHT, SPANS_WIDTH, STEP, STRAIGHT, TEXT, TINT, TINTED, WIDER,
} = constants.burned_in_marks;

/** As Python's `Marks.to_dict()`. */
export const NO_MARKS = { summary: "", counts: {}, note: "" };

/** Search a box, or the whole picture; `overlay` says whether colours of Doppler or elastography lie over it. */
export function findMarks(raster, box) {
  const counts = {};
  const searched = box ? cropped(raster, box) : raster;
  const ink = findColouredInk(reducedTo(searched, LONGEST));
  const beside = ({ box: own }) => !ink.marks.some((coloured) => overlap(own, coloured.box));
  const kinds = [...ink.marks, ...greyMarks(greyLevels(searched)).filter(beside)].map(({ kind }) => kind);
  for (const kind of Object.keys(PLURAL)) {
    const found = kinds.filter((one) => one === kind).length;
    if (found) counts[kind] = found;
  }
  const named = ([kind, count]) => (kind === "text" ? kind : `${count} ${count === 1 ? kind : PLURAL[kind]}`);
  const summary = Object.entries(counts).map(named).join(", ");
  return { marks: { summary, counts, note: kinds.length ? SENTENCE : "" }, overlay: ink.overlay };
}

function greyMarks(grey) {
  const levels = reducedTo(grey, LONGEST);
  if (Math.min(levels.width, levels.height) < 2) return [];
  const steps = sharpSteps(levels);
  if (steps.length > MOST_STEPS * levels.data.length) return [];
  const crosses = findCrosses(levels);
  const written = findLettering(levels, steps, crosses);
  const texts = written.filter(({ kind }) => kind === "text").map(({ box }) => box);
  const calipers = crosses.filter((own) => !texts.some((text) => overlap(own, text)));
  return [...calipers.map((box) => ({ kind: "caliper", box })), ...written];
}

function overlap(one, other) {
  return one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3];
}

/** Where neighbours in a row differ by much. */
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

/** What reaches into a caliper is no body mark, and its line no other line. */
function findLettering(levels, steps, calipers) {
  const taken = ({ row, column }) =>
    calipers.some(
      ([left, top, right, bottom]) => row >= top - 1 && row <= bottom && column >= left - 2 && column <= right,
    );
  const found = [];
  for (const members of joined(steps, levels)) {
    const own = members.filter((step) => !taken(step));
    const kind = own.length >= FEWEST_STEPS && kindOf(levels, own, own.length === members.length);
    if (kind) found.push({ kind, box: boxOf(own, 2) });
  }
  return found;
}

/** Name a group of steps, or null; `alone`: no caliper is part of it. */
function kindOf(levels, steps, alone) {
  const { width, height, data } = levels;
  const box = boxOf(steps, 2);
  const [left, top, right, bottom] = box;
  const [wide, high] = [right - left, bottom - top];
  const filled = steps.length / (wide * high);
  const fewest = wide >= WIDER * high ? TEXT : LINES;
  if (high >= LOWEST && high <= HIGHEST && wide >= NARROWEST && filled >= fewest) {
    return alone && isOneDrawing(levels, steps, box) ? "body mark" : "text";
  }
  if (!alone) return null;
  const ink = Uint8Array.from(steps, ({ row, column }) => {
    const i = row * width + column;
    return Math.max(data[i], data[i + 1]);
  }).sort();
  const low = ink[Math.floor(ink.length / 4)];
  const bright = ink[Math.floor((ink.length * 9) / 10)];
  const even = low >= BRIGHT && bright - low <= EVEN;
  const [small, large] = [Math.min(wide, high), Math.max(wide, high)];
  const sized = small >= SMALLEST_DRAWING && large <= LARGEST_DRAWING * Math.max(width, height) && filled >= DRAWING;
  if (sized && (even || isOneDrawing(levels, steps, box))) return "body mark";
  return even && isDotted(steps) ? "dotted line" : null;
}

// ---- what is drawn in colour

function findColouredInk(raster) {
  const nothing = { marks: [], overlay: false };
  if (raster.channels !== 3) return nothing;
  const { width, height } = raster;
  const ink = departure(raster).map((levels) => Number(levels > LEAST_SPREAD));
  const steps = [];
  ink.forEach((is, i) => {
    if (is) steps.push({ row: Math.floor(i / width), column: i % width });
  });
  if (!steps.length) return nothing;
  let overlay = solidShare(ink, width, height) > FILLED;
  const marks = [];
  for (const members of joined(steps, raster)) {
    const box = boxOf(members, 1);
    if (isFrame(members, box, Math.min(width, height))) overlay = true;
    else marks.push({ kind: inkKind(members, box), box });
  }
  return { marks: overlay ? [] : marks, overlay };
}

/** By how many levels each pixel departs from grey, or from its tint. */
function departure({ data }) {
  const spread = new Uint8Array(data.length / 3);
  let [lit, coloured, most] = [0, 0, 0];
  for (let i = 0, from = 0; i < spread.length; i++, from += 3) {
    const high = Math.max(data[from], data[from + 1], data[from + 2]);
    spread[i] = high - Math.min(data[from], data[from + 1], data[from + 2]);
    most = Math.max(most, spread[i]);
    if (high <= LIT) continue;
    lit += 1;
    if (spread[i] > TINT) coloured += 1;
  }
  if (most <= LEAST_SPREAD || coloured < TINTED * lit) return spread;
  const typical = tints(data);
  return spread.map((_, i) => {
    const own = typical[stepOf(data, 3 * i)];
    return Math.max(...own.map((level, band) => Math.abs(data[3 * i + band] - level)));
  });
}

const stepOf = (data, from) => Math.floor(((data[from] + data[from + 1] + data[from + 2]) * BINS) / (3 * 256));

/** Typical red, green and blue at each step of brightness: lower medians, or the nearest full step's. */
function tints(data) {
  const counts = Array.from({ length: BINS }, () => [0, 1, 2].map(() => new Uint32Array(256)));
  for (let from = 0; from < data.length; from += 3) {
    counts[stepOf(data, from)].forEach((own, band) => (own[data[from + band]] += 1));
  }
  const totals = counts.map(([own]) => sum(own));
  const medians = counts.map((bands, step) =>
    bands.map((own) => {
      let below = 0;
      return own.findIndex((count) => 2 * (below += count) >= totals[step]);
    }),
  );
  const full = totals.flatMap((total, step) => (total >= (FULL * data.length) / 3 ? [step] : []));
  return counts.map((_, step) => {
    const away = full.map((one) => Math.abs(one - step));
    const nearest = full[away.indexOf(Math.min(...away))];
    return medians[nearest].map((level) => Math.min(Math.floor((level * (2 * step + 1)) / (2 * nearest + 1)), 255));
  });
}

/** The share of the picture's pixels that are the corner of a square full of ink. */
function solidShare(ink, width, height) {
  const above = new Uint16Array(width); // of each column, how many pixels of ink end in this row
  let full = 0;
  for (let row = 0; row < height; row++) {
    let beside = 0;
    for (let column = 0; column < width; column++) {
      above[column] = ink[row * width + column] ? above[column] + 1 : 0;
      beside = above[column] >= SOLID ? beside + 1 : 0;
      if (beside >= SOLID) full += 1;
    }
  }
  return full / ink.length;
}

function isFrame(steps, [left, top, right, bottom], shorter) {
  const [wide, high] = [right - left, bottom - top];
  if (Math.min(wide, high) <= FRAME * shorter || steps.length <= (wide + high) / 2) return false;
  const onSides = steps.filter(
    ({ row, column }) =>
      row < top + SIDE || row >= bottom - SIDE || column < left + SIDE || column >= right - SIDE,
  );
  return onSides.length / steps.length > ON_SIDES;
}

/** Name a group of ink by its shape. */
function inkKind(steps, [left, top, right, bottom]) {
  const [wide, high] = [right - left, bottom - top];
  if (Math.max(wide, high) <= LONGEST_CROSS && wide < 2 * high) return "caliper";
  if (LOWEST <= high && high <= HIGHEST && wide >= WIDER * high) return "text";
  return isDotted(steps) ? "dotted line" : "drawing";
}

// ---- groups of ink

/** Join the steps of cells that touch, or lie one cell apart in a row. */
function joined(steps, { width, height }) {
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

/** The box of steps, each of which covers `wide` pixels. */
function boxOf(steps, wide) {
  let [left, top, right, bottom] = [Infinity, Infinity, -1, -1];
  for (const { row, column } of steps) {
    left = Math.min(left, column);
    top = Math.min(top, row);
    right = Math.max(right, column);
    bottom = Math.max(bottom, row);
  }
  return [left, top, right + wide, bottom + 1];
}

/** Whether connected thin strokes span the box of the steps. */
function isOneDrawing({ width, height, data }, steps, [left, top, right, bottom]) {
  const twice = steps.map(({ row, column }) => data[row * width + column] + data[row * width + column + 1]);
  const middle = twice.sort((a, b) => a - b)[steps.length >> 1] / 2;
  const [x, y] = [Math.max(left - ROUND, 0), Math.max(top - ROUND, 0)];
  const across = Math.min(right + ROUND, width) - x;
  const ink = new Uint8Array(across * (Math.min(bottom + ROUND, height) - y)).map((_, i) =>
    Number(data[(y + Math.floor(i / across)) * width + x + (i % across)] >= middle),
  );
  if (sum(ink) > MOST_INK * (right - left) * (bottom - top)) return false;
  // A pixel further down, so that strokes hang together across corners and gaps of one row.
  const joined = ink.map((on, i) => on || Number(i >= across && ink[i - across]));
  return connectedParts(joined, across).some((part) => {
    const columns = part.map((i) => i % across);
    const rows = part.map((i) => Math.floor(i / across));
    const span = (places) => Math.max(...places) - Math.min(...places);
    return span(columns) >= SPANS_WIDTH * (right - left) && span(rows) >= SPANS_HEIGHT * (bottom - top);
  });
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
