/**
 * Marks burned into a scan: calipers, text, body marks; as `sonoforge.runtime.images.burned_in_marks` finds them.
 *
 * Text, body marks and dotted lines are found from sharp steps between neighbours (Jung, Kim, Jain, Pattern Recognition 37(5),
 * 2004, section 3.2).
 */

import { findCrosses } from "./calipers.js";
import { findColouredInk } from "./coloured_ink.js";
import constants from "./constants.js";
import { cropped, greyLevels, reducedTo } from "./grey.js";
import { boxOf, isDotted, isOneDrawing, join } from "./ink.js";

const { SENTENCE, LONGEST, MOST_STEPS, PLURAL } = constants.burned_in_marks;
const {
  STEP, LOWEST, HIGHEST, NARROWEST, WIDER, TEXT, LINES, DRAWING, EVEN, BRIGHT, SMALLEST_DRAWING, LARGEST_DRAWING,
  FEWEST_STEPS,
} = constants.lettering;

/**
 * @typedef {{summary: string, counts: Record<string, number>, note: string}} Marks - As in Python's `Marks.to_dict()`.
 */

/** @type {Marks} */
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

/** @returns {import("./ink.js").Drawn[]} */
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

/** @returns {import("./ink.js").Step[]} Where neighbours in a row differ by much. */
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

/** @param {import("./grey.js").Box[]} calipers - What reaches into one is no body mark, and its line no other line. */
function findLettering(levels, steps, calipers) {
  const taken = ({ row, column }) =>
    calipers.some(
      ([left, top, right, bottom]) => row >= top - 1 && row <= bottom && column >= left - 2 && column <= right,
    );
  const found = [];
  for (const members of join(steps, levels)) {
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
