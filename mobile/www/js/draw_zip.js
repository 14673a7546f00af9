import { crc32 } from "./crc32.js";

/**
 * Pack files without compression (APPNOTE.TXT 6.3, sections 4.3.7, 4.3.12 and 4.3.16): PNG is compressed already.
 *
 * @param {[string, Uint8Array][]} files - Names, contents.
 * @returns {Blob}
 */
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
