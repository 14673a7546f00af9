/** The part that computes, in a worker of its own so that the page never waits; the network runs in a second one. */

import { answerQuestions, remoteNetwork } from "./ask.js";
import { openBundle } from "./bundle.js";
import { Classifier } from "./classifier.js";
import { openInput } from "./inputs.js";
import { selfTest } from "./self_test.js";
import { enlarged, thumbnail } from "./raster.js";

let classifier = null;
let network = null;
/** Milliseconds of the start, one step after the other: scripts, bundle, network (onnxruntime and the model). */
const times = { scripts: performance.now() };

const actions = {
  /** `network`: a port of `startNetwork`, here and below. */
  async start({ network: port }) {
    const began = performance.now();
    network = remoteNetwork(port);
    const settings = await (await fetch(new URL("../app.json", import.meta.url))).json();
    const bundle = await openBundle(new URL("../", import.meta.url).href, settings);
    times.bundle = performance.now() - began;
    classifier = await Classifier.load(bundle, network, settings);
    times.network = performance.now() - began - times.bundle;
    return { manifest: bundle.manifest, settings };
  },
  async selfTest() {
    const began = performance.now();
    const found = await selfTest(classifier);
    times.selfTest = performance.now() - began;
    return { ...found, start: { ...times } };
  },
  /** Switch to the graphics processor if it passes the self-test. */
  async useGpu({ network: port }) {
    const other = remoteNetwork(port);
    let unused = other;
    try {
      if (!(await navigator.gpu?.requestAdapter())) throw Object.assign(new Error(), { code: "no gpu" });
      const candidate = await Classifier.load(classifier.bundle, other, classifier.settings, "webgpu");
      const found = await selfTest(candidate);
      if (found.passed) [unused, network, classifier] = [network, other, candidate];
      return { ...found, provider: "webgpu" };
    } finally {
      unused.close();
    }
  },
  /** Of two files at once, the second is prepared while the network computes the first. */
  async classify({ file }) {
    const started = performance.now();
    const input = await openInput(file);
    const dicom = input.toDict?.();
    if (input.frameCount > 1) {
      const { classifyClip } = await import("./clips.js");
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

answerQuestions(actions);
