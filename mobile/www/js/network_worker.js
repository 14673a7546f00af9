/** The network in its own worker, started by the page: while it computes, the engine measures quality and searches for marks. */

import { env, InferenceSession, Tensor } from "../vendor/ort.wasm.bundle.min.mjs";
import { answerQuestions } from "./ask.js";

env.wasm.numThreads = 1; // threads would need isolation headers, which not every host can send
env.wasm.wasmPaths = { wasm: new URL("../vendor/ort-wasm-simd-threaded.wasm", import.meta.url).href };

let session = null;
let last = Promise.resolve(); // one question after the other

async function compute(values, shape) {
  const started = performance.now();
  const answers = await session.run({ input: new Tensor("float32", values, shape) });
  const outputs = Object.fromEntries(Object.entries(answers).map(([name, { dims, data }]) => [name, { dims, data }]));
  return { outputs, ms: performance.now() - started };
}

const actions = {
  async load({ model }) {
    session = await InferenceSession.create(model, { executionProviders: ["wasm"], graphOptimizationLevel: "all" });
  },
  /** Run on values of a shape; return outputs by name, and `ms` without waiting for the question before. */
  run({ values, shape }) {
    const answer = last.then(() => compute(values, shape));
    last = answer.catch(() => {});
    return answer;
  },
};

self.onmessage = ({ data: { port } }) => answerQuestions(actions, port);
