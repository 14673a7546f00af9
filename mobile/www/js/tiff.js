/**
 * Decode TIFF to the very pixels that Python's runtime reads, under the rules of `sonoforge.runtime.images.decoding`.
 *
 * Sources: TIFF 6.0, sections 2 to 9 (layout, palettes, PackBits), 13 (LZW), 14 (predictor), 15 (tiles), 18 (alpha);
 * Adobe's TIFF technical note 2 (deflate); for 64 bits, the BigTIFF file format of libtiff.
 */

import { onBlack } from "./alpha.js";
import { filledBitsOf, inWords, levelOf } from "./bit_depth.js";
import { inflate, viewOf } from "./bytes.js";
import constants from "./constants.js";
import { checkSize, ImageError } from "./errors.js";
import { upright } from "./orientation.js";

const { MOST_VALUES, MOST_PADDING, MOST_AGAIN, TIFF_EXPANSIONS } = constants.file_checks;

const TAGS = {
  width: 256, height: 257, bits: 258, compression: 259, photometric: 262, fillOrder: 266, strips: 273, orientation: 274,
  samples: 277, rowsPerStrip: 278, stripBytes: 279, planar: 284, predictor: 317, palette: 320, tileWidth: 322,
  tileHeight: 323, tiles: 324, tileBytes: 325, extra: 338, format: 339,
};
const NAMES = Object.fromEntries(Object.entries(TAGS).map(([name, tag]) => [tag, name]));
const BYTES = { 1: 1, 3: 2, 4: 4, 16: 8 }; // of a value, by type: BYTE, SHORT, LONG, LONG8
const [NONE, LZW, PACK_BITS] = [1, 5, 32773];
const DEFLATE = [8, 32946];
const [WHITE_IS_ZERO, GREY, RGB, PALETTE] = [0, 1, 2, 3];
const ASSOCIATED = 1; // alpha by which the colours are multiplied already
const UNUSED = 0; // an extra sample without a meaning

/**
 * @param {Uint8Array} data - The whole file.
 * @returns {Promise<import("./png.js").Raster>} Upright.
 * @throws {ImageError}
 */
export async function decodeTiff(data) {
  try {
    const tags = readTags(data);
    const layout = layoutOf(tags, data);
    return upright(toRaster(layout, await readSamples(layout, data)), tags.orientation?.[0] ?? 1);
  } catch (error) {
    // Reading beyond the end is a RangeError; what `inflate` throws, an error of any kind.
    throw error instanceof ImageError ? error : damaged(error instanceof Error ? error.message : String(error));
  }
}

function damaged(why) {
  return new ImageError("truncated", `the image data is cut off or damaged (${why}); obtain the file again`);
}

const unsupported = (found, expected) =>
  new ImageError("unsupported", `found ${found} in a TIFF, expected ${expected}; save it as 8- or 16-bit PNG`);

/** The values of the tags that are named above, of the one page. */
function readTags(data) {
  const view = viewOf(data);
  const little = data[0] === 0x49;
  const big = data[2] === 43 || data[3] === 43;
  const word = (at) => (big ? Number(view.getBigUint64(at, little)) : view.getUint32(at, little));
  const readers = {
    1: (at) => view.getUint8(at),
    3: (at) => view.getUint16(at, little),
    4: (at) => view.getUint32(at, little),
    16: (at) => Number(view.getBigUint64(at, little)),
  };
  const start = word(big ? 8 : 4);
  const [size, entry] = big ? [8, 20] : [2, 12];
  const count = big ? word(start) : view.getUint16(start, little);
  const tags = { little };
  for (let i = 0, at = start + size; i < count; i++, at += entry) {
    const name = NAMES[view.getUint16(at, little)];
    const type = view.getUint16(at + 2, little);
    if (!name || !BYTES[type]) continue;
    const values = word(at + 4);
    const length = values * BYTES[type];
    const inside = at + (big ? 12 : 8);
    const from = length <= (big ? 8 : 4) ? inside : word(inside);
    if (values > MOST_VALUES || from + length > data.length) throw damaged(`${values} values of tag ${TAGS[name]}`);
    tags[name] = Array.from({ length: values }, (_, k) => readers[type](from + k * BYTES[type]));
  }
  if (word(start + size + count * entry)) {
    throw new ImageError("animated", "several pages: save the one picture to use as PNG");
  }
  return tags;
}

/** What the tags say of the pixels, checked before any memory is taken for them. */
function layoutOf(tags, data) {
  const first = (name, otherwise) => tags[name]?.[0] ?? otherwise;
  const [width, height] = [first("width", 0), first("height", 0)];
  checkSize(width, height);
  const kind = kindOf(tags, first);
  const compression = first("compression", NONE);
  if (compression !== NONE && !(compression in TIFF_EXPANSIONS)) {
    throw unsupported(`compression ${compression}`, "none, LZW, deflate or PackBits");
  }
  const isTiled = Boolean(tags.tiles);
  const blockWidth = isTiled ? first("tileWidth", 0) : width;
  const blockHeight = isTiled ? first("tileHeight", 0) : Math.min(height, first("rowsPerStrip", height));
  const [across, down] = [Math.ceil(width / blockWidth), Math.ceil(height / blockHeight)];
  if (!(across * blockWidth * down * blockHeight <= 2 * width * height + MOST_PADDING)) {
    throw damaged(`tiles of ${blockWidth}x${blockHeight} pixels`);
  }
  const planes = first("planar", 1) === 2 ? kind.samples : 1;
  const starts = (isTiled ? tags.tiles : tags.strips) ?? [];
  const lengths = (isTiled ? tags.tileBytes : tags.stripBytes) ?? [];
  const blocks = across * down * planes;
  if (starts.length < blocks) throw damaged(`${starts.length} strips or tiles of ${blocks}`);
  const parts = Array.from({ length: blocks }, (_, i) =>
    data.subarray(starts[i], starts[i] + (lengths[i] || data.length)), // where a length is not said, all that follows
  );
  const there = parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = Math.floor((width * height * kind.samples * kind.bits) / 8);
  if (bytes > there * (TIFF_EXPANSIONS[compression] ?? 1)) throw damaged("pixels are missing");
  if (compression !== NONE && there > data.length + MOST_AGAIN) {
    throw new ImageError("too_slow", "decoding it takes minutes; save the picture anew as PNG");
  }
  const predicts = compression !== NONE && compression !== PACK_BITS && first("predictor", 1) === 2;
  if (predicts && kind.bits < 8) throw damaged(`a predictor of ${kind.bits} bits`);
  const isReversed = first("fillOrder", 1) === 2;
  return {
    ...kind, width, height, compression, blockWidth, blockHeight, across, planes, parts, predicts, isReversed,
    little: tags.little, palette: tags.palette,
  };
}

/** Which pixels they are, of those that Python reads without a colour profile. */
function kindOf(tags, first) {
  const photometric = first("photometric", WHITE_IS_ZERO);
  const samples = first("samples", 1);
  const stated = tags.bits ?? [1];
  const bits = stated[0];
  const extra = tags.extra ?? [];
  const colours = photometric === RGB ? 3 : 1;
  const format = first("format", 1);
  const isInteger = format === 1 || (format === 2 && bits === 8 && photometric === GREY);
  const fits = photometric === PALETTE ? bits <= 8 : samples > 1 ? bits >= 8 : true;
  if (!isInteger || ![1, 2, 4, 8, 16].includes(bits) || stated.some((one) => one !== bits) || !fits) {
    throw unsupported(`${bits}-bit ${format === 3 ? "floating-point " : ""}pixels`, "8 or 16 bits");
  }
  if (photometric > PALETTE || (photometric === PALETTE && !tags.palette)) {
    throw unsupported(`pixels of kind ${photometric}`, "grey, RGB or a palette");
  }
  if (samples < colours || samples > colours + 3) throw unsupported(`${samples} samples a pixel`, `${colours} or alpha too`);
  // RGB of four samples without a word of the fourth is taken for colours with alpha, as Pillow does.
  const alpha = samples > colours && (extra.length ? extra[0] !== UNUSED : photometric === RGB);
  return { photometric, samples, bits, colours, alpha, isAssociated: alpha && extra[0] === ASSOCIATED };
}

/** All samples, pixel after pixel; those beyond a tile's picture left out. */
async function readSamples(layout, data) {
  const { width, height, samples, bits, blockWidth, blockHeight, across, planes, parts } = layout;
  const out = new (bits === 16 ? Uint16Array : Uint8Array)(width * height * samples);
  const down = Math.ceil(height / blockHeight);
  const own = samples / planes; // samples of a pixel in one block
  const isStrip = blockWidth === width;
  for (const [i, part] of parts.entries()) {
    const plane = Math.floor(i / (across * down));
    const [left, top] = [(i % across) * blockWidth, (Math.floor(i / across) % down) * blockHeight];
    const rows = isStrip ? Math.min(blockHeight, height - top) : blockHeight;
    const values = await unpacked(layout, part, rows, blockWidth * own, own);
    const columns = Math.min(blockWidth, width - left);
    for (let y = 0; y < Math.min(rows, height - top); y++) {
      const line = y * blockWidth * own;
      const to = ((top + y) * width + left) * samples + plane;
      if (planes === 1) out.set(values.subarray(line, line + columns * own), to);
      else for (let x = 0; x < columns; x++) out[to + x * samples] = values[line + x];
    }
  }
  return out;
}

/** The values of one strip or tile: `rows` lines of `line` values each. */
async function unpacked({ compression, bits, predicts, isReversed, little }, part, rows, line, step) {
  const lineBytes = Math.ceil((line * bits) / 8);
  const size = rows * lineBytes;
  const stored = isReversed ? part.map((byte) => REVERSED[byte]) : part;
  const bytes = await decompress(stored, compression, size);
  if (bytes.length < size) throw damaged("pixels are missing");
  if (bits < 8) return fewBits(bytes, bits, rows, line, lineBytes);
  const values = bits === 16 ? words(bytes, rows * line, little) : bytes.slice(0, size);
  if (predicts) {
    for (let from = 0; from < values.length; from += line) {
      for (let i = from + step; i < from + line; i++) values[i] += values[i - step];
    }
  }
  return values;
}

async function decompress(stored, compression, size) {
  if (compression === LZW) return unLzw(stored, size);
  if (compression === PACK_BITS) return unPackBits(stored, size);
  return DEFLATE.includes(compression) ? inflate(stored, "deflate", size + 1_000_000) : stored;
}

const REVERSED = Uint8Array.from({ length: 256 }, (_, byte) => {
  let out = 0;
  for (let bit = 0; bit < 8; bit++) out |= ((byte >> bit) & 1) << (7 - bit);
  return out;
});

function words(bytes, count, little) {
  const view = viewOf(bytes);
  const out = new Uint16Array(count);
  for (let i = 0; i < count; i++) out[i] = view.getUint16(2 * i, little);
  return out;
}

function fewBits(bytes, bits, rows, line, lineBytes) {
  const out = new Uint8Array(rows * line);
  for (let y = 0, to = 0; y < rows; y++) {
    for (let x = 0; x < line; x++) {
      const bit = x * bits;
      out[to++] = (bytes[y * lineBytes + (bit >> 3)] >> (8 - bits - (bit & 7))) & ((1 << bits) - 1);
    }
  }
  return out;
}

function unPackBits(stored, size) {
  const out = new Uint8Array(size);
  let to = 0;
  for (let at = 0; at < stored.length && to < size; ) {
    const control = stored[at++];
    if (control < 128) {
      const plain = stored.subarray(at, at + Math.min(control + 1, size - to));
      out.set(plain, to);
      to += plain.length;
      at += control + 1;
    } else if (control > 128) {
      out.fill(stored[at++], to, to + 257 - control);
      to += 257 - control;
    }
  }
  return out.subarray(0, to);
}

/** Codes grow to 12 bits, one value early; each stands for an earlier string and one byte more. */
function unLzw(stored, size) {
  const [CLEAR, END, MOST] = [256, 257, 4096];
  const out = new Uint8Array(size);
  const starts = new Uint32Array(MOST); // where the string of a code was written first
  const lengths = new Uint16Array(MOST);
  let [next, width, to, buffer, held] = [258, 9, 0, 0, 0];
  for (let at = 0; to < size; ) {
    while (held < width && at < stored.length) {
      buffer = ((buffer << 8) | stored[at++]) & 0xffffff;
      held += 8;
    }
    if (held < width) break;
    held -= width;
    const code = (buffer >> held) & ((1 << width) - 1);
    if (code === END) break;
    if (code === CLEAR) {
      [next, width] = [258, 9];
      continue;
    }
    if (code >= next) throw damaged("a code of LZW before its string");
    const from = to;
    if (code < 256) {
      out[to++] = code;
    } else {
      for (let i = 0; i < lengths[code] && to < size; i++) out[to++] = out[starts[code] + i];
    }
    if (next < MOST) {
      starts[next] = from; // this string and the first byte of the one to come, which will follow it in the output
      lengths[next] = to - from + 1;
      next += 1;
    }
    if (next >= 1 << width && width < 12) width += 1;
  }
  return out.subarray(0, to);
}

/** @returns {import("./png.js").Raster} Not yet upright. */
function toRaster(layout, values) {
  const { width, height, photometric, samples, bits, colours, alpha } = layout;
  if (bits === 16 && colours + alpha === 1) return fromDeepGrey(layout, values);
  const table = photometric === PALETTE ? paletteOf(layout.palette, bits) : null;
  const isGrey = table ? !alpha && isAllGrey(table) : colours === 1;
  const channels = isGrey ? 1 : 3;
  const data = new Uint8Array(width * height * channels);
  const scale = 255 / (2 ** bits - 1);
  const shift = bits === 16 ? 8 : 0;
  const level = (value) => (shift ? value >> shift : value * scale);
  let greatest = 0;
  for (let from = 0, to = 0; to < data.length; from += samples, to += channels) {
    const opacity = alpha ? level(values[from + colours]) : 255;
    for (let k = 0; k < channels; k++) {
      let value = table ? table[3 * values[from] + k] : level(values[from + k]);
      if (photometric === WHITE_IS_ZERO) value = 255 - value;
      if (layout.isAssociated && opacity > 0) value = Math.min(255, Math.floor((value * 255) / opacity));
      if (value > greatest) greatest = value;
      data[to + k] = alpha ? onBlack(value, opacity) : value;
    }
  }
  if (bits === 16 && greatest > 0 && greatest < 16) {
    throw new ImageError(
      "unsupported",
      "found 16-bit colour whose values fill 12 bits at most, so that it is nearly black; save it as 8-bit PNG",
    );
  }
  return { width, height, channels, data, remarks: [] };
}

function fromDeepGrey({ width, height, samples, photometric }, stored) {
  const values = samples === 1 ? stored : stored.filter((_, i) => i % samples === 0);
  const bits = filledBitsOf(values);
  const white = 2 ** bits - 1;
  const isNegative = photometric === WHITE_IS_ZERO;
  const data = Uint8Array.from(values, (value) => levelOf(isNegative ? white - value : value, bits));
  return { width, height, channels: 1, data, remarks: bits < 16 ? [inWords(bits)] : [] };
}

/** Red, green and blue of each number, from their three tables of 16 bits. */
function paletteOf(palette, bits) {
  const count = Math.floor(palette.length / 3);
  const table = new Uint8Array(3 * 2 ** bits);
  for (let i = 0; i < Math.min(count, 2 ** bits); i++) {
    for (let k = 0; k < 3; k++) table[3 * i + k] = palette[k * count + i] >> 8;
  }
  return table;
}

const isAllGrey = (table) => table.every((value, i) => value === table[i - (i % 3)]);
