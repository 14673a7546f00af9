/** From the network's probabilities to an answer, as `sonoforge.runtime.inference.decision` does. */

import { sum } from "./numbers.js";

/**
 * @typedef {object} Clinic - Of `app.json`: where answers are for.
 * @property {Record<string, number>} prevalence - Share of each class among the clinic's scans; 1 in sum.
 * @property {number} sensitivity - That each question is asked at.
 */

/** @typedef {{probability: number, positive: boolean}} Finding - The answer to one question. */

/**
 * @typedef {object} Question - Of the manifest's `decision`.
 * @property {string} name - Of what is looked for.
 * @property {string[]} positive - Classes that have it.
 * @property {string[]} among - Classes that the question is about.
 * @property {{aim: number, threshold: number, sensitivity: number, specificity: number}[]} points
 */

/** Return probabilities for other class shares, by Bayes' theorem; `found` are the shares they were computed for. */
export function reweighted(probabilities, found, to) {
  const names = Object.keys(probabilities);
  const weighted = names.map((name) => (probabilities[name] * to[name]) / found[name]);
  const total = sum(weighted);
  return Object.fromEntries(names.map((name, i) => [name, weighted[i] / total]));
}

/**
 * Decide on the network's probabilities (n,) of one scan.
 *
 * @returns {{probabilities: Record<string, number>, label: string, set: string[], findings: Record<string, Finding>}} At the
 *   clinic's prevalence; `set` holds the label and the classes that cannot be ruled out.
 */
export function decide(probabilities, manifest, clinic) {
  const { classes, decision } = manifest;
  const said = Object.fromEntries(classes.map((name, i) => [name, probabilities[i]]));
  return decideEqual(reweighted(said, decision.reference, equalShares(classes)), manifest, clinic);
}

/** @returns {Record<string, number>} */
export const equalShares = (classes) => Object.fromEntries(classes.map((name) => [name, 1]));

/** Decide, as `decide` does, on probabilities of equally frequent classes. */
export function decideEqual(equal, { classes, decision, conformal, site }, { prevalence, sensitivity }) {
  const alike = equalShares(classes);
  const here = reweighted(equal, alike, prevalence);
  const fits = site ? reweighted(equal, alike, site.prevalence) : equal; // its sets were fitted at its own shares
  const label = classes.reduce((best, name) => (here[name] > here[best] ? name : best));
  const answered = decision.questions.map((question) => {
    const { threshold } = operatingPoint(question, sensitivity);
    return [question.name, { probability: among(here, question), positive: among(equal, question) >= threshold }];
  });
  return {
    probabilities: here,
    label,
    set: classes.filter((name) => name === label || fits[name] >= conformal.thresholds[name]),
    findings: Object.fromEntries(answered),
  };
}

/** @returns {Question["points"][number]} The point that was chosen for a sensitivity. */
export const operatingPoint = ({ points }, sensitivity) => points.find(({ aim }) => aim === sensitivity);

/** The probability of the positive classes among those that the question is about; 0 where none fits. */
function among(probabilities, question) {
  const share = (names) => sum(names.map((name) => probabilities[name]));
  const whole = share(question.among);
  return whole > 0 ? share(question.positive) / whole : 0;
}
