import * as wasm from "../vendor/ort.wasm.bundle.min.mjs";

/** Open a model's bytes in onnxruntime-web, in this thread; `webgpu` only in an app built for it. */
export async function openSession(model, provider) {
  let ort = wasm;
  let binary = "ort-wasm-simd-threaded.wasm";
  if (provider === "webgpu") {
    ort = await import("../vendor/ort.webgpu.bundle.min.mjs");
    binary = "ort-wasm-simd-threaded.asyncify.wasm";
  }
  const { env, InferenceSession, Tensor } = ort;
  env.wasm.numThreads = 1; // threads would need isolation headers, which not every host can send
  env.wasm.wasmPaths = { wasm: new URL(`../vendor/${binary}`, import.meta.url).href };
  const session = await InferenceSession.create(model, {
    executionProviders: [provider],
    graphOptimizationLevel: "all",
  });
  return { session, Tensor };
}

/** A network in onnxruntime-web, of one input. */
export class OnnxNetwork {
  #opened = null;
  #last = Promise.resolve(); // a graphics processor takes one question after the other

  async load(model, provider) {
    this.#opened = await openSession(model, provider);
  }

  /** Run on values of a shape; return outputs by name, and `ms` without waiting for the question before. */
  run(values, shape) {
    const answer = this.#last.then(() => this.#compute(values, shape));
    this.#last = answer.catch(() => {});
    return answer;
  }

  async #compute(values, shape) {
    const started = performance.now();
    const { session, Tensor } = this.#opened;
    const answers = await session.run({ input: new Tensor("float32", values, shape) });
    const outputs = Object.fromEntries(Object.entries(answers).map(([name, { dims, data }]) => [name, { dims, data }]));
    return { outputs, ms: performance.now() - started };
  }
}
