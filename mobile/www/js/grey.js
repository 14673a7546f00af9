/** Grey levels and smaller pictures, as Pillow's `convert("L")`, `reduce` and `crop` make them, equal to the byte. */

/** @typedef {{width: number, height: number, data: Uint8Array}} Levels - (height, width). */
/** @typedef {[number, number, number, number]} Box - Left, top, right and bottom in pixels, the last two exclusive. */

/** @returns {Levels} Luma of ITU-R BT.601 in 16 bits; Pillow, `src/libImaging/Convert.c`. */
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
    out[i] = mean(sum, rows * columns);
  }
  return { ...levels, width: across, height: down, data: out, factor };
}

/** Rounded in 32-bit fixed point; Pillow, `src/libImaging/Reduce.c`. */
function mean(sum, count) {
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
