/**
 * Decode PNG to the very pixels that Python's runtime reads.
 *
 * A browser's canvas loses them: it multiplies colours by alpha, cuts 16 bits to 8 in its own way and may convert
 * colours.  The rules are those of `sonoforge.runtime.images.decoding`: 16-bit grey becomes round(v / 257), or is spread
 * where it fills fewer bits, 16-bit colour keeps the high byte, palettes are looked up, alpha is composited on black, grey stays one channel.
 *
 * Source: PNG specification, third edition: sections 5.3 (chunks), 9 (filters), 8.1 (interlacing), 11.3.1 (tRNS).
 */

import { onBlack } from "./alpha.js";
import { filledBits, inWords, levelOf } from "./bit_depth.js";
import { ascii, crc32, inflate, joined, viewOf } from "./bytes.js";
import { checkSize, ImageError } from "./errors.js";

/**
 * @typedef {{width: number, height: number, channels: 1 | 3, data: Uint8Array, remarks?: string[]}} Raster - `remarks`:
 *   what was noticed while it was read, in Python's words.
 */

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const ANCILLARY = 0x20; // of a chunk's first letter: the picture can be shown without it
const OF_PIXELS = ["tRNS", "eXIf", "acTL", "fcTL", "fdAT"]; // ancillary, but it would be another picture
const SAMPLES = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const DEPTHS = { 0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16] };
// x and y of the first pixel and the steps between pixels, of each pass of Adam7.
const ADAM7 = [
  [0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2],
];

/** @param {Uint8Array} data */
export function isPng(data) {
  return SIGNATURE.every((byte, i) => data[i] === byte);
}

/**
 * @param {Uint8Array} data - The whole file.
 * @returns {Promise<Raster>} Not yet turned upright.
 * @throws {ImageError}
 */
export async function decodePng(data) {
  const chunks = readChunks(data);
  const header = readHeader(chunks);
  checkSize(header.width, header.height);
  if (chunks.frames > 1) throw new ImageError("animated", "animated: save the one picture to use as PNG");
  const passes = header.interlaced ? ADAM7.map((pass) => passSize(header, pass)) : [passSize(header, [0, 0, 1, 1])];
  const expected = passes.reduce((sum, { rowBytes, rows }) => sum + (rowBytes + (rowBytes ? 1 : 0)) * rows, 0);
  let raw;
  try {
    raw = await inflate(chunks.pixels, "deflate", expected + 1_000_000);
  } catch (error) {
    throw damaged(error instanceof Error ? error.message : String(error));
  }
  if (raw.length < expected) throw damaged("pixels are missing");
  return toRaster(header, chunks, passes, raw);
}

/** @param {string} why */
function damaged(why) {
  return new ImageError("truncated", `the image data is cut off or damaged (${why}); obtain the file again`);
}

/** Check every chunk and gather the ones that pixels depend on. */
function readChunks(data) {
  const view = viewOf(data);
  const found = { header: null, palette: null, transparency: null, frames: 1 };
  const parts = [];
  const broken = [];
  let position = 8;
  for (;;) {
    if (position + 12 > data.length) throw damaged("the end of the PNG is missing");
    const length = view.getUint32(position);
    const end = position + 12 + length;
    if (end > data.length) throw damaged("the last PNG chunk is cut off");
    const kind = ascii(data, position + 4, 4);
    if (crc32(data.subarray(position + 4, end - 4)) !== view.getUint32(end - 4)) {
      const needed = !(data[position + 4] & ANCILLARY) || OF_PIXELS.includes(kind) || !/^[A-Za-z]{4}$/.test(kind);
      if (needed) throw damaged(`wrong checksum in PNG chunk ${kind}`);
      broken.push(kind);
      position = end;
      continue;
    }
    const content = data.subarray(position + 8, end - 4);
    if (kind === "IHDR") found.header = content;
    else if (kind === "PLTE") found.palette = content;
    else if (kind === "tRNS") found.transparency = content;
    else if (kind === "acTL" && length >= 4) found.frames = view.getUint32(position + 8);
    else if (kind === "IDAT") parts.push(content);
    else if (kind === "IEND") break;
    position = end;
  }
  const remarks = broken.length ? [`damaged ${broken.join(", ")}, which no pixel depends on`] : [];
  return { ...found, pixels: joined(parts), remarks };
}

function readHeader({ header, palette }) {
  if (!header || header.length < 13) throw damaged("the PNG header is missing");
  const view = viewOf(header);
  const [depth, colour, compression, filter, interlace] = header.subarray(8, 13);
  if (!DEPTHS[colour]?.includes(depth) || compression || filter || interlace > 1) {
    throw damaged("a PNG header that no encoder writes");
  }
  if (colour === 3 && !palette) throw damaged("the palette is missing");
  const samples = SAMPLES[colour];
  const bits = depth * samples;
  return { width: view.getUint32(0), height: view.getUint32(4), depth, colour, samples, bits, interlaced: !!interlace };
}

function passSize(header, [left, top, stepX, stepY]) {
  const columns = Math.max(0, Math.ceil((header.width - left) / stepX));
  const rows = Math.max(0, Math.ceil((header.height - top) / stepY));
  const rowBytes = columns && rows ? Math.ceil((columns * header.bits) / 8) : 0;
  return { left, top, stepX, stepY, columns, rows: rowBytes ? rows : 0, rowBytes };
}

function toRaster(header, chunks, passes, raw) {
  const { width, height } = header;
  unfilterAll(passes, raw, Math.max(1, header.bits >> 3));
  const bits = header.depth === 16 && header.colour === 0 ? filledBitsOf(passes, raw) : header.depth;
  if (header.depth === 16 && header.colour) checkFilled(header, passes, raw);
  const write = pixelWriter(header, chunks, bits);
  const data = new Uint8Array(width * height * write.channels);
  for (const { line, columns, stepX, at } of rowsOf(header, passes, raw)) {
    if (write.asStored && stepX === 1) {
      data.set(line, at * write.channels);
    } else {
      for (let column = 0; column < columns; column++) {
        write.pixel(line, column, data, (at + column * stepX) * write.channels);
      }
    }
  }
  const spread = bits < header.depth ? [inWords(bits)] : [];
  return { width, height, channels: write.channels, data, remarks: [...spread, ...chunks.remarks] };
}

/** Yield the bytes of each row, and the place of its first pixel in the picture. */
function* rowsOf({ width }, passes, raw) {
  let position = 0;
  for (const { left, top, stepX, stepY, columns, rows, rowBytes } of passes) {
    for (let row = 0; row < rows; row++) {
      const line = raw.subarray(position + 1, position + 1 + rowBytes);
      yield { line, columns, stepX, at: (top + row * stepY) * width + left };
      position += 1 + rowBytes;
    }
  }
}

function unfilterAll(passes, raw, step) {
  let position = 0;
  for (const { rows, rowBytes } of passes) {
    let above = new Uint8Array(rowBytes);
    for (let row = 0; row < rows; row++) {
      const line = raw.subarray(position + 1, position + 1 + rowBytes);
      unfilter(raw[position], line, above, step);
      above = line;
      position += 1 + rowBytes;
    }
  }
}

/** How many bits 16-bit grey fills. */
function filledBitsOf(passes, raw) {
  let greatest = 0;
  let wereBytes = true; // each byte written twice
  for (const { line } of rowsOf({ width: 0 }, passes, raw)) {
    for (let i = 0; i < line.length; i += 2) {
      greatest = Math.max(greatest, line[i] * 256 + line[i + 1]);
      wereBytes &&= line[i] === line[i + 1];
    }
  }
  return wereBytes ? 16 : filledBits(0, greatest);
}

/** Refuse colour of 16 bits, of which the high byte is kept, where the low one holds nearly all. */
function checkFilled({ colour }, passes, raw) {
  const bytes = 2 * SAMPLES[colour];
  const ofColour = colour & 4 ? bytes - 2 : bytes; // without alpha
  let greatest = 0;
  for (const { line } of rowsOf({ width: 0 }, passes, raw)) {
    for (let from = 0; from < line.length; from += bytes) {
      for (let k = 0; k < ofColour; k += 2) greatest = Math.max(greatest, line[from + k]);
    }
  }
  if (greatest > 0 && greatest < 16) {
    throw new ImageError(
      "unsupported",
      "found 16-bit colour whose values fill 12 bits at most, so that it is nearly black; save it as 8-bit PNG",
    );
  }
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
      const a = line[i - step];
      const b = above[i];
      const c = above[i - step];
      const overLeft = b - c;
      const overAbove = a - c;
      const toA = overLeft < 0 ? -overLeft : overLeft;
      const toB = overAbove < 0 ? -overAbove : overAbove;
      const both = overLeft + overAbove;
      const toC = both < 0 ? -both : both;
      line[i] += toA <= toB && toA <= toC ? a : toB <= toC ? b : c;
    }
  } else {
    throw damaged(`an unknown PNG filter ${filter}`);
  }
}

/**
 * Return how one pixel of a row becomes grey or colour, of 16-bit grey that fills so many `bits`: `{channels, pixel(line, column, out, at)}`, and whether the
 * bytes of a row are its pixels `asStored`.
 */
function pixelWriter(header, { palette, transparency }, bits) {
  const { colour, depth } = header;
  const wide = depth === 16 ? 2 : 1; // of 16 bits, the first byte is the high one
  if (colour === 0 && depth === 16) {
    const level = (line, column) => levelOf(line[2 * column] * 256 + line[2 * column + 1], bits);
    return { channels: 1, pixel: (line, column, out, at) => void (out[at] = level(line, column)) };
  }
  if (colour === 0 || colour === 3) {
    const table = colour ? paletteTable(palette, transparency) : greyTable(depth, transparency);
    const channels = table.length / 256;
    return {
      channels,
      asStored: !colour && depth === 8 && !transparency,
      pixel: (line, column, out, at) => {
        const from = channels * bitsAt(line, column, depth);
        for (let k = 0; k < channels; k++) out[at + k] = table[from + k];
      },
    };
  }
  if (colour === 2) {
    const hidden = transparency ? [transparency[1], transparency[3], transparency[5]] : null;
    return {
      channels: 3,
      asStored: depth === 8 && !hidden,
      pixel: (line, column, out, at) => {
        const from = 3 * wide * column;
        const [r, g, b] = [line[from], line[from + wide], line[from + 2 * wide]];
        if (hidden && r === hidden[0] && g === hidden[1] && b === hidden[2]) return; // stays black
        out[at] = r;
        out[at + 1] = g;
        out[at + 2] = b;
      },
    };
  }
  const channels = colour === 4 ? 1 : 3; // and alpha
  return {
    channels,
    pixel: (line, column, out, at) => {
      const from = (channels + 1) * wide * column;
      const alpha = line[from + channels * wide];
      for (let k = 0; k < channels; k++) out[at + k] = onBlack(line[from + k * wide], alpha);
    },
  };
}

/** The level of each number that is stored: of one transparent number none. */
function greyTable(depth, transparency) {
  const scale = 255 / ((1 << depth) - 1);
  // Pillow compares with the stored number, but of one bit, where it is black or white.
  const stored = transparency ? transparency[0] * 256 + transparency[1] : -1;
  const hidden = depth === 1 && stored >= 0 ? (stored ? 255 : 0) : stored & (stored < 0 ? -1 : 255);
  return Uint8Array.from({ length: 256 }, (_, value) => (value * scale === hidden ? 0 : value * scale));
}

/** The colour of each number that is stored, or its level where all are grey. */
function paletteTable(palette, transparency) {
  const entries = Math.floor(palette.length / 3);
  const isGrey = (i) => palette[3 * i] === palette[3 * i + 1] && palette[3 * i] === palette[3 * i + 2];
  const channels = Array.from({ length: entries }, (_, i) => isGrey(i)).every(Boolean) ? 1 : 3;
  const table = new Uint8Array(256 * channels);
  for (let i = 0; i < 256; i++) {
    const alpha = transparency ? (transparency[i] ?? 255) : 255;
    for (let k = 0; k < channels; k++) table[channels * i + k] = onBlack(i < entries ? palette[3 * i + k] : 0, alpha);
  }
  return table;
}

function bitsAt(line, column, depth) {
  if (depth === 8) return line[column];
  const perByte = 8 / depth;
  const shift = 8 - depth * (1 + (column % perByte));
  return (line[Math.floor(column / perByte)] >> shift) & ((1 << depth) - 1);
}
