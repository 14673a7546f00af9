/**
 * Decode TIFF to the same pixels as Python's runtime, under the rules of `sonoforge.runtime.images.decoding`.
 *
 * Sources: TIFF 6.0, sections 2 to 9 (layout, palettes, PackBits), 13 (LZW), 14 (predictor), 15 (tiles), 18 (alpha);
 * Adobe's TIFF technical note 2 (deflate).
 */

import { checkSize, damaged, ImageError, inflate, unPackBits, viewOf } from "./bytes.js";
import constants from "./constants.js";
import { toRaster, unpacked, upright } from "./raster.js";

const { MOST_VALUES, MOST_PADDING, MOST_AGAIN, TIFF_EXPANSIONS } = constants.file_checks;

const TAGS = {
  width: 256, height: 257, bits: 258, compression: 259, photometric: 262, fillOrder: 266, strips: 273, orientation: 274,
  samples: 277, rowsPerStrip: 278, stripBytes: 279, planar: 284, predictor: 317, palette: 320, tileWidth: 322,
  tileHeight: 323, tiles: 324, tileBytes: 325, extra: 338, format: 339,
};
const NAMES = Object.fromEntries(Object.entries(TAGS).map(([name, tag]) => [tag, name]));
// Bytes of a value, and how a DataView reads it, by its type: BYTE, SHORT, LONG.
const TYPES = { 1: [1, "getUint8"], 3: [2, "getUint16"], 4: [4, "getUint32"] };
const [NONE, LZW, PACK_BITS] = [1, 5, 32773];
const DEFLATE = [8, 32946];
const [WHITE_IS_ZERO, GREY, RGB, PALETTE] = [0, 1, 2, 3];
const [UNUSED, ASSOCIATED] = [0, 1]; // an extra sample without a meaning; alpha that colours are multiplied by

/** Decode a whole file to an upright raster, or throw an `ImageError`. */
export async function decodeTiff(data) {
  try {
    const tags = readTags(data);
    const layout = layoutOf(tags, data);
    return upright(toRaster(layout, await readSamples(layout)), tags.orientation?.[0] ?? 1);
  } catch (error) {
    // Reading beyond the end is a RangeError; `inflate` throws errors of any kind.
    throw error instanceof ImageError ? error : damaged(error instanceof Error ? error.message : String(error));
  }
}

const unsupported = (found, expected) =>
  new ImageError("unsupported", `${found} in a TIFF are not supported, only ${expected}; save it as 8- or 16-bit PNG`);

/** Read the tags named above, of the one page. */
function readTags(data) {
  const view = viewOf(data);
  const little = data[0] === 0x49;
  if (data[2] === 43 || data[3] === 43) throw unsupported("64-bit addresses", "32-bit ones");
  const word = (at) => view.getUint32(at, little);
  const start = word(4);
  const count = view.getUint16(start, little);
  const tags = { little };
  for (let i = 0, at = start + 2; i < count; i++, at += 12) {
    const name = NAMES[view.getUint16(at, little)];
    const type = view.getUint16(at + 2, little);
    if (!name || !(type in TYPES)) continue;
    const [bytes, read] = TYPES[type];
    const values = word(at + 4);
    const length = values * bytes;
    const from = length <= 4 ? at + 8 : word(at + 8);
    if (values > MOST_VALUES || from + length > data.length) throw damaged(`${values} values of tag ${TAGS[name]}`);
    tags[name] = Array.from({ length: values }, (_, k) => view[read](from + k * bytes, little));
  }
  if (word(start + 2 + 12 * count)) {
    throw new ImageError("animated", "several pages: save the one picture to use as PNG");
  }
  return tags;
}

/** Check what the tags say of the pixels, before any memory is taken for them. */
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
    data.subarray(starts[i], starts[i] + (lengths[i] || data.length)), // without a length, all that follows
  );
  const there = parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = Math.floor((width * height * kind.samples * kind.bits) / 8);
  if (bytes > there * (TIFF_EXPANSIONS[compression] ?? 1)) throw damaged("pixels are missing");
  if (compression !== NONE && there > data.length + MOST_AGAIN) {
    throw new ImageError("too_slow", "decoding it takes minutes; save the picture anew as PNG");
  }
  if (first("fillOrder", 1) === 2) throw unsupported("bytes with their bits reversed", "bits in order");
  const predicts = compression !== NONE && compression !== PACK_BITS && first("predictor", 1) === 2;
  if (predicts && kind.bits < 8) throw damaged(`a predictor of ${kind.bits} bits`);
  return {
    ...kind, width, height, compression, blockWidth, blockHeight, across, planes, parts, predicts, little: tags.little,
  };
}

/** Refuse kinds of pixels that Python does not read without a colour profile. */
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
  // RGB with a fourth sample of unstated meaning has alpha, as in Pillow.
  const alpha = samples > colours && (extra.length ? extra[0] !== UNUSED : photometric === RGB);
  const table = photometric === PALETTE ? paletteOf(tags.palette, bits) : null;
  const isNegative = photometric === WHITE_IS_ZERO;
  return { samples, bits, colours, alpha, isAssociated: alpha && extra[0] === ASSOCIATED, table, isNegative };
}

/** Read all samples, pixel after pixel, without those of tiles beyond the picture. */
async function readSamples(layout) {
  const { width, height, samples, bits, blockWidth, blockHeight, across, planes, parts } = layout;
  const out = new (bits === 16 ? Uint16Array : Uint8Array)(width * height * samples);
  const down = Math.ceil(height / blockHeight);
  const own = samples / planes; // samples of a pixel in one block
  for (const [i, part] of parts.entries()) {
    const plane = Math.floor(i / (across * down));
    const [left, top] = [(i % across) * blockWidth, (Math.floor(i / across) % down) * blockHeight];
    const rows = blockWidth === width ? Math.min(blockHeight, height - top) : blockHeight;
    const values = await readBlock(layout, part, rows, blockWidth * own, own);
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

/** Read one strip or tile: `rows` lines of `line` values each, pixels `step` values apart. */
async function readBlock({ compression, bits, predicts, little }, part, rows, line, step) {
  const lineBytes = Math.ceil((line * bits) / 8);
  const size = rows * lineBytes;
  const bytes = await decompress(part, compression, size);
  if (bytes.length < size) throw damaged("pixels are missing");
  if (bits < 8) {
    const out = new Uint8Array(rows * line);
    for (let y = 0; y < rows; y++) out.set(unpacked(bytes.subarray(y * lineBytes), bits, line), y * line);
    return out;
  }
  const values = unpacked(bytes, bits, rows * line, little).slice();
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

/** Undo LZW; codes grow to 12 bits, one value early, and each stands for an earlier string and one more byte. */
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
      starts[next] = from; // this string and the first byte of the next one, which will follow it in the output
      lengths[next] = to - from + 1;
      next += 1;
    }
    if (next >= 1 << width && width < 12) width += 1;
  }
  return out.subarray(0, to);
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
