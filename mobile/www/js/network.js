/**
 * The network, in a worker of its own: while it computes, the part that asked measures quality and looks for marks.
 */

import { answerQuestions } from "./ask.js";
import * as wasm from "../vendor/ort.wasm.bundle.min.mjs";

let ort = wasm;
let session = null;
let last = Promise.resolve(); // a graphics processor takes one question after the other

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
  run({ values, shape }) {
    const answer = last.then(() => compute(values, shape));
    last = answer.catch(() => {});
    return answer;
  },
  async close() {
    await last;
    self.close();
  },
};

async function compute(values, shape) {
  const started = performance.now();
  const answers = await session.run({ input: new ort.Tensor("float32", values, shape) });
  const outputs = Object.fromEntries(Object.entries(answers).map(([name, { dims, data }]) => [name, { dims, data }]));
  return { outputs, ms: performance.now() - started };
}

answerQuestions(actions);
