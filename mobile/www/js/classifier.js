/** Classify one image, as `sonoforge.runtime.Classifier` does. */

import { peak, shareInBrightest } from "./activation_map.js";
import { findMarks } from "./burned_in_marks.js";
import { BundleError } from "./errors.js";
import { greyLevels } from "./grey.js";
import { mapContrast } from "./lesion_contrast.js";
import { networkView, normalise } from "./preprocess.js";
import { measureQuality, qualityFlags } from "./quality.js";
import { fingerprint } from "./repeats.js";
import { judge, withheld } from "./trust.js";

/** What stands for the label of a scan that is handed back, as in Python. */
const UNCERTAIN = "uncertain";

/**
 * @typedef {object} Settings - Of `app.json`.
 * @property {string} model - The model file that answers.
 * @property {"none" | "auto"} crop - Whether the network sees the scan that is found in each image.
 * @property {boolean} abstain - Whether scans are handed back by the bundle's policy.
 */

/**
 * @typedef {object} Result - The fields of Python's `Result.to_dict()`, and what the page draws and compares by.
 * @property {string} label - Of the most probable class, or `uncertain` where the scan is handed back.
 * @property {string} best - The most probable class.
 * @property {Record<string, number>} probabilities
 * @property {string[]} set
 * @property {import("./trust.js").Trust} trust
 * @property {Record<string, any>} quality
 * @property {{name: string, version: string, sha256: string}} model
 * @property {import("./burned_in_marks.js").Marks} marks
 * @property {{peak: {x: number, y: number, value: number}, share_in_brightest_tenth: number | null,
 *   gcnr_of_map_area: number | null}} map
 * @property {import("./scan_area.js").ScanArea | null} crop
 * @property {number[]} seen - What the network saw: left, top, right and bottom as shares of the picture.
 * @property {import("./activation_map.js").ActivationMap} activation - Of `best`.
 * @property {import("./repeats.js").Fingerprint} print
 * @property {Record<string, number>} ms
 */

/** A bundle with its model loaded. */
export class Classifier {
  #ort;
  #session;

  /**
   * @param {import("./bundle.js").Bundle} bundle
   * @param {any} ort - onnxruntime-web.
   * @param {any} session - Its inference session of the bundle's model.
   * @param {Settings} settings
   */
  constructor(bundle, ort, session, settings) {
    this.bundle = bundle;
    this.settings = settings;
    this.#ort = ort;
    this.#session = session;
  }

  /**
   * @param {import("./bundle.js").Bundle} bundle
   * @param {any} ort
   * @param {Settings} settings
   * @param {string} provider - `wasm` or `webgpu`.
   */
  static async load(bundle, ort, settings, provider = "wasm") {
    const session = await ort.InferenceSession.create(bundle.model, {
      executionProviders: [provider],
      graphOptimizationLevel: "all",
    });
    return new Classifier(bundle, ort, session, settings);
  }

  /**
   * Run the network.
   *
   * @param {Uint8Array} pixels - (N, S, S, 3).
   * @returns {Promise<Record<string, Float32Array>>} `logits`, `probabilities` (N, n), `embedding` (N, D),
   *   `cam` (N, n, h, w).
   * @throws {BundleError} A number is not finite, or a shape is not the manifest's.
   */
  async predict(pixels) {
    const { preprocessing, outputs, classes, calibration } = this.bundle.manifest;
    const { size } = preprocessing;
    const count = pixels.length / (3 * size * size);
    const tensor = new this.#ort.Tensor("float32", normalise(pixels, preprocessing), [count, 3, size, size]);
    const answers = await this.#session.run({ input: tensor });
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
    return found;
  }

  /**
   * @param {import("./png.js").Raster} raster - Upright.
   * @returns {Promise<Result>}
   */
  async classify(raster) {
    const started = performance.now();
    const { manifest } = this.bundle;
    const grey = greyLevels(raster);
    const { pixels, crop, box } = networkView(raster, manifest.preprocessing, this.settings.crop);
    const prepared = performance.now();
    const outputs = await this.predict(pixels);
    const inferred = performance.now();
    const { classes } = manifest;
    const values = Array.from(outputs.probabilities);
    const best = values.indexOf(Math.max(...values));
    const set = classes.filter((name, i) => values[i] >= manifest.conformal.thresholds[name]);
    const [left, top, right, bottom] = box;
    const quality = measureQuality(pixels, right - left, bottom - top);
    const flags = qualityFlags(quality, manifest.quality);
    const [rows, columns] = manifest.outputs.cam.slice(1);
    const cells = rows * columns;
    const activation = { rows, columns, values: outputs.cam.slice(best * cells, (best + 1) * cells) };
    const trust = judge({ pixels, embedding: outputs.embedding, quality, flags }, set, this.bundle);
    const isWithheld = this.settings.abstain && withheld(trust, values[best], manifest);
    const strongest = peak(activation, right - left, bottom - top);
    const { name, version, files } = manifest;
    return {
      label: isWithheld ? UNCERTAIN : classes[best],
      best: classes[best],
      probabilities: Object.fromEntries(classes.map((one, i) => [one, values[i]])),
      set,
      trust,
      quality: { ...quality, flags },
      marks: findMarks({ ...grey, channels: 1 }, crop?.box ?? null),
      model: { name, version, sha256: files[this.bundle.file].sha256 },
      map: {
        peak: { ...strongest, x: left + strongest.x, y: top + strongest.y },
        share_in_brightest_tenth: shareInBrightest(activation),
        gcnr_of_map_area: mapContrast(activation, pixels),
      },
      crop,
      seen: [left / raster.width, top / raster.height, right / raster.width, bottom / raster.height],
      activation,
      print: await fingerprint(grey, pixels),
      ms: {
        preprocess: prepared - started,
        infer: inferred - prepared,
        total: performance.now() - started,
      },
    };
  }
}

function checkSoftmax({ logits, probabilities }, image, classes, temperature) {
  const scaled = Array.from(logits.subarray(image * classes, (image + 1) * classes), (value) => value / temperature);
  const largest = Math.max(...scaled);
  const powers = scaled.map((value) => Math.exp(value - largest));
  const sum = powers.reduce((total, value) => total + value, 0);
  powers.forEach((power, i) => {
    if (!(Math.abs(power / sum - probabilities[image * classes + i]) <= 1e-3)) {
      throw new BundleError("the model's probabilities are not softmax(logits / temperature); install the app again");
    }
  });
}
