/** What is drawn over a scan in colour, as `sonoforge.runtime.images.coloured_ink` finds it. */

import constants from "./constants.js";
import { boxOf, isDotted, join } from "./ink.js";
import { sum } from "./numbers.js";

const {
  LEAST_SPREAD, LIT, TINT, TINTED, BINS, FULL, SOLID, FILLED, FRAME, ON_SIDES, SIDE, LONGEST_CROSS,
} = constants.coloured_ink;
const { LOWEST, HIGHEST, WIDER } = constants.lettering;

export function findColouredInk(raster) {
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
  for (const members of join(steps, raster)) {
    const box = boxOf(members, 1);
    if (isFrame(members, box, Math.min(width, height))) overlay = true;
    else marks.push({ kind: kindOf(members, box), box });
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
  const usual = tints(data);
  return spread.map((_, i) => {
    const own = usual[stepOf(data, 3 * i)];
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
function kindOf(steps, [left, top, right, bottom]) {
  const [wide, high] = [right - left, bottom - top];
  if (Math.max(wide, high) <= LONGEST_CROSS && wide < 2 * high) return "caliper";
  if (LOWEST <= high && high <= HIGHEST && wide >= WIDER * high) return "text";
  return isDotted(steps) ? "dotted line" : "drawing";
}
