/**
 * The part that computes, in a worker of its own so that the page never waits.
 *
 * Messages in: `{id, action: "start"}`, `{id, action: "classify", file}`, `{id, action: "picture", file}`, `{id, action: "selfTest"}`.
 * Messages out: `{id, ok: true, value}` or `{id, ok: false, code, message}`.
 */

import * as ort from "../vendor/ort.wasm.bundle.min.mjs";
import { openBundle } from "./bundle.js";
import { Classifier } from "./classifier.js";
import { decodeImage } from "./decode.js";
import { selfTest } from "./self_test.js";
import { enlarged, thumbnail } from "./raster.js";

ort.env.wasm.numThreads = 1; // threads would need isolation headers, which not every host can send
ort.env.wasm.wasmPaths = { wasm: new URL("../vendor/ort-wasm-simd-threaded.wasm", import.meta.url).href };

let classifier = null;
/** Milliseconds of the start, one step after the other: scripts, bundle, network (onnxruntime and the model). */
const times = { scripts: performance.now() };

const actions = {
  async start() {
    const began = performance.now();
    const settings = await (await fetch(new URL("../app.json", import.meta.url))).json();
    const bundle = await openBundle(new URL("../", import.meta.url).href, settings);
    times.bundle = performance.now() - began;
    classifier = await Classifier.load(bundle, ort, settings);
    times.network = performance.now() - began - times.bundle;
    return { manifest: bundle.manifest, settings };
  },
  async selfTest() {
    const began = performance.now();
    const found = await selfTest(classifier);
    times.selfTest = performance.now() - began;
    return { ...found, start: { ...times } };
  },
  /** Answer with the graphics processor from now on, if it passes the self-test; else go on as before. */
  async useGpu() {
    if (!(await navigator.gpu?.requestAdapter())) throw Object.assign(new Error(), { code: "no gpu" });
    const gpu = await import("../vendor/ort.webgpu.bundle.min.mjs");
    gpu.env.wasm.numThreads = 1;
    gpu.env.wasm.wasmPaths = { wasm: new URL("../vendor/ort-wasm-simd-threaded.asyncify.wasm", import.meta.url).href };
    const candidate = await Classifier.load(classifier.bundle, gpu, classifier.settings, "webgpu");
    const found = await selfTest(candidate);
    if (found.passed) classifier = candidate;
    return { ...found, provider: "webgpu" };
  },
  async classify({ file }) {
    const started = performance.now();
    const raster = await decodeImage(file);
    const decoded = performance.now();
    const result = await classifier.classify(raster);
    result.ms = { decode: decoded - started, ...result.ms, total: performance.now() - started };
    return { result, picture: await thumbnail(raster) };
  },
  async picture({ file }) {
    return { bitmap: await enlarged(await decodeImage(file)) };
  },
};

self.onmessage = async ({ data: { id, action, ...given } }) => {
  try {
    const value = await actions[action](given);
    self.postMessage({ id, ok: true, value }, value.bitmap ? [value.bitmap] : []);
  } catch (error) {
    self.postMessage({ id, ok: false, code: error.code ?? error.name, message: error.message });
  }
};
