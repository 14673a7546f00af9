/**
 * Sums, grey levels, crops and resizes, equal to Pillow's to the byte.
 *
 * A raster is `{width, height, channels, data, remarks}`, levels are `{width, height, data}` of grey, and a box is left, top,
 * right and bottom in pixels, the last two exclusive.
 */

export const sum = (values) => values.reduce((total, value) => total + value, 0);

export const mean = (values) => sum(values) / values.length;

export function variance(values) {
  const centre = mean(values);
  return mean(values.map((value) => (value - centre) ** 2));
}

/** The nearest whole number; of two, the even one, as in Python. */
export function toEven(value) {
  const down = Math.floor(value);
  const rest = value - down;
  return rest > 0.5 || (rest === 0.5 && down % 2) ? down + 1 : down;
}

export function median(values) {
  const ordered = Float64Array.from(values).sort();
  const middle = ordered.length >> 1;
  return ordered.length % 2 ? ordered[middle] : (ordered[middle - 1] + ordered[middle]) / 2;
}

/** Return the grey levels of a raster: luma of ITU-R BT.601 in 16 bits; Pillow, `src/libImaging/Convert.c`. */
export function greyLevels({ width, height, channels, data }) {
  if (channels === 1) return { width, height, data };
  const grey = new Uint8Array(width * height);
  for (let i = 0, from = 0; i < grey.length; i++, from += 3) {
    grey[i] = (19595 * data[from] + 38470 * data[from + 1] + 7471 * data[from + 2] + 0x8000) >> 16;
  }
  return { width, height, data: grey };
}

export function cropped({ width, channels, data }, [left, top, right, bottom]) {
  const line = (right - left) * channels;
  const out = new Uint8Array(line * (bottom - top));
  for (let y = top; y < bottom; y++) {
    const from = (y * width + left) * channels;
    out.set(data.subarray(from, from + line), (y - top) * line);
  }
  return { width: right - left, height: bottom - top, channels, data: out };
}

/** Average a picture by a whole factor until its longer side is at most `longest`. */
export function reducedTo(levels, longest) {
  const { width, height, channels = 1 } = levels;
  const factor = Math.max(1, Math.ceil(Math.max(width, height) / longest));
  if (factor === 1) return { ...levels, factor };
  const across = Math.ceil(width / factor);
  const down = Math.ceil(height / factor);
  const out = new Uint8Array(across * down * channels);
  for (let i = 0; i < out.length; i++) {
    const band = i % channels;
    const x = ((i - band) / channels) % across;
    const y = (i - band - x * channels) / (across * channels);
    const rows = Math.min(factor, height - y * factor);
    const columns = Math.min(factor, width - x * factor);
    let sum = 0;
    for (let row = y * factor; row < y * factor + rows; row++) {
      const from = (row * width + x * factor) * channels + band;
      for (let k = 0; k < columns; k++) sum += levels.data[from + k * channels];
    }
    out[i] = averaged(sum, rows * columns);
  }
  return { ...levels, width: across, height: down, data: out, factor };
}

/** Rounded in 32-bit fixed point; Pillow, `src/libImaging/Reduce.c`. */
function averaged(sum, count) {
  const multiplier = Math.trunc(Math.fround(2 ** 32 / Math.fround(256 * count)));
  return Number((BigInt(sum + (count >> 1)) * BigInt(multiplier)) >> 24n);
}

/** Return the box around the places that are on; without any, its sides are in the wrong order. */
export function boundsOf(on, width) {
  const box = [Infinity, Infinity, 0, 0];
  on.forEach((is, i) => {
    if (!is) return;
    const [y, x] = [Math.floor(i / width), i % width];
    box[0] = Math.min(box[0], x);
    box[1] = Math.min(box[1], y);
    box[2] = Math.max(box[2], x + 1);
    box[3] = Math.max(box[3], y + 1);
  });
  return box;
}

/** Return the indices of each part connected by sides, the largest part first. */
export function connectedParts(on, across) {
  const left = on.slice();
  const found = [];
  for (let start = 0; start < left.length; start++) {
    if (!left[start]) continue;
    left[start] = 0;
    const part = [start];
    for (let next = 0; next < part.length; next++) {
      const cell = part[next];
      const column = cell % across;
      const beside = [column > 0 ? cell - 1 : -1, column < across - 1 ? cell + 1 : -1, cell - across, cell + across];
      for (const near of beside) {
        if (near >= 0 && left[near]) {
          left[near] = 0;
          part.push(near);
        }
      }
    }
    found.push(part);
  }
  return found.sort((one, other) => other.length - one.length);
}

// ---- resizing: antialiased, 22-bit fixed point with coefficients rounded away from zero, rows first (`Resample.c`)

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
