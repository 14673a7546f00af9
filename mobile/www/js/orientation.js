/**
 * EXIF orientation (EXIF 2.32, tag 274), found in the file's bytes and applied to pixels here.
 *
 * Browsers differ in `imageOrientation: "none"`, so the record is set to "upright" in a copy before the browser decodes it.
 */

import { ascii, viewOf } from "./bytes.js";

const TAG = 0x0112;

/** Find the orientation in a JPEG, PNG or WebP file: value, offset, byte order; null without one or if damaged. */
export function findOrientation(data) {
  const view = viewOf(data);
  const start = exifStart(data, view);
  if (start < 0 || start + 8 > data.length) return null;
  const little = data[start] === 0x49 && data[start + 1] === 0x49;
  if (!little && !(data[start] === 0x4d && data[start + 1] === 0x4d)) return null;
  const directory = start + view.getUint32(start + 4, little);
  if (directory + 2 > data.length) return null;
  const count = view.getUint16(directory, little);
  for (let i = 0; i < count; i++) {
    const entry = directory + 2 + 12 * i;
    if (entry + 12 > data.length) return null;
    if (view.getUint16(entry, little) !== TAG) continue;
    const kind = view.getUint16(entry + 2, little);
    if (kind !== 3 || view.getUint32(entry + 4, little) !== 1) return null;
    return { value: view.getUint16(entry + 8, little), offset: entry + 8, little };
  }
  return null;
}

function exifStart(data, view) {
  if (data[0] === 0xff && data[1] === 0xd8) return inJpeg(data, view);
  if (data[0] === 0x89 && data[1] === 0x50) return inChunks(data, view, 8, 8, "eXIf", false);
  if (data[0] === 0x52 && data[8] === 0x57) return inChunks(data, view, 12, 8, "EXIF", true);
  return -1;
}

function inJpeg(data, view) {
  let position = 2;
  while (position + 4 <= data.length && data[position] === 0xff) {
    const marker = data[position + 1];
    if (marker === 0xff) {
      position += 1;
      continue;
    }
    if (marker === 0xda || marker === 0xd9) return -1;
    const length = view.getUint16(position + 2);
    const isExif = marker === 0xe1 && ascii(data, position + 4, 4) === "Exif" && data[position + 8] === 0;
    if (isExif) return position + 10;
    position += 2 + length;
  }
  return -1;
}

function inChunks(data, view, first, head, wanted, riff) {
  let position = first;
  while (position + head <= data.length) {
    const kind = ascii(data, riff ? position : position + 4, 4);
    const length = view.getUint32(riff ? position + 4 : position, riff);
    if (kind === wanted) {
      const content = position + 8;
      return ascii(data, content, 4) === "Exif" ? content + 6 : content;
    }
    position += 8 + length + (riff ? length & 1 : 4);
  }
  return -1;
}

/** Return a copy of the file whose record says "upright". */
export function markedUpright(data, record) {
  const copy = data.slice();
  new DataView(copy.buffer).setUint16(record.offset, 1, record.little);
  return copy;
}

// For each orientation: are rows and columns exchanged, and is the source read from the right, from the bottom?
const TURNS = {
  2: [false, true, false], 3: [false, true, true], 4: [false, false, true],
  5: [true, false, false], 6: [true, false, true], 7: [true, true, true], 8: [true, true, false],
};

/** @param {number} orientation - 1..8; others count as 1. */
export function upright(raster, orientation) {
  const turn = TURNS[orientation];
  if (!turn) return raster;
  const [exchanged, fromRight, fromBottom] = turn;
  const { width: w, height: h, channels, data, remarks } = raster;
  const [width, height] = exchanged ? [h, w] : [w, h];
  const out = new Uint8Array(data.length);
  let at = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const column = exchanged ? y : x;
      const row = exchanged ? x : y;
      const from = ((fromBottom ? h - 1 - row : row) * w + (fromRight ? w - 1 - column : column)) * channels;
      for (let k = 0; k < channels; k++) out[at++] = data[from + k];
    }
  }
  return { width, height, channels, data: out, remarks };
}
