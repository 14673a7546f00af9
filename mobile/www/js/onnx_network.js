import { openSession } from "./open_session.js";

/** A network in onnxruntime-web, of one input. */
export class OnnxNetwork {
  #opened = null;
  #last = Promise.resolve(); // a graphics processor takes one question after the other

  /**
   * @param {Uint8Array} model - The file's bytes.
   * @param {"wasm" | "webgpu"} provider - As `openSession` has it.
   */
  async load(model, provider) {
    this.#opened = await openSession(model, provider);
  }

  /**
   * @param {Float32Array} values
   * @param {number[]} shape - Of the values.
   * @returns {Promise<{outputs: Record<string, {dims: number[], data: Float32Array}>, ms: number}>} By name; and how
   *   long it took, without waiting for the question before.
   */
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
