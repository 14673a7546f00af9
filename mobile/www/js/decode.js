/** Decode whatever image file a person gives the page, to the pixels that Python's runtime reads. */

import { ascii, checkSize, damaged, ImageError, LIMITS, viewOf } from "./bytes.js";
import { decodePng, isPng } from "./png.js";
import { upright } from "./raster.js";

const REPRESENTATION =
  "(?:AE|AS|AT|CS|DA|DS|DT|FD|FL|IS|LO|LT|OB|OF|OW|PN|SH|SL|SQ|SS|ST|TM|UC|UI|UL|UN|UR|US|UT)";
// Without a preamble: an element of group 0002 or 0008, in either order of bytes.
const BARE = new RegExp(
  `^(?:(?:[\\x02\\x08]\\0[^]\\0|\\0[\\x02\\x08]\\0[^])${REPRESENTATION}|[\\x02\\x08]\\0[^]\\0[^][^]\\0\\0)`,
);

/** Whether a file, or its beginning, is DICOM; as `sonoforge.runtime.images.file_kinds` decides. */
export const isDicom = (data) => ascii(data, 128, 4) === "DICM" || BARE.test(ascii(data, 0, 8));

/** Open a file as one picture or the frames of a clip, see `dicom/reader.js`; without `toDict` unless it is DICOM. */
export async function openInput(file) {
  const data = await readFile(file);
  if (isDicom(data)) return (await import("./dicom/reader.js")).openDicom(data);
  return { frameCount: 1, frame: () => decodeImage(data) };
}

/** Return a file's bytes; an `ImageError` if it is empty or too large. */
export async function readFile(file) {
  if (file.size === 0) throw new ImageError("empty", "the file is empty (0 bytes); obtain it again");
  if (file.size > LIMITS.MAX_FILE_BYTES) {
    const [found, most] = [file.size, LIMITS.MAX_FILE_BYTES].map((bytes) => Math.round(bytes / 1e6));
    throw new ImageError("too_large", `${found} MB, more than ${most} MB; save it smaller`);
  }
  return new Uint8Array(await file.arrayBuffer());
}

/**
 * Decode a file of any kind but DICOM to an upright raster, or throw an `ImageError` and nothing else.  PNG and TIFF give Python's
 * bytes; JPEG and WebP decoders differ by a few grey levels.
 */
export async function decodeImage(data) {
  if (isTiff(data)) return (await import("./tiff.js")).decodeTiff(data);
  const orientation = findOrientation(data);
  const raster = isPng(data) ? await decodePng(data) : await decodeByBrowser(data, orientation);
  return upright(raster, orientation?.value ?? 1);
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
  if (ascii(data, 0, 3) === "\xff\xd8\xff") return "image/jpeg";
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
  return "not an image; its content is not PNG, JPEG, TIFF, DICOM, WebP, GIF or BMP";
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

// ---- pictures that the browser decodes

/** Decode a file without EXIF orientation to RGB; `type` is such as `image/jpeg`. */
async function pixelsOf(bytes, type) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes], { type }), { colorSpaceConversion: "none" });
  } catch {
    throw damaged("this browser cannot decode it");
  }
  try {
    checkSize(bitmap.width, bitmap.height);
    const { width, height } = bitmap;
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true }); // alpha on black
    context.drawImage(bitmap, 0, 0);
    const { data: rgba } = context.getImageData(0, 0, width, height);
    const colours = new Uint8Array(3 * width * height);
    for (let i = 0, from = 0; i < colours.length; i += 3, from += 4) {
      colours[i] = rgba[from];
      colours[i + 1] = rgba[from + 1];
      colours[i + 2] = rgba[from + 2];
    }
    return { width, height, channels: 3, data: colours, remarks: [] };
  } finally {
    bitmap.close();
  }
}

/** Decode a JPEG without EXIF orientation to RGB; browsers would show what is left of one that lacks its end mark. */
export async function decodeJpeg(data) {
  const last = (marker) => data.findLastIndex((byte, i) => byte === 0xff && data[i + 1] === marker);
  if (last(0xd9) < last(0xda)) throw damaged("it has no end");
  return pixelsOf(data, "image/jpeg");
}

/** Yield the marker of each segment of a JPEG before its pixels, and where it is (ITU-T T.81, B.1.1). */
export function* jpegSegments(view) {
  for (let at = 2; at + 4 <= view.byteLength && view.getUint8(at) === 0xff; ) {
    const marker = view.getUint8(at + 1);
    if (marker === 0xda || marker === 0xd9) return;
    if (marker !== 0xff) yield { marker, at };
    at += marker === 0xff ? 1 : 2 + view.getUint16(at + 2);
  }
}

/** Read width, height and samples from the frame header (B.2.2); null where there is none, RangeError where it is cut off. */
export function jpegSize(view) {
  for (const { marker, at } of jpegSegments(view)) {
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame) return { width: view.getUint16(at + 7), height: view.getUint16(at + 5), samples: view.getUint8(at + 9) };
  }
  return null;
}

// ---- EXIF orientation (EXIF 2.32, tag 274), set to "upright" in a copy before a browser, which may ignore it or not, decodes

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
  if (data[0] === 0xff && data[1] === 0xd8) {
    const isExif = ({ marker, at }) => marker === 0xe1 && ascii(data, at + 4, 5) === "Exif\0";
    const segment = [...jpegSegments(view)].find(isExif);
    return segment ? segment.at + 10 : -1;
  }
  if (data[0] === 0x89 && data[1] === 0x50) return inChunks(data, view, 8, 8, "eXIf", false);
  if (data[0] === 0x52 && data[8] === 0x57) return inChunks(data, view, 12, 8, "EXIF", true);
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
