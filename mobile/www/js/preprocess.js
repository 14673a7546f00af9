/**
 * The network's view of an image: the scan found in it, resized to a square and normalised.
 *
 * The resize equals Pillow's to the byte: antialiased, 22-bit fixed point with coefficients rounded away from zero, rows first
 * (`src/libImaging/Resample.c`).
 */

import { cropped } from "./grey.js";
import { findScanArea } from "./scan_area.js";

const PRECISION = 22;

const FILTERS = {
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  // Keys 1981 with a = -0.5, as Pillow has it.
  bicubic: {
    support: 2,
    weight: (x) => {
      const a = -0.5;
      const d = Math.abs(x);
      if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
      if (d < 2) return (((d - 5) * d + 8) * d - 4) * a;
      return 0;
    },
  },
};

/** For each output position, of those between two places: the first input, and the fixed-point weights from there. */
function coefficients(inputs, outputs, filter, from = 0, to = inputs) {
  const [start, end] = [Math.fround(from), Math.fround(to)]; // as Pillow takes a box
  const scale = Math.fround(end - start) / outputs;
  const stretch = Math.max(scale, 1);
  const support = filter.support * stretch;
  const rows = [];
  for (let i = 0; i < outputs; i++) {
    const centre = start + (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(inputs, Math.trunc(centre + support + 0.5));
    const weights = [];
    let sum = 0;
    for (let x = first; x < last; x++) {
      const weight = filter.weight((x - centre + 0.5) * (1 / stretch));
      weights.push(weight);
      sum += weight;
    }
    const fixed = weights.map((weight) => {
      const k = (sum ? weight / sum : weight) * (1 << PRECISION);
      return Math.trunc(k < 0 ? k - 0.5 : k + 0.5);
    });
    rows.push({ first, weights: Int32Array.from(fixed) });
  }
  return rows;
}

const HALF = 1 << (PRECISION - 1);

function clip8(sum) {
  const value = sum >> PRECISION;
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

/** Resize an image to a square (S, S, 3); grey is copied to the three channels. */
export function squeeze(raster, size, resample) {
  const small = resized(raster, size, size, resample);
  const { channels } = raster;
  const pixels = new Uint8Array(size * size * 3);
  if (channels === 3) pixels.set(small);
  else for (let i = 0; i < small.length; i++) pixels[3 * i] = pixels[3 * i + 1] = pixels[3 * i + 2] = small[i];
  return pixels;
}

/** Resize a picture, or a box of it (left, top, right, bottom, fractions allowed), to (high, wide, channels). */
export function resized({ width, height, channels = 1, data }, wide, high, resample, box = [0, 0, width, height]) {
  const filter = FILTERS[resample];
  const [left, top, right, bottom] = box;
  const keepsRows = wide === width && left === 0 && right === width;
  const narrow = keepsRows
    ? data
    : resizeRows(data, width, height, channels, coefficients(width, wide, filter, left, right));
  const keepsColumns = high === height && top === 0 && bottom === height;
  return keepsColumns ? narrow : resizeColumns(narrow, wide, channels, coefficients(height, high, filter, top, bottom));
}

function resizeRows(data, width, height, channels, rows) {
  const out = new Uint8Array(rows.length * height * channels);
  let at = 0;
  for (let y = 0; y < height; y++) {
    const line = y * width * channels;
    for (const { first, weights } of rows) {
      for (let c = 0; c < channels; c++) {
        let sum = HALF;
        let from = line + first * channels + c;
        for (let k = 0; k < weights.length; k++, from += channels) sum = (sum + Math.imul(data[from], weights[k])) | 0;
        out[at++] = clip8(sum);
      }
    }
  }
  return out;
}

function resizeColumns(data, width, channels, rows) {
  const stride = width * channels;
  const out = new Uint8Array(rows.length * stride);
  const sums = new Int32Array(stride);
  rows.forEach(({ first, weights }, y) => {
    sums.fill(HALF);
    for (let k = 0; k < weights.length; k++) {
      const from = (first + k) * stride;
      const weight = weights[k];
      for (let i = 0; i < stride; i++) sums[i] += Math.imul(data[from + i], weight);
    }
    for (let i = 0; i < stride; i++) out[y * stride + i] = clip8(sums[i]);
  });
  return out;
}

/**
 * @typedef {{size: number, resample: "bilinear" | "bicubic", mean: number[], std: number[], crop?: string}} Recipe
 *   `preprocessing` of a bundle's manifest.
 */

/** Return the view (S, S, 3), the crop if there is one, and the box of the picture that is seen. */
export function networkView(raster, recipe, crop) {
  const area = crop === "auto" ? findScanArea(raster) : null;
  const seen = area ? cropped(raster, area.box) : raster;
  const box = area?.box ?? [0, 0, raster.width, raster.height];
  return { pixels: squeeze(seen, recipe.size, recipe.resample), crop: area, box };
}

/** Return (N, 3, S, S) of pixels (N, S, S, 3): float32((v / 255 - mean) / std), computed in 64 bits. */
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
