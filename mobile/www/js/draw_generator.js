/** Draw images with a generator's bundle, as `sonoforge.runtime.Generator` does. */

import { load, loadChecked } from "./bundle.js";
import constants from "./constants.js";
import { drawLatent } from "./draw_latents.js";
import { BundleError } from "./errors.js";
import { readNpz } from "./npz.js";

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

  /**
   * @param {string} folder - Address of the bundle's folder, with a slash at its end.
   * @param {typeof import("./open_session.js").openSession} openSession
   * @throws {BundleError} A file is not as the manifest says.
   */
  static async load(folder, openSession) {
    const manifest = JSON.parse(new TextDecoder().decode(await load(folder + "manifest.json")));
    if (manifest.format_version !== 1 || manifest.task !== "generation") {
      throw new BundleError(`manifest.json: found ${manifest.task} ${manifest.format_version}, expected generation 1`);
    }
    const checked = (name) => loadChecked(folder + name, name, manifest.files[name]);
    const [model, golden] = await Promise.all([checked(MODEL), checked("golden.npz")]);
    const generator = new Generator();
    generator.#opened = await openSession(model, "wasm");
    generator.#checked = checked;
    return Object.assign(generator, { manifest, golden: await readNpz(golden, "golden.npz") });
  }

  /**
   * The training images in a classifier's features; null where the bundle has none.
   *
   * @returns {Promise<Record<string, import("./npz.js").Matrix> | null>} `embeddings` (M, D) and `labels` (M,).
   */
  async reference() {
    return this.manifest.reference ? readNpz(await this.#checked("reference.npz"), "reference.npz") : null;
  }

  /**
   * @param {Wish} wish
   * @returns {Promise<Float32Array>} (C, S, S), in about [-1, 1].
   */
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

  /**
   * @param {Wish} wish
   * @returns {Promise<import("./png.js").Raster>} Without its mask, where it has one.
   */
  async raster(wish) {
    const { size, channels } = this.manifest.image;
    return { width: size, height: size, channels, data: toPixels(await this.image(wish), size * size, channels) };
  }

  /** Draw the bundle's golden images, and compare with what the exporter recorded. */
  async selfTest() {
    const { seeds, labels, psi, images } = this.golden;
    const times = [];
    let difference = 0;
    const count = seeds.data.length;
    for (let i = 0; i < count; i++) {
      const started = performance.now();
      const found = await this.image({ seed: seeds.data[i], index: 0, label: Number(labels.data[i]), psi: psi.data[i] });
      times.push(performance.now() - started);
      const expected = images.data.subarray(i * found.length, (i + 1) * found.length);
      difference = found.reduce((most, value, k) => Math.max(most, Math.abs(value - expected[k])), difference);
    }
    return {
      passed: difference <= TOLERANCE,
      images: count,
      difference,
      tolerance: TOLERANCE,
      milliseconds: times.sort((a, b) => a - b)[Math.floor(count / 2)],
      browser: navigator.userAgent,
      model: this.manifest.files[MODEL].sha256,
      when: new Date().toISOString(),
    };
  }
}

/**
 * Pixels of an image: (value + 1) * 127.5 in 32 bits, rounded to the nearest, halves to even, as numpy does.
 *
 * @param {Float32Array} planes - (C', S, S).
 * @param {number} area - S * S.
 * @param {number} channels - To take.
 * @returns {Uint8Array} (S, S, channels).
 */
export function toPixels(planes, area, channels) {
  const out = new Uint8Array(area * channels);
  for (let c = 0; c < channels; c++) {
    for (let i = 0; i < area; i++) {
      const level = Math.fround(Math.fround(planes[c * area + i] + 1) * 127.5);
      const below = Math.floor(level);
      const rest = level - below;
      const rounded = rest > 0.5 || (rest === 0.5 && below % 2 !== 0) ? below + 1 : below;
      out[i * channels + c] = Math.min(Math.max(rounded, 0), 255);
    }
  }
  return out;
}
