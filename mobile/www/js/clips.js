/** Answer a clip as a whole, distinct frames pooled, the best one named; `sonoforge.runtime.inference.clips`. */

import { answerOf } from "./classifier.js";
import constants from "./constants.js";
import { decideEqual, equalShares, reweighted } from "./decision.js";
import { MotionMeter } from "./frame_motion.js";
import { greyLevels } from "./grey.js";
import { sum } from "./numbers.js";
import { resized } from "./preprocess.js";

const { NEAR_EQUAL, VIEW } = constants.clips;

/**
 * @typedef {object} Clip - `clip` of Python's answers.
 * @property {number} frames
 * @property {number} distinct - How many were classified; the others are near-equal to the one kept before them.
 * @property {number} agreeing - How many of these have the clip's label on their own.
 * @property {number} best_frame - From 1: the one that is shown.
 * @property {any} motion
 */

/** Pool the answers to distinct frames, one in memory at a time; trust, quality and map are the best frame's. */
export async function classifyClip(classifier, image) {
  const { manifest } = classifier.bundle;
  const { prevalence } = classifier.settings.clinic;
  const meter = new MotionMeter();
  const answers = [];
  let kept = null;
  const ms = { decode: 0, total: 0 };
  for (let number = 1; number <= image.frameCount; number++) {
    const began = performance.now();
    const frame = await image.frame(number);
    ms.decode += performance.now() - began;
    meter.add(frame);
    const view = resized(greyLevels(frame), ...VIEW, "box");
    if (kept && !differs(view, kept)) continue;
    kept = view;
    const result = await classifier.classify(frame);
    ms.total += result.ms.total;
    answers.push({ number, result });
  }
  const equal = equalShares(manifest.classes);
  const said = answers.map(({ result }) => reweighted(result.probabilities, prevalence, equal));
  const mean = manifest.classes.map((name) => [name, sum(said.map((frame) => frame[name])) / said.length]);
  const decided = decideEqual(Object.fromEntries(mean), manifest, classifier.settings.clinic);
  const agreeing = answers.filter(({ result }) => result.best === decided.label);
  const best = bestOf(agreeing.length ? agreeing : answers, decided.label);
  return {
    result: {
      ...best.result,
      ...answerOf(decided, best.result.trust, classifier),
      ms: { ...best.result.ms, decode: ms.decode, total: ms.decode + ms.total },
    },
    clip: {
      frames: image.frameCount,
      distinct: answers.length,
      agreeing: agreeing.length,
      best_frame: best.number,
      motion: meter.motion(),
    },
  };
}

function differs(view, kept) {
  const apart = view.reduce((total, value, i) => total + Math.abs(value - kept[i]), 0);
  return apart / view.length >= NEAR_EQUAL;
}

/** Prefer answers like the training images, then with fewest flags, then the surest, then the first. */
function bestOf(answers, label) {
  const rank = ({ result }) => [
    result.trust.in_distribution ? 0 : 1,
    result.quality.flags.length,
    -result.probabilities[label],
  ];
  const isBefore = (one, other) => {
    const place = one.findIndex((value, i) => value !== other[i]);
    return place >= 0 && one[place] < other[place];
  };
  return answers.reduce((best, one) => (isBefore(rank(one), rank(best)) ? one : best));
}
