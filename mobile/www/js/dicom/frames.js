/** The stored values of one frame: uncompressed, in runs, or as a JPEG that the browser decodes. */

import { ascii, damaged, joined, unPackBits, viewOf } from "../bytes.js";
import { decodeJpeg, jpegSegments, jpegSize } from "../decode.js";
import { isNative, RLE } from "./data_set.js";

const KINDS = { 8: [Uint8Array, Int8Array], 16: [Uint16Array, Int16Array] };

/** Return a function that decodes a frame, from 0, to values (H, W) or (H, W, 3); errors of any kind if damaged. */
export function framesOf(set) {
  const { syntax, needed } = set;
  if (isNative(syntax)) return async (number) => nativeFrame(set, number);
  const frames = fragmentsOf(set);
  if (frames.length < needed.frames) throw damaged(`${frames.length} frames, not ${needed.frames}`);
  return async (number) => (syntax === RLE ? runs(frames[number], needed) : jpegFrame(frames[number], needed));
}

/** Return the bytes of a frame as numbers, without unused high bits. */
function numbers(bytes, { bitsAllocated, bitsStored, isSigned }) {
  const kind = KINDS[bitsAllocated][Number(isSigned)];
  const values = new kind((8 * bytes.length) / bitsAllocated);
  const unused = bitsAllocated - bitsStored;
  const read = bitsAllocated === 16 ? viewOf(bytes) : null;
  for (let i = 0; i < values.length; i++) {
    values[i] = read ? read.getUint16(2 * i, true) : bytes[i];
    if (unused) {
      values[i] <<= unused; // the sign, if any, is the highest bit stored
      values[i] >>= unused;
    }
  }
  return values;
}

function nativeFrame({ data, offset, needed }, number) {
  const { rows, columns, samples, bitsAllocated, photometric, isPlanar } = needed;
  const pixels = rows * columns;
  const isHalved = photometric === "YBR_FULL_422";
  const length = (pixels * (isHalved ? 2 : samples) * bitsAllocated) / 8;
  const start = offset + number * length;
  const values = numbers(data.subarray(start, start + length), needed);
  if (isHalved) return toRgb(doubled(values));
  const chunky = isPlanar && samples === 3 ? interleaved(values) : values;
  return photometric === "YBR_FULL" ? toRgb(chunky) : chunky;
}

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

/** Decode runs: a segment for each byte of each sample; PS3.5, annex G. */
function runs(frame, needed) {
  const { rows, columns, samples, bitsAllocated, photometric } = needed;
  const view = viewOf(frame);
  const bytes = bitsAllocated / 8;
  const segments = samples * bytes;
  if (view.getUint32(0, true) !== segments) throw damaged("a frame has no such segments");
  const starts = Array.from({ length: segments }, (_, i) => view.getUint32(4 + 4 * i, true));
  const out = new Uint8Array(rows * columns * segments);
  starts.forEach((start, i) => {
    const end = starts[i + 1] ?? frame.length;
    const segment = unPackBits(frame.subarray(start, end), rows * columns);
    if (segment.length < rows * columns) throw damaged("a segment is short");
    const first = Math.floor(i / bytes) * bytes + bytes - 1 - (i % bytes); // the high byte comes first
    segment.forEach((byte, k) => (out[first + k * segments] = byte));
  });
  const values = numbers(out, needed);
  return photometric.startsWith("YBR_FULL") ? toRgb(values) : values;
}

async function jpegFrame(frame, needed) {
  const { rows, columns, samples, photometric } = needed;
  const stated = jpegSize(viewOf(frame));
  if (stated?.width !== columns || stated.height !== rows || stated.samples !== samples) throw damaged("another size in its JPEG");
  const { data } = await decodeJpeg(samples === 3 && isRgb(frame, photometric) ? markedRgb(frame) : frame);
  const values = samples === 3 ? data : data.filter((_, i) => i % 3 === 0);
  return numbers(values, needed);
}

/** Whether a JPEG holds red, green and blue although a browser would assume brightness and two colours. */
function isRgb(frame, photometric) {
  const isMarked = [...jpegSegments(viewOf(frame))].some(({ marker }) => marker === 0xe0 || marker === 0xee); // JFIF, Adobe
  return photometric === "RGB" && !isMarked;
}

/** Insert Adobe's segment stating that colours were not transformed; ITU-T T.872, 6.5.3. */
const markedRgb = (frame) =>
  joined([
    frame.subarray(0, 2),
    Uint8Array.of(0xff, 0xee, 0, 14, 0x41, 0x64, 0x6f, 0x62, 0x65, 0, 100, 0, 0, 0, 0, 0),
    frame.subarray(2),
  ]);

const [ITEM, END] = [0xfffee000, 0xfffee0dd];

/** Return the compressed bytes of each frame; PS3.5, A.4. */
function fragmentsOf({ data, offset, needed }) {
  const [offsets, ...fragments] = items(data, offset);
  const view = viewOf(offsets.bytes);
  const starts = Array.from({ length: view.byteLength >> 2 }, (_, i) => view.getUint32(4 * i, true));
  const origin = offsets.end;
  if (starts.length) return groups(fragments, ({ end }, frame) => end - origin >= (starts[frame + 1] ?? Infinity));
  if (fragments.length === needed.frames) return fragments.map(({ bytes }) => bytes);
  if (needed.frames === 1) return [joined(fragments.map(({ bytes }) => bytes))];
  return groups(fragments, ({ bytes }) => ascii(bytes, Math.max(0, bytes.length - 10), 10).includes("\xff\xd9"));
}

/** The items from a place on: their bytes, and where they end. */
function items(data, offset) {
  const view = viewOf(data);
  const found = [];
  for (let at = offset; at + 8 <= data.length; ) {
    const tag = view.getUint16(at, true) * 65536 + view.getUint16(at + 2, true);
    if (tag === END && found.length) break;
    const end = at + 8 + view.getUint32(at + 4, true);
    if (tag !== ITEM) throw damaged("no frame where one begins");
    found.push({ bytes: data.subarray(at + 8, end), end: Math.min(end, data.length) });
    at = end;
  }
  return found;
}

/** Fragments joined to frames; `isLast` says whether a fragment ends the frame of that number. */
function groups(fragments, isLast) {
  const frames = [[]];
  for (const fragment of fragments) {
    frames.at(-1).push(fragment.bytes);
    if (isLast(fragment, frames.length - 1)) frames.push([]);
  }
  return frames.filter((parts) => parts.length).map((parts) => (parts.length === 1 ? parts[0] : joined(parts)));
}

const fround = Math.fround;
// PS3.3, C.7.6.3.1.2, from 8-bit brightness and colours around 128; in 32 bits as numpy computes it.
const [RED, BLUE] = [fround(1.402), fround(1.772)];
const [GREEN_OF_BLUE, GREEN_OF_RED] = [fround((-0.114 * 1.772) / 0.587), fround((-0.299 * 1.402) / 0.587)];

/** Convert YBR_FULL (N, 3) to RGB. */
function toRgb(values) {
  if (!(values instanceof Uint8Array)) throw new Error("YBR of more than 8 bits");
  const out = new Uint8ClampedArray(values.length);
  const whole = (value) => Math.floor(fround(value + 0.5));
  for (let i = 0; i < out.length; i += 3) {
    const [y, b, r] = [values[i], values[i + 1] - 128, values[i + 2] - 128];
    out[i] = whole(fround(y + fround(RED * r)));
    out[i + 1] = whole(fround(fround(y + fround(GREEN_OF_BLUE * b)) + fround(GREEN_OF_RED * r)));
    out[i + 2] = whole(fround(y + fround(BLUE * b)));
  }
  return new Uint8Array(out.buffer);
}
