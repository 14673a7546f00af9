/** Classify one image, as `sonoforge.runtime.Classifier` does. */

import { brightestTenth, mapContrast, peak } from "./activation_map.js";
import { BundleError } from "./bytes.js";
import constants from "./constants.js";
import { decide, decideEqual, equalShares, reweighted, stateOf } from "./decision.js";
import { findMarks, NO_MARKS } from "./marks.js";
import { greyLevels, mean, normalise, resized } from "./pixels.js";
import { byPixels, fingerprint } from "./repeats.js";
import { networkView } from "./scan_area.js";
import { measureQuality, nameKind, qualityFlags } from "./scan_checks.js";
import { isTrainedOn } from "./sketches.js";
import { assess, isBreastUltrasound, whyAbstain } from "./trust.js";

/** The label where the classifier abstains, as in Python. */
const UNCERTAIN = "uncertain";

/**
 * A bundle with its model loaded.
 *
 * A result has the fields of Python's `Result.to_dict()`, and what the page draws and compares by: `best`, the most probable class;
 * `mapped`, the class of the `activation` map; `seen`, what the network saw as shares of the picture; `print`, its fingerprint.
 */
export class Classifier {
  #run;

  /** `run(values, shape)` resolves to the network's `outputs` by name and its `ms`; `settings` are those of `app.json`. */
  constructor(bundle, run, settings) {
    this.bundle = bundle;
    this.settings = settings;
    this.#run = run;
  }

  /** Run the network on pixels (N, S, S, 3): `logits`, `probabilities` (N, n), `embedding` (N, D), `cam` (N, n, h, w). */
  async predict(pixels) {
    const { preprocessing, outputs } = this.bundle.manifest;
    const { size } = preprocessing;
    const count = pixels.length / (3 * size * size);
    const values = normalise(pixels, preprocessing);
    const { outputs: answers, ms } = await this.#run(values, [count, 3, size, size]);
    const found = {};
    for (const [name, shape] of Object.entries(outputs)) {
      const expected = [count, ...shape];
      const { dims, data } = answers[name];
      if (dims.join() !== expected.join() || !data.every(Number.isFinite)) {
        throw new BundleError(`${name}: has ${dims}, not finite numbers ${expected}; install the app again`);
      }
      found[name] = data;
    }
    return { outputs: found, ms };
  }

  /** Answer an upright raster. */
  async classify(raster) {
    const started = performance.now();
    const { manifest } = this.bundle;
    const grey = greyLevels(raster);
    const view = networkView(raster, manifest.preprocessing, this.settings.crop);
    const { pixels, crop, box } = view;
    const [left, top, right, bottom] = box;
    const preprocess = performance.now() - started;
    const [{ outputs, ms: infer }, seen] = await Promise.all([this.predict(pixels), this.#look(raster, grey, view)]);
    const inferred = performance.now();
    const { quality, flags, kind, marks, print } = seen;
    const { classes } = manifest;
    const decided = decide(outputs.probabilities, manifest, this.settings.clinic);
    const best = classes.indexOf(decided.label);
    const [rows, columns] = manifest.outputs.cam.slice(1);
    const cells = rows * columns;
    const activation = { rows, columns, values: outputs.cam.slice(best * cells, (best + 1) * cells) };
    const trust = assess({ pixels, embedding: outputs.embedding, quality, kind }, this.bundle);
    const alike = isBreastUltrasound(trust, manifest); // not measured on others
    const strongest = peak(activation, right - left, bottom - top);
    const brightest = brightestTenth(activation);
    const { name, version, files } = manifest;
    return {
      ...answerOf(decided, trust, this),
      mapped: decided.label,
      least: manifest.trust.checks.policy.least_probability,
      trust,
      trained_on: isTrainedOn(seen.print.detail, this.bundle.reference),
      quality: { ...quality, flags },
      kind,
      marks: alike ? marks : NO_MARKS,
      remarks: raster.remarks ?? [],
      model: { name, version, sha256: files[this.bundle.file].sha256 },
      map: {
        peak: { ...strongest, x: left + strongest.x, y: top + strongest.y },
        share_in_brightest_tenth: brightest.share,
        gcnr_of_map_area: mapContrast(activation, brightest.from, seen.levels),
      },
      crop,
      seen: [left / raster.width, top / raster.height, right / raster.width, bottom / raster.height],
      activation,
      print: alike ? print : byPixels(print),
      ms: {
        preprocess,
        infer,
        total: preprocess + infer + performance.now() - inferred, // without waiting for the image before
      },
    };
  }

  /** Examine a picture without the network, which computes meanwhile. */
  async #look(raster, grey, { pixels, crop, box: [left, top, right, bottom] }) {
    const quality = measureQuality(pixels, right - left, bottom - top);
    const { marks, overlay } = findMarks(raster, crop?.box ?? null);
    const { size } = this.bundle.manifest.preprocessing;
    const levels = greyLevels({ width: size, height: size, channels: 3, data: pixels });
    return {
      quality,
      flags: qualityFlags(quality, this.bundle.manifest.quality),
      kind: nameKind(levels.data, overlay),
      marks,
      levels,
      print: await fingerprint(grey, levels),
    };
  }
}

/** Return the answer for a decision on one scan or a clip. */
function answerOf({ probabilities, label, set, findings }, trust, { bundle: { manifest }, settings }) {
  const abstained = settings.abstain ? whyAbstain(trust, probabilities[label], manifest) : "";
  return {
    verdict: stateOf(abstained, trust.causes, set, manifest.classes.length),
    label: abstained ? UNCERTAIN : label,
    best: label,
    probabilities,
    set,
    findings,
    abstained,
  };
}

const { NEAR_EQUAL, VIEW } = constants.clips;

/**
 * Answer a clip as a whole, as `sonoforge.runtime.inference.clips`: pool its distinct frames, one in memory at a time; trust,
 * quality and map are the best frame's.  Its motion is not measured here.
 */
export async function classifyClip(classifier, image) {
  const { manifest } = classifier.bundle;
  const { prevalence } = classifier.settings.clinic;
  const answers = [];
  let kept = null;
  const ms = { decode: 0, total: 0 };
  for (let number = 1; number <= image.frameCount; number++) {
    const began = performance.now();
    const frame = await image.frame(number);
    ms.decode += performance.now() - began;
    const view = resized(greyLevels(frame), ...VIEW, "box");
    if (kept && mean(Array.from(view, (level, i) => Math.abs(level - kept[i]))) < NEAR_EQUAL) continue;
    kept = view;
    const result = await classifier.classify(frame);
    ms.total += result.ms.total;
    answers.push({ number, result });
  }
  const equal = equalShares(manifest.classes);
  const said = answers.map(({ result }) => reweighted(result.probabilities, prevalence, equal));
  const pooled = manifest.classes.map((name) => [name, mean(said.map((frame) => frame[name]))]);
  const decided = decideEqual(Object.fromEntries(pooled), manifest, classifier.settings.clinic);
  const agreeing = answers.filter(({ result }) => result.best === decided.label);
  const best = bestOf(agreeing.length ? agreeing : answers, decided.label);
  return {
    result: {
      ...best.result,
      ...answerOf(decided, best.result.trust, classifier),
      trained_on: best.result.trained_on === null ? null : answers.some(({ result }) => result.trained_on),
      ms: { ...best.result.ms, decode: ms.decode, total: ms.decode + ms.total },
    },
    clip: {
      frames: image.frameCount,
      distinct: answers.length,
      agreeing: agreeing.length,
      best_frame: best.number,
    },
  };
}

/** Prefer answers like the training images, then with fewest flags, then the surest, then the first. */
function bestOf(answers, label) {
  const rank = ({ result }) => [
    result.trust.in_distribution ? 0 : 1,
    result.quality.flags.length,
    -result.probabilities[label],
  ];
  const apart = (one, other) => rank(one).map((value, i) => value - rank(other)[i]).find(Boolean) ?? 0;
  return [...answers].sort(apart)[0]; // stable
}
