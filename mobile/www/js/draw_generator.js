/** Draw images with a generator's bundle, as `sonoforge.runtime.Generator` does. */

import { openFolder, readNpz } from "./bundle.js";
import constants from "./constants.js";
import { BundleError } from "./errors.js";
import { toEven } from "./numbers.js";
import { computeGolden, difference } from "./self_test.js";

const MODEL = "generator.onnx";
const TOLERANCE = constants.golden.IMAGE_TOLERANCES.fp32;

/**
 * @typedef {object} Wish
 * @property {number} seed
 * @property {number} index - Number of the image.
 * @property {number} label - Of the class; 0 without classes.
 * @property {number} [psi] - Of styles; without it the bundle's.
 */

export class Generator {
  #opened;
  #checked;

  /** Load a bundle's folder, an address with a slash; a `BundleError` if a file is not the manifest's. */
  static async load(folder, openSession) {
    const { manifest, checked } = await openFolder(folder, "generation");
    const [model, golden] = await Promise.all([checked(MODEL), checked("golden.npz")]);
    const generator = new Generator();
    generator.#opened = await openSession(model, "wasm");
    generator.#checked = checked;
    return Object.assign(generator, { manifest, golden: await readNpz(golden, "golden.npz") });
  }

  /** Return `embeddings` (M, D) and `labels` (M,) of the training images; null if the bundle has none. */
  async reference() {
    return this.manifest.reference ? readNpz(await this.#checked("reference.npz"), "reference.npz") : null;
  }

  /** @returns {Promise<Float32Array>} (C, S, S), in about [-1, 1]. */
  async image({ seed, index, label, psi }) {
    const { latents, inputs, outputs, psi: styles } = this.manifest;
    const { session, Tensor } = this.#opened;
    const latent = await drawLatent(seed, index, latents.size, latents.distribution);
    const fed = { latents: new Tensor("float32", latent, [1, latents.size]) };
    if ("psi" in inputs) fed.psi = new Tensor("float32", Float32Array.of(psi ?? styles.default), [1]);
    if ("labels" in inputs) fed.labels = new Tensor("int64", BigInt64Array.of(BigInt(label)), [1]);
    const { images } = await session.run(fed);
    const expected = [1, ...outputs.images.slice(1)];
    if (images.dims.join() !== expected.join() || !images.data.every(Number.isFinite)) {
      throw new BundleError(`${MODEL}: found images ${images.dims}, or not finite, expected ${expected}; install the app again`);
    }
    return images.data;
  }

  /** @returns {Promise<import("./samples.js").Raster>} Without its mask, where it has one. */
  async raster(wish) {
    const { size, channels } = this.manifest.image;
    return { width: size, height: size, channels, data: toPixels(await this.image(wish), size * size, channels) };
  }

  /** Draw the bundle's golden images and compare them with the recorded ones. */
  async selfTest() {
    const { seeds, labels, psi, images } = this.golden;
    let largest = 0;
    const measured = await computeGolden(
      seeds.data.length,
      (i) => this.image({ seed: seeds.data[i], index: 0, label: Number(labels.data[i]), psi: psi.data[i] }),
      (found, i) => (largest = Math.max(largest, difference(found, images, i))),
    );
    const differences = { "largest difference": largest };
    const { sha256: model } = this.manifest.files[MODEL];
    return { passed: largest <= TOLERANCE, ...measured, differences, tolerance: TOLERANCE, model };
  }
}

/** Return pixels (S, S, channels) of planes (C', S, S): (value + 1) * 127.5 in 32 bits, halves to even, as by numpy. */
export function toPixels(planes, area, channels) {
  const out = new Uint8Array(area * channels);
  for (let c = 0; c < channels; c++) {
    for (let i = 0; i < area; i++) {
      const level = Math.fround(Math.fround(planes[c * area + i] + 1) * 127.5);
      out[i * channels + c] = Math.min(Math.max(toEven(level), 0), 255);
    }
  }
  return out;
}

/** Return latents (Z,) of an image by the recipe `sha256-box-muller-1` of `sonoforge.runtime.inference.latents`. */
export async function drawLatent(seed, index, size, distribution) {
  const numbers = [];
  for (let block = 0; numbers.length < size + (size % 2); block++) {
    const text = new TextEncoder().encode(`${seed}/${index}/${block}`);
    const view = new DataView(await crypto.subtle.digest("SHA-256", text));
    for (let at = 0; at < 32; at += 4) numbers.push((view.getUint32(at) + 0.5) / 2 ** 32);
  }
  if (distribution === "uniform") return Float32Array.from(numbers.slice(0, size), (u) => 2 * u - 1);
  const normal = [];
  for (let at = 0; at < size; at += 2) {
    const radius = Math.sqrt(-2 * Math.log(numbers[at]));
    const angle = 2 * Math.PI * numbers[at + 1];
    normal.push(radius * Math.cos(angle), radius * Math.sin(angle));
  }
  return Float32Array.from(normal.slice(0, size));
}
