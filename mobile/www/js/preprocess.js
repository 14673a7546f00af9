import { squeeze } from "./resize.js";

/**
 * @typedef {{size: number, resample: "bilinear" | "bicubic", mean: number[], std: number[], crop?: string}} Recipe
 *   `preprocessing` of a bundle's manifest.
 */

/**
 * The network's view of an image.
 *
 * @param {import("./png.js").Raster} raster
 * @param {Recipe} recipe
 * @returns {Uint8Array} (S, S, 3).
 */
export function networkView(raster, recipe) {
  return squeeze(raster, recipe.size, recipe.resample);
}

/**
 * Each value is float32((v / 255 - mean) / std), computed in 64 bits and rounded once.
 *
 * @param {Uint8Array} pixels - (S, S, 3), or several one after the other.
 * @param {Recipe} recipe
 * @returns {Float32Array} (3, S, S), or as many.
 */
export function normalise(pixels, recipe) {
  const { size, mean, std } = recipe;
  const area = size * size;
  const images = pixels.length / (3 * area);
  const out = new Float32Array(pixels.length);
  for (let channel = 0; channel < 3; channel++) {
    const table = Float32Array.from({ length: 256 }, (_, v) => (v / 255 - mean[channel]) / std[channel]);
    for (let image = 0; image < images; image++) {
      const to = (3 * image + channel) * area;
      let from = 3 * image * area + channel;
      for (let i = 0; i < area; i++, from += 3) out[to + i] = table[pixels[from]];
    }
  }
  return out;
}
