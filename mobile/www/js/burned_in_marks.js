/** What was burned into a scan: calipers, text, body marks; the search of `sonoforge.runtime.images.burned_in_marks`. */

import { findCrosses } from "./calipers.js";
import constants from "./constants.js";
import { cropped, greyLevels, reducedTo } from "./grey.js";
import { findLettering, sharpSteps } from "./lettering.js";

const { SENTENCE, LONGEST, MOST_STEPS, PLURAL } = constants.burned_in_marks;

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
