import constants from "./constants.js";
import { BundleError } from "./errors.js";

const { TOLERANCE } = constants.golden;

/**
 * Compute the bundle's golden images with the code that answers for users, and compare with the recorded answers of this very file.
 *
 * @returns What the page shows and saves: the largest `differences` of each output, the `model` file's SHA-256, and `golden`, whose
 *   answers were recorded.
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
  const differences = Object.fromEntries(compared.map((name) => [name, 0]));
  const label = (values) => values.indexOf(Math.max(...values));
  let labelsEqual = true;
  const measured = await computeGolden(
    images,
    (i) => classifier.predict(imageOf(golden.pixels, i, side * side * 3)),
    ({ outputs }, i) => {
      for (const name of compared) differences[name] = Math.max(differences[name], difference(outputs[name], golden[name], i));
      labelsEqual &&= label(outputs.logits) === label(imageOf(golden.logits, i, manifest.classes.length));
    },
  );
  return {
    passed: Object.values(differences).every((value) => value <= tolerance) && (labelsEqual || !exact),
    ...measured,
    differences,
    tolerance,
    labelsEqual,
    wasm: { simd: true, threads: 1 },
    model: sha256,
    golden: own ? own.recorded : "golden.npz",
  };
}

const imageOf = ({ data }, i, length) => data.subarray(i * length, (i + 1) * length);

/** Return the largest difference of golden image i from all recorded ones. */
export function difference(found, recorded, i) {
  const expected = imageOf(recorded, i, found.length);
  return found.reduce((most, value, k) => Math.max(most, Math.abs(value - expected[k])), 0);
}

/** Compute golden images one after the other, handing each to `compare`; milliseconds are the median. */
export async function computeGolden(images, compute, compare) {
  const times = [];
  for (let i = 0; i < images; i++) {
    const started = performance.now();
    const found = await compute(i);
    times.push(performance.now() - started);
    compare(found, i);
  }
  const milliseconds = times.sort((a, b) => a - b)[Math.floor(images / 2)];
  return { images, milliseconds, browser: navigator.userAgent, when: new Date().toISOString() };
}
