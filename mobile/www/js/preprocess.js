import { cropped } from "./grey.js";
import { squeeze } from "./resize.js";
import { findScanArea } from "./scan_area.js";

/**
 * @typedef {{size: number, resample: "bilinear" | "bicubic", mean: number[], std: number[], crop?: string}} Recipe
 *   `preprocessing` of a bundle's manifest.
 */

/**
 * @typedef {object} View - What the network sees of an image.
 * @property {Uint8Array} pixels - (S, S, 3).
 * @property {import("./scan_area.js").ScanArea | null} crop - Where the scan lies, if that part alone is seen.
 * @property {import("./grey.js").Box} box - What is seen.
 */

/**
 * @param {import("./png.js").Raster} raster
 * @param {Recipe} recipe
 * @param {"none" | "auto"} crop
 * @returns {View}
 */
export function networkView(raster, recipe, crop) {
  const area = crop === "auto" ? findScanArea(raster) : null;
  const seen = area ? cropped(raster, area.box) : raster;
  const box = area?.box ?? [0, 0, raster.width, raster.height];
  return { pixels: squeeze(seen, recipe.size, recipe.resample), crop: area, box };
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
