/** From the network's probabilities to an answer and how to take it: `sonoforge.runtime.inference.decision` and `verdict`. */

import constants from "./constants.js";
import { sum } from "./pixels.js";
import { CAUSES } from "./trust.js";
import { capital, listedClasses, say } from "./words.js";

/** Return probabilities for other class shares, by Bayes' theorem; `found` are the shares they were computed for. */
export function reweighted(probabilities, found, to) {
  const names = Object.keys(probabilities);
  const weighted = names.map((name) => (probabilities[name] * to[name]) / found[name]);
  const total = sum(weighted);
  return Object.fromEntries(names.map((name, i) => [name, weighted[i] / total]));
}

/** Decide on the network's probabilities (n,) of one scan: all at the clinic's prevalence, see `decideEqual`. */
export function decide(probabilities, manifest, clinic) {
  const { classes, decision } = manifest;
  const said = Object.fromEntries(classes.map((name, i) => [name, probabilities[i]]));
  return decideEqual(reweighted(said, decision.reference, equalShares(classes)), manifest, clinic);
}

export const equalShares = (classes) => Object.fromEntries(classes.map((name) => [name, 1]));

/** Decide on probabilities of equally frequent classes; `set` holds the label and the classes that cannot be ruled out. */
export function decideEqual(equal, { classes, decision, conformal, site }, { prevalence, sensitivity }) {
  const alike = equalShares(classes);
  const here = reweighted(equal, alike, prevalence);
  const fits = site ? reweighted(equal, alike, site.prevalence) : equal; // its sets were fitted at its own shares
  const label = classes.reduce((best, name) => (here[name] > here[best] ? name : best));
  const answered = decision.questions.map((question) => {
    const { threshold } = operatingPoint(question, sensitivity);
    const finding = { probability: among(here, question), positive: among(equal, question) >= threshold };
    return [question.name, { ...finding, threshold: thresholdAt(equal, prevalence, question, threshold) }];
  });
  const set = new Set(classes.filter((name) => name === label || fits[name] >= conformal.thresholds[name]));
  for (const { among: about, positive, points } of decision.questions) {
    if (about.length < classes.length || positive.some((name) => set.has(name))) continue;
    // Its most sensitive point decides whether the set may do without a positive class.
    if (among(equal, { among: about, positive }) < points.at(-1).threshold) continue;
    set.add(positive.reduce((best, name) => (equal[name] > equal[best] ? name : best)));
  }
  return {
    probabilities: here,
    label,
    set: classes.filter((name) => set.has(name)),
    findings: Object.fromEntries(answered),
  };
}

/** The point that was chosen for a sensitivity. */
export const operatingPoint = ({ points }, sensitivity) => points.find(({ aim }) => aim === sensitivity);

/** The probability of the positive classes among those that the question is about; 0 where none fits. */
function among(probabilities, question) {
  const share = (names) => sum(names.map((name) => probabilities[name]));
  const whole = share(question.among);
  return whole > 0 ? share(question.positive) / whole : 0;
}

/** The threshold of a question for class shares, given a scan's mix of classes on either side; one that none fits is even. */
function thresholdAt(equal, shares, question, threshold) {
  const mix = (name) => equal[name] + 1e-300;
  const mean = (names) => sum(names.map((name) => mix(name) * shares[name])) / sum(names.map(mix));
  const yes = threshold * mean(question.positive);
  return yes / (yes + (1 - threshold) * mean(question.among.filter((name) => !question.positive.includes(name))));
}

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

/** Whether a result, undefined of a file that could not be read, may be used. */
export const isUsable = (result) => result !== undefined && !UNUSABLE.includes(result.verdict);

/** Return look, heading and advice in the reader's language, and the `causes` that the advice does not cover. */
export function verdictInWords({ verdict, set, trust }) {
  const classes = listedClasses(set);
  const covered = { "do not use": advised(trust.causes), "poor image": CAUSES.POOR_SCAN }[verdict];
  return {
    look: UNUSABLE.includes(verdict) ? "no" : verdict === "clear" ? "clear" : "open",
    heading: capital(verdict === "clear" ? classes : say(verdict, { classes })),
    advice: say(verdict === "do not use" ? `advice ${covered}` : `${verdict} advice`),
    causes: trust.causes.filter((cause) => cause !== covered).map((cause) => say(`cause ${cause}`)),
  };
}
