/** Classify one image, as `sonoforge.runtime.Classifier` does. */

import { brightestTenth, mapContrast, peak } from "./activation_map.js";
import { NO_MARKS, findMarks } from "./burned_in_marks.js";
import { decide } from "./decision.js";
import { BundleError } from "./errors.js";
import { greyLevels } from "./grey.js";
import { sum } from "./numbers.js";
import { networkView, normalise } from "./preprocess.js";
import { measureQuality, qualityFlags } from "./quality.js";
import { byPixels, fingerprint } from "./repeats.js";
import { nameKind } from "./scan_kind.js";
import { assess, isBreastUltrasound, whyAbstain } from "./trust.js";
import { stateOf } from "./verdict.js";

/** The label where the classifier abstains, as in Python. */
const UNCERTAIN = "uncertain";

/**
 * @typedef {object} Settings - Of `app.json`.
 * @property {string} model - The model file that answers.
 * @property {"none" | "auto"} crop - Whether the network sees the scan that is found in each image.
 * @property {boolean} abstain - Whether to abstain by the bundle's policy.
 * @property {import("./decision.js").Clinic} clinic - Where the answers are for.
 */

/**
 * @typedef {object} Result - The fields of Python's `Result.to_dict()`, and what the page draws and compares by:
 * @property {string} best - The most probable class; `label` is `uncertain` where the classifier abstains.
 * @property {string} mapped - The class of the activation map; of a clip, that of its best frame.
 * @property {number[]} seen - What the network saw: left, top, right and bottom as shares of the picture.
 * @property {import("./activation_map.js").ActivationMap} activation - Of `mapped`.
 * @property {import("./repeats.js").Fingerprint} print
 * @property {Record<string, number>} ms
 */

/** @typedef {Pick<import("./onnx_network.js").OnnxNetwork, "load" | "run">} Network - Here, or in another worker. */

/** A bundle with its model loaded. */
export class Classifier {
  #network;

  /** See `load`. */
  constructor(bundle, network, settings) {
    this.bundle = bundle;
    this.settings = settings;
    this.#network = network;
  }

  /** @param {Network} network - Without a model yet. */
  static async load(bundle, network, settings, provider = "wasm") {
    await network.load(bundle.model, provider);
    return new Classifier(bundle, network, settings);
  }

  /**
   * Run the network on pixels (N, S, S, 3).
   *
   * @returns {Promise<{outputs: Record<string, Float32Array>, ms: number}>} `logits`, `probabilities` (N, n), `embedding` (N, D),
   *   `cam` (N, n, h, w).
   * @throws {BundleError} A number is not finite, or a shape is not the manifest's.
   */
  async predict(pixels) {
    const { preprocessing, outputs, classes, calibration } = this.bundle.manifest;
    const { size } = preprocessing;
    const count = pixels.length / (3 * size * size);
    const values = normalise(pixels, preprocessing);
    const { outputs: answers, ms } = await this.#network.run(values, [count, 3, size, size]);
    const found = {};
    for (const [name, shape] of Object.entries(outputs)) {
      const expected = [count, ...shape];
      const { dims, data } = answers[name];
      if (dims.join() !== expected.join() || !data.every(Number.isFinite)) {
        throw new BundleError(`${name}: found ${dims}, expected finite numbers ${expected}; install the app again`);
      }
      found[name] = data;
    }
    for (let i = 0; i < count; i++) checkSoftmax(found, i, classes.length, calibration.temperature);
    return { outputs: found, ms };
  }

  /** @param {import("./samples.js").Raster} raster - Upright. */
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
    const trust = assess({ pixels, embedding: outputs.embedding, quality, flags, kind }, this.bundle);
    const alike = isBreastUltrasound(trust, manifest); // not measured on others
    const strongest = peak(activation, right - left, bottom - top);
    const brightest = brightestTenth(activation);
    const { name, version, files } = manifest;
    return {
      ...answerOf(decided, trust, this),
      mapped: decided.label,
      least: manifest.trust.checks.policy.least_probability,
      trust,
      quality: { ...quality, flags },
      kind,
      marks: alike ? marks : NO_MARKS,
      remarks: raster.remarks ?? [],
      model: { name, version, sha256: files[this.bundle.file].sha256 },
      map: {
        peak: { ...strongest, x: left + strongest.x, y: top + strongest.y },
        share_in_brightest_tenth: brightest.share,
        gcnr_of_map_area: mapContrast(activation, brightest.from, pixels),
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
    const levels = greyLevels({ width: size, height: size, channels: 3, data: pixels }).data;
    return {
      quality,
      flags: qualityFlags(quality, this.bundle.manifest.quality),
      kind: nameKind(levels, overlay),
      marks,
      print: await fingerprint(grey, pixels),
    };
  }
}

/** Return the answer for a decision on one scan or a clip. */
export function answerOf({ probabilities, label, set, findings }, trust, { bundle: { manifest }, settings }) {
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

function checkSoftmax({ logits, probabilities }, image, classes, temperature) {
  const scaled = Array.from(logits.subarray(image * classes, (image + 1) * classes), (value) => value / temperature);
  const largest = Math.max(...scaled);
  const powers = scaled.map((value) => Math.exp(value - largest));
  const total = sum(powers);
  powers.forEach((power, i) => {
    if (!(Math.abs(power / total - probabilities[image * classes + i]) <= 1e-3)) {
      throw new BundleError("the model's probabilities are not softmax(logits / temperature); install the app again");
    }
  });
}
