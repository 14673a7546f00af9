/**
 * What a DICOM file says about its pixels, and where they lie; as `sonoforge.runtime.images.dicom.data_set` does.
 *
 * Only the elements that pixels need are read (PS3.6): none identifies a patient.  Whether value representations are implicit
 * is seen from the first element; the header merely claims it (PS3.5, annex A).
 */

import { ascii, ImageError, viewOf } from "../bytes.js";
import constants from "../constants.js";

const {
  COLOUR, ELEMENTS, EXPLICIT, GREY, IMPLICIT, JPEG, JPEG_EXTENDED, MOST_MM, MOST_MS, PADDING, PALETTE, REFUSED, TIMES, SPACINGS, UNKNOWN,
  WINDOW_FUNCTIONS,
} = constants.data_set;

const TEXTS = ["CS", "UI", "LO", "SH"];
const DECIMALS = ["DS", "IS"];
const MOST_TEXT = 65536; // bytes; more fit no element with a stated representation (PS3.5, 7.1.2)
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
// Bytes of a binary number, and how a DataView reads it; PS3.5, 6.2.
const BINARY = {
  US: [2, "getUint16"], SS: [2, "getInt16"], OW: [2, "getUint16"], UL: [4, "getUint32"], SL: [4, "getInt32"],
  FL: [4, "getFloat32"], FD: [8, "getFloat64"],
};

export const has = ({ elements }, name) => ELEMENTS[name][0] in elements;

/** Return an element's values, none where it is missing or empty; an error if it holds something else. */
export function valuesOf({ elements, view }, name) {
  const [tag, otherwise] = ELEMENTS[name];
  const element = elements[tag];
  if (!element?.length) return [];
  const kind = element.vr in BINARY || TEXTS.includes(element.vr) || DECIMALS.includes(element.vr) ? element.vr : otherwise;
  if (kind in BINARY) {
    const [size, read] = BINARY[kind];
    const count = Math.floor(element.length / size);
    if (element.dataOffset + count * size > view.byteLength) throw new Error(`${name} is cut off`);
    return Array.from({ length: count }, (_, i) => Number(view[read](element.dataOffset + i * size, true)));
  }
  if (element.length > MOST_TEXT) throw new Error(`${name}: ${element.length} bytes of text`);
  const bytes = new Uint8Array(view.buffer, view.byteOffset + element.dataOffset, element.length);
  const texts = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("").split("\\");
  const parts = texts.map((text) => text.replace(/[\s\0]+$/, "").trimStart());
  if (TEXTS.includes(kind)) return parts;
  const filled = parts.filter(Boolean);
  if (!filled.every((text) => NUMBER.test(text) && Number.isFinite(Number(text)))) throw new Error(`${name}: no number`);
  return filled.map(Number);
}

/** @returns {Uint8Array} The bytes of an element. */
export function bytesOf({ elements, view }, name) {
  const element = elements[ELEMENTS[name][0]];
  return element ? new Uint8Array(view.buffer, view.byteOffset + element.dataOffset, element.length) : new Uint8Array();
}

/** Return a sequence's items, none where it is missing; an error if it is not a sequence. */
export function itemsOf({ elements, view }, name) {
  const element = elements[ELEMENTS[name][0]];
  if (!element?.length) return [];
  if (!element.items) throw new Error(`${name}: no sequence`);
  return element.items.map(({ dataSet }) => ({ elements: dataSet.elements, view }));
}

export const drop = ({ elements }, name) => void delete elements[ELEMENTS[name][0]];

const parser = await load();

/** Load dicom-parser, which is not an ES module: it hands itself to `define`. */
async function load() {
  let loaded;
  globalThis.define = Object.assign((_name, _needs, make) => void (loaded = make()), { amd: true });
  try {
    await import("../../vendor/dicomParser.min.js");
  } finally {
    delete globalThis.define;
  }
  return loaded;
}

export const RLE = "1.2.840.10008.1.2.5";

/** Whether a transfer syntax stores uncompressed pixels. */
export const isNative = (syntax) => [IMPLICIT, EXPLICIT].includes(syntax);

const DECODED = [IMPLICIT, EXPLICIT, RLE, `${JPEG}50`, JPEG_EXTENDED];
const PIXELS = "x7fe00010";
const FLOATS = ["x7fe00008", "x7fe00009"];
const MOST_HEADER = 16_000_000; // bytes before the pixels; ten times the size of private elements and icons
// What Python's runtime reads and this page does not.
const ONLY_PYTHON = [
  "ModalityLUTSequence", "VOILUTSequence", "SegmentedRedPaletteColorLookupTableData", "SharedFunctionalGroupsSequence",
  "PerFrameFunctionalGroupsSequence",
];

/**
 * Read a whole file; errors of any kind if it is damaged.
 *
 * Returned are the `header` without its damaged elements, what is `needed` of it (see `neededOf`), the transfer `syntax`, the
 * file's `data`, where the pixels begin in it (`offset`) and their stated `length`, and names of elements `passedOver`.
 */
export function readDataSet(data) {
  const meta = readMeta(data);
  const [declared = ""] = valuesOf(meta.header, "TransferSyntaxUID");
  const head = data.subarray(meta.end, meta.end + 6);
  if (declared && !DECODED.includes(declared)) refuseSyntax(declared);
  if (head[0] === 0 && head[1] !== 0) {
    throw new ImageError("truncated", "its elements are big-endian, but its header says little-endian; export it again");
  }
  const isImplicit = !/^[A-Z]{2}$/.test(ascii(head, 4, 2));
  const header = readElements(data, meta.end, isImplicit);
  const native = isImplicit ? IMPLICIT : EXPLICIT;
  const syntax = declared === "" || isNative(declared) ? native : declared;
  const passedOver = dropDamaged(header);
  if (isNative(declared) && declared !== syntax) passedOver.unshift("TransferSyntaxUID");
  const pixels = header.elements[PIXELS];
  if (!pixels && !FLOATS.some((tag) => tag in header.elements)) {
    throw new ImageError("not_an_image", "DICOM without a picture (a report or a directory); leave it out");
  }
  const needed = neededOf(header, isNative(syntax));
  checkKind(header, needed, syntax);
  if (!pixels) throw new ImageError("unsupported", "floating-point pixels are not supported; export it as PNG");
  const { dataOffset: offset, length } = pixels;
  return { header, needed, syntax, data, offset, length, passedOver };
}

/** The file meta (PS3.10, 7.1), which may be missing: its elements, and where it ends. */
function readMeta(file) {
  const start = ascii(file, 128, 4) === "DICM" ? 132 : 0;
  const stream = new parser.ByteStream(parser.littleEndianByteArrayParser, file, start);
  const view = viewOf(file);
  const elements = {};
  while (stream.position + 8 <= file.length && view.getUint16(stream.position, true) === 2) {
    const element = parser.readDicomElementExplicit(stream, []);
    elements[element.tag] = element;
  }
  return { header: { elements, view }, end: stream.position };
}

/** The elements up to the pixels. */
function readElements(data, start, isImplicit) {
  const bytes = data.subarray(0, MOST_HEADER);
  const found = new parser.DataSet(parser.littleEndianByteArrayParser, bytes, {});
  found.warnings = [];
  if (start < bytes.length) {
    const read = isImplicit ? parser.parseDicomDataSetImplicit : parser.parseDicomDataSetExplicit;
    const stream = new parser.ByteStream(parser.littleEndianByteArrayParser, bytes, start);
    read(found, stream, bytes.length, { untilTag: PIXELS });
  }
  return { elements: found.elements, view: viewOf(bytes) };
}

/** Remove empty or damaged elements that pixels can do without; return the names of the damaged ones. */
function dropDamaged(header) {
  const damaged = [];
  const tried = (name, isSound) => {
    let values = null;
    try {
      values = valuesOf(header, name);
    } catch {
      // not a number
    }
    const sound = values !== null && (!values.length || isSound(values));
    if (!sound) damaged.push(name);
    if (!sound || !values.length) drop(header, name);
  };
  for (const name of SPACINGS) {
    tried(name, (values) => values.length === 2 && values.every((value) => value > 0 && value <= MOST_MM));
  }
  tried("FrameTime", ([value]) => value > 0 && value <= MOST_MS);
  for (const name of TIMES.slice(1)) tried(name, ([value]) => value >= 1000 / MOST_MS && value <= MOST_MS);
  tried("RescaleSlope", ([value]) => Math.abs(value) > 1e-30 && Math.abs(value) < 1e30);
  tried("RescaleIntercept", ([value]) => Math.abs(value) < 1e30);
  const kind = (valuesOf(header, "VOILUTFunction")[0] || "LINEAR").toUpperCase();
  const isKnown = WINDOW_FUNCTIONS.includes(kind);
  if (!isKnown) {
    damaged.push("VOILUTFunction");
    drop(header, "VOILUTFunction");
  }
  const least = kind === "LINEAR" || !isKnown ? 1 : 1e-30;
  tried("WindowCenter", ([value]) => Math.abs(value) < 1e30);
  tried("WindowWidth", ([value]) => value >= least && value < 1e30);
  // A slope needs no intercept, nor the reverse; a centre needs its width.
  for (const [pair, least] of [[["RescaleSlope", "RescaleIntercept"], 1], [["WindowCenter", "WindowWidth"], 2]]) {
    const isWhole = pair.filter((name) => has(header, name)).length >= least;
    if (!isWhole || pair.some((name) => damaged.includes(name))) for (const name of pair) drop(header, name);
  }
  return damaged;
}

/** What decoding needs; of a pixel `samples` and bits, `isPlanar`: each colour has its own plane. */
function neededOf(header, isNative) {
  const [photometric] = has(header, "PhotometricInterpretation") ? valuesOf(header, "PhotometricInterpretation") : [];
  const number = (name, least, most, otherwise = null) => {
    let problem = has(header, name) ? "empty or damaged" : "missing";
    try {
      const [value] = valuesOf(header, name);
      if (otherwise !== null && !value) return otherwise;
      if (Number.isInteger(value)) {
        if (value >= least && value <= most) return value;
        problem = `${inShort(value)}, not ${least} to ${inShort(most)}`;
      }
    } catch {
      // damaged
    }
    throw new ImageError("incomplete", `its ${name} is ${problem}, so the pixels cannot be read; export it again`);
  };
  if (!photometric) number("PhotometricInterpretation", 0, 0);
  const samples = number("SamplesPerPixel", 1, 65535);
  const planes = isNative && COLOUR.includes(photometric) ? null : 0;
  return {
    rows: number("Rows", 1, 65535),
    columns: number("Columns", 1, 65535),
    samples,
    bitsAllocated: number("BitsAllocated", 1, 65535),
    bitsStored: number("BitsStored", 1, 65535),
    isSigned: number("PixelRepresentation", 0, 1) === 1,
    frames: number("NumberOfFrames", 1, 2 ** 31, 1),
    // Compressed frames say themselves how their planes lie.
    isPlanar: samples > 1 && number("PlanarConfiguration", 0, 1, planes) === 1,
    photometric,
  };
}

/** A number from a file, or the length of a long one. */
export const inShort = (number) =>
  Math.abs(number) < 1e12 ? String(number) : `a number of ${BigInt(Math.abs(number)).toString().length} digits`;

function refuse(text) {
  throw new ImageError("unsupported", text);
}

function refuseSyntax(syntax) {
  const known = /^1\.2\.840\.10008\.1\.2[0-9.]{0,20}$/.test(syntax) ? `transfer syntax ${syntax}` : "an unknown transfer syntax";
  const named = /\.4\.9[0-3]$/.test(syntax) ? "JPEG 2000" : known;
  refuse(`stored as ${named}, which this page does not read; export it uncompressed or as PNG, or use sonoforge classify`);
}

/** Refuse pixels that neither this page nor a browser decodes, or that `reader.js` has no rules for. */
function checkKind(header, { photometric, samples, bitsStored, bitsAllocated }, syntax) {
  const known = [...GREY, ...COLOUR, PALETTE];
  if (!known.includes(photometric) || samples !== (COLOUR.includes(photometric) ? 3 : 1)) {
    // Only a defined term is quoted (PS3.3, C.7.6.3.1.2): other text could be a name.
    const found = [...known, ...REFUSED].includes(photometric) ? photometric : "other";
    refuse(`${found} pixels of ${samples} samples are not one of ${known.join(", ")}; export it as PNG`);
  }
  const most = syntax.startsWith(JPEG) ? 8 : 16;
  if (![8, 16].includes(bitsAllocated) || bitsStored > Math.min(bitsAllocated, most)) {
    refuse(`${bitsStored} of ${bitsAllocated} bits cannot be read, only 8 or up to ${most}; export it as 8- or 16-bit PNG`);
  }
  const [highest] = valuesOf(header, "HighBit");
  if (highest >= bitsStored && highest < bitsAllocated) {
    refuse(`HighBit is ${highest}, not ${bitsStored - 1}, one less than BitsStored; export it as PNG`);
  }
  const table = ONLY_PYTHON.find((name) => header.elements[ELEMENTS[name][0]]?.length);
  if (table) refuse(`uses ${table}, which this page does not read; export it as PNG, or use sonoforge classify`);
}

/** Refuse pixels whose length contradicts the header. */
export function checkLength({ needed, syntax, data, offset, length }) {
  const { frames, rows, columns, samples, bitsAllocated, photometric } = needed;
  const isCompressed = !isNative(syntax);
  const hasFragments = ascii(data, offset, 4) === "\xfe\xff\x00\xe0";
  if (isCompressed !== (isCompressed ? hasFragments : length === UNKNOWN)) {
    const [found, claimed] = isCompressed ? ["uncompressed", "compressed"] : ["compressed", "uncompressed"];
    throw new ImageError("truncated", `its pixels are ${found}, but its header says ${claimed}; export it again`);
  }
  if (isCompressed) return;
  const stored = photometric === "YBR_FULL_422" ? 2 : samples;
  const expected = Math.ceil((frames * rows * columns * stored * bitsAllocated) / 8);
  const there = Math.min(length, data.length - offset);
  if (there < expected || length > expected + Math.min(PADDING, Math.floor(expected / 4))) {
    const size = `${inShort(frames)} of ${columns}x${rows} pixels`;
    throw new ImageError("truncated", `${there} bytes of pixels, not ${expected} for ${size} as its header says; obtain it again`);
  }
}
