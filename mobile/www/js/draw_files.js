/**
 * PNG files of drawn images, marked as synthetic in the picture and in the text.
 *
 * The text has the keys of `sonoforge.runtime.images.synthetic.png_text`; `picture_box` locates the picture without the mark.
 */

import { crc32, joined } from "./bytes.js";
import constants from "./constants.js";

export const { NOTICE } = constants.synthetic;
const PROGRAM = "sonoforge web app";

// 5 x 7 dots a letter, a row in five bits, the leftmost the highest.
const LETTERS = {
  S: [15, 16, 16, 14, 1, 1, 30], Y: [17, 17, 10, 4, 4, 4, 4], N: [17, 25, 21, 19, 17, 17, 17],
  T: [31, 4, 4, 4, 4, 4, 4], H: [17, 17, 17, 31, 17, 17, 17], E: [31, 16, 16, 30, 16, 16, 31],
  I: [14, 4, 4, 4, 4, 4, 14], C: [14, 17, 16, 16, 16, 17, 14],
};
const WORD = "SYNTHETIC";
const WIDTH = 6 * WORD.length - 1;
const HEIGHT = 7;
const MARGIN = 2;

/** Write SYNTHETIC on a white band under a picture, which stays unchanged but is at least as wide as the word. */
export function marked({ width, height, channels, data }) {
  const dot = Math.max(1, Math.floor(width / (WIDTH + 2 * MARGIN)));
  const wide = Math.max(width, WIDTH + 2 * MARGIN);
  const band = dot * (HEIGHT + 2 * MARGIN);
  const out = new Uint8Array(wide * (height + band) * channels);
  const line = width * channels;
  for (let y = 0; y < height; y++) out.set(data.subarray(y * line, (y + 1) * line), y * wide * channels);
  out.fill(255, height * wide * channels);
  const left = Math.floor((wide - dot * WIDTH) / 2);
  const top = height + dot * MARGIN;
  [...WORD].forEach((letter, place) => {
    LETTERS[letter].forEach((bits, row) => {
      for (let column = 0; column < 5; column++) {
        if (!((bits >> (4 - column)) & 1)) continue;
        for (let y = top + dot * row; y < top + dot * (row + 1); y++) {
          const x = left + dot * (6 * place + column);
          out.fill(0, (y * wide + x) * channels, (y * wide + x + dot) * channels);
        }
      }
    });
  });
  return { width: wide, height: height + band, channels, data: out };
}

/** Return the PNG file of a drawn image with its mark and its origin. */
export async function syntheticPng(raster, origin) {
  const { width, height, channels, data } = marked(raster);
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, channels === 3 ? 2 : 0], 8);
  const lines = new Uint8Array(height * (width * channels + 1)); // each line begins with filter 0: none
  for (let y = 0; y < height; y++) {
    lines.set(data.subarray(y * width * channels, (y + 1) * width * channels), y * (width * channels + 1) + 1);
  }
  const packed = new Blob([lines]).stream().pipeThrough(new CompressionStream("deflate"));
  const box = `0,0,${raster.width},${raster.height}`;
  return joined([
    Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10),
    chunk("IHDR", header),
    chunk("tEXt", bytes(`Description\0${NOTICE}`)),
    chunk("tEXt", bytes(`Software\0${PROGRAM}`)),
    ...Object.entries({ ...origin, picture_box: box }).map(([key, value]) =>
      chunk("iTXt", bytes(`sonoforge:${key}\0\0\0\0\0${value}`)),
    ),
    chunk("IDAT", new Uint8Array(await new Response(packed).arrayBuffer())),
    chunk("IEND", new Uint8Array()),
  ]);
}

const bytes = (text) => new TextEncoder().encode(text);

function chunk(kind, content) {
  const out = new Uint8Array(content.length + 12);
  const view = new DataView(out.buffer);
  view.setUint32(0, content.length);
  out.set(bytes(kind), 4);
  out.set(content, 8);
  view.setUint32(8 + content.length, crc32(out.subarray(4, 8 + content.length)));
  return out;
}

/** Pack files, `[name, content]` each, without compression (APPNOTE.TXT 6.3, sections 4.3.7, 4.3.12 and 4.3.16). */
export function zip(files) {
  const parts = [];
  const directory = [];
  let position = 0;
  for (const [name, content] of files) {
    const called = new TextEncoder().encode(name);
    // Version 2.0, names in UTF-8, stored, 1 January 1980.
    const common = [20, 0x800, 0, 0, 33, [crc32(content)], [content.length], [content.length], called.length, 0];
    parts.push(record([[0x04034b50], ...common]), called, content);
    directory.push(record([[0x02014b50], 20, ...common, 0, 0, 0, [0], [position]]), called);
    position += 30 + called.length + content.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const end = record([[0x06054b50], 0, 0, files.length, files.length, [size], [position], 0]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

/** Little-endian numbers of 16 bits, or of 32 bits where they stand in brackets. */
function record(fields) {
  const out = new Uint8Array(fields.reduce((sum, field) => sum + (Array.isArray(field) ? 4 : 2), 0));
  const view = new DataView(out.buffer);
  let at = 0;
  for (const field of fields) {
    if (Array.isArray(field)) view.setUint32(at, field[0], true);
    else view.setUint16(at, field, true);
    at += Array.isArray(field) ? 4 : 2;
  }
  return out;
}
