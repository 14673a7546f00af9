/** How an answer is to be taken: the states of `sonoforge.runtime.inference.verdict`; their words are in `words/`. */

import constants from "./constants.js";
import { CAUSES } from "./trust.js";
import { className, say } from "./words.js";

const { ADVICE, UNUSABLE } = constants.verdict;

/** Return the state: `left` are the classes that cannot be ruled out, of `count` in all. */
export function stateOf(abstained, causes, left, count) {
  if (abstained) return "uncertain";
  if (advised(causes)) return "do not use";
  if (left.length > 1) return left.length === count ? "cannot tell" : "undecided";
  return causes.includes(CAUSES.POOR_SCAN) ? "poor image" : "clear";
}

/** The cause whose advice applies to an answer that must not be used. */
const advised = (causes) => Object.keys(ADVICE).find((cause) => causes.includes(cause));

/** @param {import("./classifier.js").Result} [result] - None of a file that could not be read. */
export const isUsable = (result) => result !== undefined && !UNUSABLE.includes(result.verdict);

/** Return look, heading and advice in the reader's language, and the `causes` that the advice does not cover. */
export function inWords({ verdict, set, trust }) {
  const classes = set.map(className).join(` ${say("or")} `);
  const told = { "do not use": advised(trust.causes), "poor image": CAUSES.POOR_SCAN }[verdict];
  return {
    look: UNUSABLE.includes(verdict) ? "no" : verdict === "clear" ? "clear" : "open",
    heading: verdict === "clear" ? classes : say(verdict, { classes }),
    advice: say(verdict === "do not use" ? `advice ${told}` : `${verdict} advice`),
    causes: trust.causes.filter((cause) => cause !== told).map((cause) => say(`cause ${cause}`)),
  };
}
