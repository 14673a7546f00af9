/**
 * Decode PNG to the same pixels as Python's runtime, under the rules of `sonoforge.runtime.images.decoding`.
 *
 * A browser's canvas would not: it multiplies colours by alpha, cuts 16 bits to 8 in its own way and may convert colours.
 *
 * Source: PNG specification, third edition, sections 5.3 (chunks), 8.1 (interlacing), 9 (filters) and 11.3.1 (tRNS).
 */

import { ascii, checkSize, crc32, damaged, ImageError, inflate, joined, viewOf } from "./bytes.js";
import { onBlack, toRaster, unpacked } from "./raster.js";

const SAMPLES = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const DEPTHS = { 0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16] };
// For each pass of Adam7, x and y of the first pixel and the steps between pixels.
const ADAM7 = [
  [0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2],
];

export const isPng = (data) => ascii(data, 0, 8) === "\x89PNG\r\n\x1a\n";

/** Decode a whole file to a raster that is not yet upright, or throw an `ImageError`. */
export async function decodePng(data) {
  const chunks = readChunks(data);
  const header = readHeader(chunks);
  const { width, height, depth, colour, samples } = header;
  checkSize(width, height);
  if (chunks.frames > 1) throw new ImageError("animated", "animated: save the one picture to use as PNG");
  const passes = (header.interlaced ? ADAM7 : [[0, 0, 1, 1]]).map(([left, top, stepX, stepY]) => {
    const columns = Math.max(0, Math.ceil((width - left) / stepX));
    const rowBytes = Math.ceil((columns * depth * samples) / 8);
    return { left, top, stepX, stepY, columns, rowBytes, rows: columns ? Math.max(0, Math.ceil((height - top) / stepY)) : 0 };
  });
  const expected = passes.reduce((sum, { rowBytes, rows }) => sum + (rowBytes + 1) * rows, 0);
  const raw = await inflate(chunks.pixels, "deflate", expected + 1_000_000).catch((error) => {
    throw damaged(error instanceof Error ? error.message : String(error));
  });
  if (raw.length < expected) throw damaged("pixels are missing");
  const layout = { width, height, samples, bits: depth, ...coloursOf(colour, depth, chunks) };
  return toRaster(layout, readSamples(header, passes, raw));
}

/** Check every chunk and return the ones that pixels depend on. */
function readChunks(data) {
  const view = viewOf(data);
  const found = { IHDR: null, PLTE: null, tRNS: null, frames: 1 };
  const parts = [];
  for (let position = 8, kind = ""; kind !== "IEND"; ) {
    if (position + 12 > data.length) throw damaged("the end of the PNG is missing");
    const length = view.getUint32(position);
    const end = position + 12 + length;
    if (end > data.length) throw damaged("the last PNG chunk is cut off");
    kind = ascii(data, position + 4, 4);
    const content = data.subarray(position + 8, end - 4);
    if (crc32(data.subarray(position + 4, end - 4)) !== view.getUint32(end - 4)) {
      throw damaged(`wrong checksum in PNG chunk ${kind}`);
    }
    if (kind === "IDAT") parts.push(content);
    else if (kind === "acTL" && length >= 4) found.frames = view.getUint32(position + 8);
    else if (["IHDR", "PLTE", "tRNS"].includes(kind)) found[kind] = content;
    position = end;
  }
  return { ...found, pixels: joined(parts) };
}

function readHeader({ IHDR: header, PLTE: palette }) {
  if (!header || header.length < 13) throw damaged("the PNG header is missing");
  const view = viewOf(header);
  const [depth, colour, compression, filter, interlace] = header.subarray(8, 13);
  if (!DEPTHS[colour]?.includes(depth) || compression || filter || interlace > 1) {
    throw damaged("a PNG header that no encoder writes");
  }
  if (colour === 3 && !palette) throw damaged("the palette is missing");
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  return { width, height, depth, colour, samples: SAMPLES[colour], interlaced: interlace === 1 };
}

/** What `toRaster` has to know of a colour type. */
function coloursOf(colour, depth, { PLTE: palette, tRNS: transparency }) {
  if (colour === 3) {
    const table = new Uint8Array(3 * 256);
    const opacity = (i) => transparency?.[i] ?? 255;
    for (let i = 0; i < 3 * Math.floor(palette.length / 3); i++) table[i] = onBlack(palette[i], opacity(Math.floor(i / 3)));
    return { colours: 1, table };
  }
  const colours = colour & 2 ? 3 : 1;
  if (colour & 4) return { colours, alpha: true };
  if (!transparency || (colour === 0 && depth === 16)) return { colours };
  if (colours === 3) return { colours, hidden: [transparency[1], transparency[3], transparency[5]] };
  // Pillow compares levels with the stored number, except that one bit is black or white.
  const stored = transparency[0] * 256 + transparency[1];
  return { colours, hidden: [depth === 1 ? (stored ? 255 : 0) : stored & 255] };
}

/** Undo filters and interlacing: all samples, pixel after pixel. */
function readSamples({ width, height, depth, samples }, passes, raw) {
  const out = new (depth === 16 ? Uint16Array : Uint8Array)(width * height * samples);
  const step = Math.max(1, (depth * samples) >> 3);
  let position = 0;
  for (const { left, top, stepX, stepY, columns, rows, rowBytes } of passes) {
    let above = new Uint8Array(rowBytes);
    for (let row = 0; row < rows; row++) {
      const line = raw.subarray(position + 1, position + 1 + rowBytes);
      unfilter(raw[position], line, above, step);
      const values = unpacked(line, depth, columns * samples);
      const to = ((top + row * stepY) * width + left) * samples;
      if (stepX === 1) out.set(values, to);
      else values.forEach((value, i) => (out[to + Math.floor(i / samples) * stepX * samples + (i % samples)] = value));
      above = line;
      position += 1 + rowBytes;
    }
  }
  return out;
}

function unfilter(filter, line, above, step) {
  const n = line.length;
  if (filter === 0) return;
  if (filter === 1) {
    for (let i = step; i < n; i++) line[i] += line[i - step];
  } else if (filter === 2) {
    for (let i = 0; i < n; i++) line[i] += above[i];
  } else if (filter === 3) {
    for (let i = 0; i < step && i < n; i++) line[i] += above[i] >> 1;
    for (let i = step; i < n; i++) line[i] += (line[i - step] + above[i]) >> 1;
  } else if (filter === 4) {
    for (let i = 0; i < step && i < n; i++) line[i] += above[i]; // nothing on the left: the one above is the nearest
    for (let i = step; i < n; i++) {
      const [a, b, c] = [line[i - step], above[i], above[i - step]];
      const [toA, toB, toC] = [Math.abs(b - c), Math.abs(a - c), Math.abs(a + b - 2 * c)];
      line[i] += toA <= toB && toA <= toC ? a : toB <= toC ? b : c;
    }
  } else {
    throw damaged(`an unknown PNG filter ${filter}`);
  }
}
