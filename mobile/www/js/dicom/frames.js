/** The stored values of one frame: uncompressed, in runs, or as a JPEG that the browser decodes. */

import { joined, viewOf } from "../bytes.js";
import { cutOff } from "../browser_pixels.js";
import { decodeJpeg, jpegSize } from "../jpeg.js";
import { isNative, RLE } from "./data_set.js";
import { fragmentsOf } from "./fragments.js";
import { toRgb } from "./ybr.js";

const KINDS = { 8: [Uint8Array, Int8Array], 16: [Uint16Array, Int16Array] };

/**
 * @param {import("./data_set.js").DataSet} set
 * @returns {(number: number) => Promise<import("./levels.js").Values>} The values of a frame, from 0: (H, W) or (H, W, 3).
 * @throws {Error} Of any kind, where they are damaged.
 */
export function framesOf(set) {
  const { syntax, needed } = set;
  if (isNative(syntax)) return async (number) => nativeFrame(set, number);
  const frames = fragmentsOf(set);
  if (frames.length < needed.frames) throw cutOff();
  return async (number) => (syntax === RLE ? runs(frames[number], needed) : jpegFrame(frames[number], needed));
}

/** The bytes of a frame as numbers, without the bits above those stored. */
function numbers(bytes, little, { bitsAllocated, bitsStored, isSigned }) {
  const kind = KINDS[bitsAllocated][Number(isSigned)];
  const values = new kind((8 * bytes.length) / bitsAllocated);
  const unused = bitsAllocated - bitsStored;
  const read = bitsAllocated === 16 ? viewOf(bytes) : null;
  for (let i = 0; i < values.length; i++) {
    values[i] = read ? read.getUint16(2 * i, little) : bytes[i];
    if (unused) {
      values[i] <<= unused; // the sign, if any, is the highest bit stored
      values[i] >>= unused;
    }
  }
  return values;
}

function nativeFrame({ data, offset, swapped, header, needed }, number) {
  const { rows, columns, samples, bitsAllocated, photometric, isPlanar } = needed;
  const pixels = rows * columns;
  if (bitsAllocated === 1) return bitsOf(data, 8 * offset + number * pixels * samples, pixels * samples);
  const isHalved = photometric === "YBR_FULL_422";
  const length = (pixels * (isHalved ? 2 : samples) * bitsAllocated) / 8;
  const start = offset + number * length;
  const bytes = swapped ? pairsSwapped(data, offset, number * length, length) : data.subarray(start, start + length);
  const values = numbers(bytes, header.little, needed);
  if (isHalved) return toRgb(doubled(values));
  const chunky = isPlanar && samples === 3 ? interleaved(values) : values;
  return photometric === "YBR_FULL" ? toRgb(chunky) : chunky;
}

/** Bits from the least of each byte on. */
function bitsOf(data, start, count) {
  return Uint8Array.from({ length: count }, (_, i) => (data[(start + i) >> 3] >> ((start + i) & 7)) & 1);
}

const pairsSwapped = (data, offset, from, length) =>
  Uint8Array.from({ length }, (_, i) => data[offset + ((from + i) ^ 1)]);

/** Two pixels of four bytes, Y Y B R, as six: Y B R Y B R; PS3.3, C.7.6.3.1.2. */
function doubled(values) {
  const out = new values.constructor((values.length / 2) * 3);
  for (let from = 0, to = 0; from + 3 < values.length; from += 4, to += 6) {
    out[to] = values[from];
    out[to + 3] = values[from + 1];
    out[to + 1] = out[to + 4] = values[from + 2];
    out[to + 2] = out[to + 5] = values[from + 3];
  }
  return out;
}

/** Three planes, pixel after pixel. */
function interleaved(values) {
  const pixels = values.length / 3;
  const out = new values.constructor(values.length);
  for (let i = 0, to = 0; i < pixels; i++) {
    for (let k = 0; k < 3; k++) out[to++] = values[k * pixels + i];
  }
  return out;
}

/** PS3.5, annex G: a segment for each byte of each sample, the high one first. */
function runs(frame, needed) {
  const { rows, columns, samples, bitsAllocated, photometric } = needed;
  const view = viewOf(frame);
  const bytes = bitsAllocated / 8;
  const segments = samples * bytes;
  if (bitsAllocated === 1 || view.getUint32(0, true) !== segments) throw cutOff();
  const starts = Array.from({ length: segments }, (_, i) => view.getUint32(4 + 4 * i, true));
  const out = new Uint8Array(rows * columns * segments);
  starts.forEach((start, i) => {
    const end = starts[i + 1] ?? frame.length;
    unrun(frame.subarray(start, end), rows * columns, out, Math.floor(i / bytes) * bytes + bytes - 1 - (i % bytes), segments);
  });
  const values = numbers(out, true, needed);
  return photometric.startsWith("YBR_FULL") ? toRgb(values) : values;
}

/** Write `count` bytes of a segment, each `step` further. */
function unrun(segment, count, out, first, step) {
  let left = count;
  let to = first;
  const put = (byte) => {
    out[to] = byte;
    to += step;
    left -= 1;
  };
  for (let at = 0; at < segment.length && left; ) {
    const control = segment[at++];
    if (control < 128) {
      const end = Math.min(at + control + 1, segment.length);
      while (at < end && left) put(segment[at++]);
    } else if (control > 128) {
      const byte = segment[at++];
      for (let i = control; i < 257 && left && byte !== undefined; i++) put(byte);
    }
  }
  if (left) throw cutOff();
}

async function jpegFrame(frame, needed) {
  const { rows, columns, samples, photometric } = needed;
  const stated = jpegSize(viewOf(frame));
  if (stated?.width !== columns || stated.height !== rows || stated.samples !== samples) throw cutOff();
  const { data } = await decodeJpeg(samples === 3 && isRgb(frame, photometric) ? markedRgb(frame) : frame);
  const values = samples === 3 ? data : data.filter((_, i) => i % 3 === 0);
  return numbers(values, true, needed);
}

/**
 * Whether a JPEG holds red, green and blue, and not brightness and two colours.  A browser takes it for these unless it
 * is told otherwise; of a JFIF file that is what the standard says.
 */
function isRgb(frame, photometric) {
  const markers = new Set();
  const view = viewOf(frame);
  for (let at = 2; at + 4 <= frame.length && frame[at] === 0xff && frame[at + 1] !== 0xda; at += 2 + view.getUint16(at + 2)) {
    markers.add(frame[at + 1]);
  }
  const [hasJfif, hasAdobe] = [markers.has(0xe0), markers.has(0xee)];
  return photometric === "RGB" && !hasJfif && !hasAdobe;
}

/** Adobe's segment that says that nothing was transformed; ITU-T T.872, 6.5.3. */
const markedRgb = (frame) =>
  joined([
    frame.subarray(0, 2),
    Uint8Array.of(0xff, 0xee, 0, 14, 0x41, 0x64, 0x6f, 0x62, 0x65, 0, 100, 0, 0, 0, 0, 0),
    frame.subarray(2),
  ]);
