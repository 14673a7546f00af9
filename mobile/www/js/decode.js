/** Decode whatever image file a person gives the page, to the pixels that Python's runtime reads. */

import { decodeJpeg, jpegSize, pixelsOf } from "./browser_decoder.js";
import { ascii, viewOf } from "./bytes.js";
import { checkSize, ImageError, LIMITS } from "./errors.js";
import { findOrientation, markedUpright, upright } from "./orientation.js";
import { decodePng, isPng } from "./png.js";

const startsWith = (data, ...bytes) => bytes.every((byte, i) => data[i] === byte);

/** Return a file's bytes; an `ImageError` if it is empty or too large. */
export async function readFile(file) {
  if (file.size === 0) throw new ImageError("empty", "the file is empty (0 bytes); obtain it again");
  if (file.size > LIMITS.MAX_FILE_BYTES) {
    const [found, most] = [file.size, LIMITS.MAX_FILE_BYTES].map((bytes) => Math.round(bytes / 1e6));
    throw new ImageError("too_large", `found ${found} MB, expected at most ${most} MB; save it smaller`);
  }
  return new Uint8Array(await file.arrayBuffer());
}

/**
 * Decode a file of any kind but DICOM to an upright raster.  PNG and TIFF give Python's bytes; JPEG and WebP decoders differ by a
 * few grey levels.
 *
 * @throws {ImageError} And nothing else, whatever the file holds.
 */
export async function decodeImage(whole) {
  const space = spaceBefore(whole);
  const data = whole.subarray(space);
  const raster = await decodeKnown(data);
  if (space) raster.remarks.unshift(`${space} bytes of white space before the file`);
  return raster;
}

async function decodeKnown(data) {
  if (isTiff(data)) return (await import("./tiff.js")).decodeTiff(data);
  const orientation = findOrientation(data);
  const raster = isPng(data) ? await decodePng(data) : await decodeByBrowser(data, orientation);
  return upright(raster, orientation?.value ?? 1);
}

const SPACE = [0x20, 0x09, 0x0d, 0x0a, 0xef, 0xbb, 0xbf];
const MOST_SPACE = 16;

/** The number of bytes before a picture that went through a program for text; 0 where something else follows. */
function spaceBefore(data) {
  const space = data.findIndex((byte) => !SPACE.includes(byte));
  const rest = data.subarray(space);
  return space > 0 && space <= MOST_SPACE && (isPng(rest) || isTiff(rest) || kindOf(rest)) ? space : 0;
}

async function decodeByBrowser(data, orientation) {
  const type = kindOf(data);
  if (!type) throw new ImageError("not_an_image", whyNot(data));
  if (frames(data, type) > 1) throw new ImageError("animated", "animated: save the one picture to use as PNG");
  const stated = dimensions(data, type);
  if (stated) checkSize(stated.width, stated.height, type === "image/webp" ? LIMITS.MAX_WEBP_PIXELS : LIMITS.MAX_PIXELS);
  const bytes = orientation ? markedUpright(data, orientation) : data;
  return type === "image/jpeg" ? decodeJpeg(bytes) : pixelsOf(bytes, type);
}

function kindOf(data) {
  if (startsWith(data, 0xff, 0xd8, 0xff)) return "image/jpeg";
  if (ascii(data, 0, 4) === "RIFF" && ascii(data, 8, 4) === "WEBP") return "image/webp";
  if (["GIF87a", "GIF89a"].includes(ascii(data, 0, 6))) return "image/gif";
  if (ascii(data, 0, 2) === "BM") return "image/bmp";
  return null;
}

const isTiff = (data) => ["II*\0", "MM\0*", "II+\0", "MM\0+"].includes(ascii(data, 0, 4));

function whyNot(data) {
  if (ascii(data, 4, 4) === "jP  ") return "JPEG 2000, which browsers do not read; use sonoforge serve, or save it as PNG";
  if (/^P[1-6]\s/.test(ascii(data, 0, 3))) return "PNM, which browsers do not read; use sonoforge serve, or save it as PNG";
  if (ascii(data, 4, 4) === "ftyp") return "HEIC or video, which this page does not read; save it as JPEG or PNG";
  const opening = ascii(data, 0, 300).trimStart();
  if (opening.startsWith("<") && opening.includes("<svg")) return "SVG, a drawing and no scan; save the scan as PNG";
  if (opening.startsWith("%PDF")) return "PDF, which this page does not read; save the picture in it as PNG";
  return "not an image; expected PNG, JPEG, TIFF, DICOM, WebP, GIF or BMP content";
}

/** The number of pictures in a GIF (counted up to two) or WebP file, else 1. */
function frames(data, type) {
  if (type === "image/webp") return ascii(data, 12, 4) === "VP8X" && data[20] & 2 ? 2 : 1;
  return type === "image/gif" ? gifFrames(data) : 1;
}

/** Source: GIF89a specification, sections 18 to 26. */
function gifFrames(data) {
  const tableSize = (flags) => (flags & 128 ? 3 << ((flags & 7) + 1) : 0);
  let position = 13 + tableSize(data[10]);
  let found = 0;
  while (position < data.length && found < 2) {
    if (data[position] === 0x2c) {
      found += 1;
      position += 11 + tableSize(data[position + 9]);
    } else if (data[position] === 0x21) {
      position += 2;
    } else {
      break;
    }
    while (data[position]) position += data[position] + 1;
    position += 1;
  }
  return found;
}

/**
 * Read the size from the header, to refuse a large picture before its pixels take memory; null where the header is damaged.
 *
 * Sources: ITU-T T.81, B.2.2 (JPEG); GIF89a, section 18; BITMAPCOREHEADER and BITMAPINFOHEADER (BMP); RFC 9649 (WebP).
 */
function dimensions(data, type) {
  try {
    return READERS[type](viewOf(data));
  } catch (error) {
    if (error instanceof RangeError) return null; // beyond the end of the file
    throw error;
  }
}

const READERS = {
  "image/jpeg": jpegSize,
  "image/gif": (view) => ({ width: view.getUint16(6, true), height: view.getUint16(8, true) }),
  "image/bmp": (view) =>
    view.getUint32(14, true) === 12
      ? { width: view.getUint16(18, true), height: view.getUint16(20, true) }
      : { width: view.getInt32(18, true), height: Math.abs(view.getInt32(22, true)) },
  "image/webp": (view) => {
    const kind = view.getUint8(15);
    if (kind === 0x58) return { width: 1 + (view.getUint32(24, true) & 0xffffff), height: 1 + (view.getUint32(26, true) >>> 8) };
    if (kind === 0x4c) {
      const bits = view.getUint32(21, true);
      return { width: 1 + (bits & 0x3fff), height: 1 + ((bits >>> 14) & 0x3fff) };
    }
    return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff };
  },
};
