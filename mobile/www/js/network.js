/**
 * The network, in a worker of its own: while it computes, the part that asked measures quality and looks for marks.
 *
 * Messages in, as `ask.js` has them: `load` with `{model, provider}`, `run` with `{values, shape}`, `close`.
 */

import * as wasm from "../vendor/ort.wasm.bundle.min.mjs";

let ort = wasm;
let session = null;

const actions = {
  /** `model`: the file's bytes; `provider`: `wasm`, or `webgpu` in an app built for it. */
  async load({ model, provider }) {
    let binary = "ort-wasm-simd-threaded.wasm";
    if (provider === "webgpu") {
      ort = await import("../vendor/ort.webgpu.bundle.min.mjs");
      binary = "ort-wasm-simd-threaded.asyncify.wasm";
    }
    ort.env.wasm.numThreads = 1; // threads would need isolation headers, which not every host can send
    ort.env.wasm.wasmPaths = { wasm: new URL(`../vendor/${binary}`, import.meta.url).href };
    session = await ort.InferenceSession.create(model, { executionProviders: [provider], graphOptimizationLevel: "all" });
  },
  /** `values`: float32 of the given `shape`.  Returns each output as `{dims, data}`, and the milliseconds it took. */
  async run({ values, shape }) {
    const started = performance.now();
    const answers = await session.run({ input: new ort.Tensor("float32", values, shape) });
    const outputs = Object.fromEntries(Object.entries(answers).map(([name, { dims, data }]) => [name, { dims, data }]));
    return { outputs, ms: performance.now() - started };
  },
  close() {
    self.close();
  },
};

self.onmessage = async ({ data: { id, action, ...given } }) => {
  try {
    self.postMessage({ id, ok: true, value: await actions[action](given) });
  } catch (error) {
    self.postMessage({ id, ok: false, code: error.code ?? error.name, message: error.message });
  }
};
