/** May this answer be used?  As `sonoforge.runtime.inference.trust` decides from what the bundle records. */

import constants from "./constants.js";
import { mean, toEven } from "./pixels.js";
import { colouredShare, darkColumns, flatness, uprightScore } from "./scan_checks.js";

export const { CAUSES } = constants.trust;
const { METRICS, POOR, TURNED, BEYOND, SILENT, NOT_ONE, BREAST_ULTRASOUND, NEIGHBOURS } = constants.trust;

/** Mahalanobis distance of an embedding (D,) under the reference's probabilistic PCA (Tipping & Bishop 1999). */
export function mahalanobis(embedding, reference) {
  const { data: centre } = reference.trust_mean;
  const { data: components, shape } = reference.trust_components;
  const [size, axes] = shape;
  const whitened = new Float64Array(axes);
  const precision = new Float64Array(axes);
  let length = 0;
  for (let i = 0; i < size; i++) {
    const centred = embedding[i] - centre[i];
    length += centred * centred;
    for (let k = 0; k < axes; k++) {
      const value = components[i * axes + k];
      whitened[k] += centred * value;
      precision[k] += value * value;
    }
  }
  let inside = 0;
  let explained = 0;
  for (let k = 0; k < axes; k++) {
    inside += whitened[k] ** 2;
    explained += whitened[k] ** 2 / precision[k];
  }
  return Math.sqrt(inside + Math.max(length - explained, 0) / reference.trust_residual.data[0] ** 2);
}

/** Mean Euclidean distance from the nearest training images, on the leading axes of the embeddings' directions. */
export function neighbourDistance(embedding, reference) {
  const { data: centre } = reference.neighbour_mean;
  const { data: axes, shape } = reference.neighbour_axes;
  const { data: points, shape: pointShape } = reference.neighbour_points;
  const [size, width] = shape;
  const length = Math.sqrt(embedding.reduce((sum, value) => sum + value * value, 0)) || 1;
  const placed = new Float64Array(width);
  for (let i = 0; i < size; i++) {
    const centred = embedding[i] / length - centre[i];
    for (let k = 0; k < width; k++) placed[k] += centred * axes[i * width + k];
  }
  const found = new Float64Array(pointShape[0]);
  for (let n = 0; n < found.length; n++) {
    let squared = 0;
    for (let k = 0; k < width; k++) squared += (placed[k] - points[n * width + k]) ** 2;
    found[n] = Math.sqrt(squared);
  }
  return mean(found.sort().subarray(0, NEIGHBOURS));
}

/** Chance (0..1) that a reference image lies at least this far out: a Weibull tail through median and 95th percentile. */
export function tailProbability(distance, { median, threshold }) {
  const shape = Math.log(Math.log(0.05) / Math.log(0.5)) / Math.log(threshold / median);
  return distance > 0 ? 0.5 ** ((distance / median) ** shape) : 1;
}

/** Assess an answer from the view (S, S, 3), the embedding (D,), its quality and the scan's kind. */
export function assess({ pixels, embedding, quality, kind }, bundle) {
  const { trust: limits, site } = bundle.manifest;
  const { checks } = limits;
  const distance = mahalanobis(embedding, bundle.reference);
  const neighbour = neighbourDistance(embedding, bundle.reference);
  const times = Math.max(distance / limits.threshold, neighbour / checks.neighbours.threshold);
  const colour = colouredShare(pixels);
  const dark = darkColumns(pixels);
  const grain = times > 1 && checks.grain !== null ? flatness(pixels) : null; // counts only beyond the limits
  const noScan = whyNoScan({ colour, distance, grain }, limits);
  const scores = colour > checks.colour ? [BEYOND] : [];
  const found = [];
  const faults = scanFaults(dark, quality, bundle.manifest);
  if (noScan) {
    found.push([CAUSES.OTHER_KIND, `distance ${distance.toFixed(1)} ${limit(limits, 1)}${noScan}`]);
  } else if (checks.kind === BREAST_ULTRASOUND && kind in NOT_ONE) {
    found.push([CAUSES.NOT_ONE_SCAN, NOT_ONE[kind]]);
    scores.push(BEYOND);
  }
  if (faults.length) {
    found.push([CAUSES.POOR_SCAN, faults.join(", ")]);
    scores.push(BEYOND);
  }
  const unlike = distance > limits.threshold ? [`from all ${distance.toFixed(1)} ${limit(limits, 1)}`] : [];
  if (neighbour > checks.neighbours.threshold) {
    unlike.push(`from the nearest ${neighbour.toFixed(3)} ${limit(checks.neighbours, 3)}`);
  }
  const remarks = uprightScore(pixels, checks.upright) < 0 && !noScan ? [TURNED] : [];
  let reach = 1;
  if (unlike.length && !noScan) {
    const siteLimit = site ? `this site's scans: ${times.toFixed(2)} times that, limit ${site.reach.toFixed(2)}` : "";
    const hasEcho = (grain === null || grain >= checks.grain) && dark <= SILENT;
    if (site && times <= site.reach && hasEcho) {
      reach = site.reach;
      remarks.push(`${CAUSES.UNLIKE_TRAINING}: distance ${unlike.join("; ")}; like ${siteLimit}`);
    } else {
      if (site && times > site.reach) unlike.push(`unlike ${siteLimit}`);
      found.push([CAUSES.UNLIKE_TRAINING, `distance ${unlike.join("; ")}`]);
    }
  }
  const causes = found.map(([cause]) => cause);
  scores.push(tailProbability(distance / reach, limits), tailProbability(neighbour / reach, checks.neighbours));
  return {
    score: Math.min(...scores),
    in_distribution: !causes.includes(CAUSES.OTHER_KIND) && !causes.includes(CAUSES.UNLIKE_TRAINING),
    causes,
    reasons: [...found.map(([cause, why]) => `${cause}: ${why}`), ...remarks],
    distance,
    neighbour_distance: neighbour,
  };
}

/** Whether a picture is of the kind that marks and seeming copies were measured on. */
export const isBreastUltrasound = ({ causes }, { trust: { checks } }) =>
  checks.kind === BREAST_ULTRASOUND && !causes.includes(CAUSES.OTHER_KIND);

/** What besides its distance shows that an image is no ultrasound scan; empty where nothing does. */
function whyNoScan({ colour, distance, grain }, { threshold, checks }) {
  if (colour > checks.colour) return `, and ${inPercent(colour)} of it is coloured, of scans ${inPercent(checks.colour)} at most`;
  if (distance > threshold && grain !== null && grain < checks.grain) {
    return `, and its grain does not lie flat as speckle does (${grain.toFixed(2)}, least ${checks.grain.toFixed(2)})`;
  }
  return distance > checks.foreign ? `, no scan beyond ${checks.foreign.toFixed(1)}` : "";
}

/** What is wrong with the scan itself. */
function scanFaults(dark, quality, { trust: { checks }, quality: bands }) {
  const poor = Object.entries(POOR).filter(([name, part]) => quality[name] < part * bands[name]?.low);
  const faults = poor.map(([name]) => METRICS[name].low);
  if (dark > checks.contact) faults.push(`out of contact: ${inPercent(dark)} of the columns without echo`);
  const white = quality.saturated;
  if (white > checks.white) faults.push(`overexposed: ${inPercent(white)} of the pixels white`);
  return faults;
}

/** As Python rounds: half to even. */
const inPercent = (share) => `${toEven(100 * share)}%`;

const limit = ({ threshold }, digits) => `(limit ${threshold.toFixed(digits)})`;

/** Why to abstain, by the bundle's policy, at the most probable class's probability; empty if not. */
export function whyAbstain({ causes, reasons }, probability, manifest) {
  if (causes.length) return reasons.slice(0, causes.length).join("; ");
  const least = manifest.trust.checks.policy.least_probability;
  if (probability >= least) return "";
  return `its most probable class has ${inPercent(probability)}, and this bundle answers from ${inPercent(least)} on`;
}
