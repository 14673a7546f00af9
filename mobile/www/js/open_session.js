import * as wasm from "../vendor/ort.wasm.bundle.min.mjs";

/**
 * Open a model in onnxruntime-web, in this thread.
 *
 * @param {Uint8Array} model - The file's bytes.
 * @param {"wasm" | "webgpu"} provider - `webgpu` only in an app built for it.
 * @returns {Promise<{session: any, Tensor: any}>} The session, and the class of what it reads.
 */
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
