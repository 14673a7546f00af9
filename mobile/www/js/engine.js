/** The part that computes, in a worker of its own so that the page never waits; the network runs in a second one. */

import { answerQuestions, asking } from "./ask.js";
import { openBundle } from "./bundle.js";
import { Classifier, classifyClip } from "./classifier.js";
import constants from "./constants.js";
import { openInput } from "./decode.js";
import { enlarged, thumbnail } from "./raster.js";

const { TOLERANCE } = constants.golden;

let classifier = null;
/** Milliseconds of the start, one step after the other: scripts, bundle, network (onnxruntime and the model). */
const times = { scripts: performance.now() };

const actions = {
  /** `network`: a port of `startNetwork`. */
  async start({ network }) {
    const began = performance.now();
    const settings = await (await fetch(new URL("../app.json", import.meta.url))).json();
    const bundle = await openBundle(new URL("../bundle/", import.meta.url).href, settings);
    times.bundle = performance.now() - began;
    const ask = asking(network);
    await ask("load", { model: bundle.model });
    classifier = new Classifier(bundle, (values, shape) => ask("run", { values, shape }), settings);
    times.network = performance.now() - began - times.bundle;
    return { manifest: bundle.manifest, settings };
  },
  async selfTest() {
    const began = performance.now();
    const found = await selfTest(classifier);
    times.selfTest = performance.now() - began;
    return { ...found, start: { ...times } };
  },
  /** Of two files at once, the second is prepared while the network computes the first. */
  async classify({ file }) {
    const started = performance.now();
    const input = await openInput(file);
    const dicom = input.toDict?.();
    if (input.frameCount > 1) {
      const { result, clip } = await classifyClip(classifier, input);
      return { result, clip, dicom, picture: await thumbnail(await input.frame(clip.best_frame)) };
    }
    const raster = await input.frame(1);
    const decode = performance.now() - started;
    const [result, picture] = await Promise.all([classifier.classify(raster), thumbnail(raster)]);
    result.ms = { decode, ...result.ms, total: decode + result.ms.total };
    return { result, dicom, picture };
  },
  /** `frame`: of a clip, from 1. */
  async picture({ file, frame }) {
    return { bitmap: await enlarged(await (await openInput(file)).frame(frame)) };
  },
};

/** Compute the bundle's golden images with the code that answers for users, and compare with the recorded answers. */
async function selfTest(classifier) {
  const { manifest, golden, file } = classifier.bundle;
  const [images, side] = golden.pixels.shape;
  const part = ({ data }, i, length) => data.subarray(i * length, (i + 1) * length);
  const label = (values) => values.indexOf(Math.max(...values));
  const differences = Object.fromEntries(Object.keys(manifest.outputs).map((name) => [name, 0]));
  const times = [];
  let labelsEqual = true;
  for (let i = 0; i < images; i++) {
    const started = performance.now();
    const { outputs } = await classifier.predict(part(golden.pixels, i, side * side * 3));
    times.push(performance.now() - started);
    for (const name of Object.keys(differences)) {
      const expected = part(golden[name], i, outputs[name].length);
      const apart = outputs[name].reduce((most, value, k) => Math.max(most, Math.abs(value - expected[k])), 0);
      differences[name] = Math.max(differences[name], apart);
    }
    labelsEqual &&= label(outputs.logits) === label(part(golden.logits, i, manifest.classes.length));
  }
  return {
    passed: labelsEqual && Object.values(differences).every((value) => value <= TOLERANCE),
    images,
    milliseconds: times.sort((a, b) => a - b)[Math.floor(images / 2)],
    browser: navigator.userAgent,
    when: new Date().toISOString(),
    differences,
    tolerance: TOLERANCE,
    labelsEqual,
    model: manifest.files[file].sha256,
  };
}

answerQuestions(actions);
