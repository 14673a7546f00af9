/** Grey levels and smaller pictures, as Pillow's `convert("L")`, `reduce` and `crop` make them, equal to the byte. */

/** @typedef {{width: number, height: number, data: Uint8Array}} Levels - (height, width). */
/** @typedef {[number, number, number, number]} Box - Left, top, right and bottom in pixels, the last two exclusive. */

/**
 * @param {import("./png.js").Raster} raster
 * @returns {Levels} Luma of ITU-R BT.601 in 16 bits; Pillow, `src/libImaging/Convert.c`.
 */
export function greyLevels({ width, height, channels, data }) {
  if (channels === 1) return { width, height, data };
  const grey = new Uint8Array(width * height);
  for (let i = 0, from = 0; i < grey.length; i++, from += 3) {
    grey[i] = (19595 * data[from] + 38470 * data[from + 1] + 7471 * data[from + 2] + 0x8000) >> 16;
  }
  return { width, height, data: grey };
}

/**
 * @param {import("./png.js").Raster} raster
 * @param {Box} box
 * @returns {import("./png.js").Raster}
 */
export function cropped({ width, channels, data }, [left, top, right, bottom]) {
  const line = (right - left) * channels;
  const out = new Uint8Array(line * (bottom - top));
  for (let y = top; y < bottom; y++) {
    const from = (y * width + left) * channels;
    out.set(data.subarray(from, from + line), (y - top) * line);
  }
  return { width: right - left, height: bottom - top, channels, data: out };
}

/**
 * Average a picture whose longer side is above a limit by a whole factor.
 *
 * @param {Levels} levels
 * @param {number} longest - Side in pixels.
 * @returns {Levels & {factor: number}}
 */
export function reducedTo(levels, longest) {
  const { width, height } = levels;
  const factor = Math.max(1, Math.ceil(Math.max(width, height) / longest));
  if (factor === 1) return { ...levels, factor };
  const across = Math.ceil(width / factor);
  const down = Math.ceil(height / factor);
  const out = new Uint8Array(across * down);
  for (let y = 0; y < down; y++) {
    const rows = Math.min(factor, height - y * factor);
    for (let x = 0; x < across; x++) {
      const columns = Math.min(factor, width - x * factor);
      let sum = 0;
      for (let row = y * factor; row < y * factor + rows; row++) {
        const from = row * width + x * factor;
        for (let k = from; k < from + columns; k++) sum += levels.data[k];
      }
      out[y * across + x] = mean(sum, rows * columns);
    }
  }
  return { width: across, height: down, data: out, factor };
}

/** Rounded in 32-bit fixed point; Pillow, `src/libImaging/Reduce.c`. */
function mean(sum, count) {
  const multiplier = Math.trunc(Math.fround(2 ** 32 / Math.fround(256 * count)));
  return Number((BigInt(sum + (count >> 1)) * BigInt(multiplier)) >> 24n);
}

/**
 * @param {number} value
 * @returns {number} The nearest whole number; of two, the even one, as in Python.
 */
export function toEven(value) {
  const down = Math.floor(value);
  const rest = value - down;
  return rest > 0.5 || (rest === 0.5 && down % 2) ? down + 1 : down;
}
