import constants from "./constants.js";
import { BundleError } from "./errors.js";

const { TOLERANCE } = constants.golden;

/**
 * @typedef {object} SelfTest
 * @property {boolean} passed
 * @property {number} images
 * @property {Record<string, number>} differences - The largest of each output.
 * @property {number} tolerance
 * @property {boolean} labelsEqual
 * @property {number} milliseconds - Median of one image.
 * @property {string} browser
 * @property {{simd: boolean, threads: number}} wasm
 * @property {string} model - SHA-256 of the model file.
 * @property {string} golden - Whose answers they were compared with.
 * @property {string} when - ISO 8601.
 */

/**
 * Compute the bundle's golden images with the code that answers for a user's, and compare with what was recorded of
 * this very file: by the exporter, or, of an int8 or fp16 file, when the app was built.
 *
 * @param {import("./classifier.js").Classifier} classifier
 * @returns {Promise<SelfTest>}
 */
export async function selfTest(classifier) {
  const { bundle } = classifier;
  const { manifest, golden, file, own } = bundle;
  const { precision, sha256 } = manifest.files[file];
  const exact = precision === "fp32";
  if (!exact && !own) throw new BundleError(`${file}: the app records no golden answers of it; build the app again`);
  const compared = exact ? Object.keys(manifest.outputs) : ["probabilities"];
  const tolerance = exact ? TOLERANCE : own.tolerance;
  const [images, side] = golden.pixels.shape;
  const area = side * side * 3;
  const classes = manifest.classes.length;
  const differences = Object.fromEntries(compared.map((name) => [name, 0]));
  const times = [];
  let labelsEqual = true;
  for (let i = 0; i < images; i++) {
    const pixels = golden.pixels.data.subarray(i * area, (i + 1) * area);
    const started = performance.now();
    const outputs = await classifier.predict(pixels);
    times.push(performance.now() - started);
    for (const name of compared) {
      const found = outputs[name];
      const expected = golden[name].data.subarray(i * found.length, (i + 1) * found.length);
      const largest = found.reduce((most, value, k) => Math.max(most, Math.abs(value - expected[k])), 0);
      differences[name] = Math.max(differences[name], largest);
    }
    const label = (values) => values.indexOf(Math.max(...values));
    const recorded = golden.logits.data.subarray(i * classes, (i + 1) * classes);
    labelsEqual &&= label(outputs.logits) === label(recorded);
  }
  times.sort((a, b) => a - b);
  return {
    passed: Object.values(differences).every((value) => value <= tolerance) && (labelsEqual || !exact),
    images,
    differences,
    tolerance,
    labelsEqual,
    milliseconds: times[Math.floor(times.length / 2)],
    browser: navigator.userAgent,
    wasm: { simd: true, threads: 1 },
    model: sha256,
    golden: own ? own.recorded : "golden.npz",
    when: new Date().toISOString(),
  };
}
