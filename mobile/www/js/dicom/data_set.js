/**
 * Read a DICOM file's description of its pixels, and where they lie, as `sonoforge.runtime.images.dicom.data_set` does.
 *
 * The encoding is recognised from the first bytes; the header merely claims it (PS3.5, annex A).  Only the elements in
 * `elements.js` are read.
 */

import { ascii, inflate, viewOf } from "../bytes.js";
import constants from "../constants.js";
import { ImageError } from "../errors.js";
import { drop, has, itemsOf, take, valuesOf } from "./elements.js";
import { tableOf } from "./levels.js";

const {
  BIG_ENDIAN, COLOUR, DEFLATED, EXPLICIT, GREY, IMPLICIT, JPEG, JPEG_EXTENDED, MAX_INFLATED_BYTES, MOST_MM, MOST_MS, PADDING,
  PALETTE, REFUSED, TIMES, SPACINGS, UNKNOWN, WINDOW_FUNCTIONS,
} = constants.data_set;

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
const NATIVE = [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED];

/** Whether a transfer syntax stores uncompressed pixels. */
export const isNative = (syntax) => NATIVE.includes(syntax);

const DECODED = [...NATIVE, RLE, `${JPEG}50`, JPEG_EXTENDED];
// Transfer syntaxes that no browser decodes; PS3.6, table A-1.
const NAMES = [
  [/^(57|70)$/, "lossless JPEG"],
  [/^8[01]$/, "JPEG-LS"],
  [/^9[0-3]$/, "JPEG 2000"],
  [/^20[1-3]$/, "High-Throughput JPEG 2000"],
  [/^10\d/, "a video"],
];

const PIXELS = "x7fe00010";
const FLOATS = ["x7fe00008", "x7fe00009"];
const MOST_HEADER = 16_000_000; // bytes before the pixels; ten times the size of private elements and icons

/**
 * @typedef {object} DataSet
 * @property {import("./elements.js").Items} header - Without its damaged elements.
 * @property {any} needed - `rows`, `columns`, `samples` (of a pixel), `bitsAllocated`, `bitsStored`, `isSigned`,
 *   `isPlanar` (whether each colour has its own plane), `frames` and `photometric`.
 * @property {string} syntax - Transfer syntax UID.
 * @property {Uint8Array} data - The file, inflated.
 * @property {number} offset - Where the pixels begin in it.
 * @property {number} length - Of the pixels in bytes, as stated.
 * @property {boolean} swapped - Whether bytes lie in pairs, the second first.
 * @property {string[]} passedOver - Names of damaged or untrue elements that are not needed.
 */

/** Read a whole file; errors of any kind if it is damaged. */
export async function readDataSet(file) {
  const meta = readMeta(file);
  const [declared = ""] = valuesOf(meta.header, "TransferSyntaxUID");
  const isDeflated = declared === DEFLATED;
  const data = isDeflated ? await inflated(file.subarray(meta.end)) : file;
  const start = isDeflated ? 0 : meta.end;
  const { isImplicit, little } = encodingOf(data.subarray(start, start + 6), declared);
  const header = readElements(data, start, isImplicit, little);
  takeShared(header);
  const passedOver = dropDamaged(header);
  const native = isImplicit ? IMPLICIT : little ? EXPLICIT : BIG_ENDIAN;
  const syntax = declared === "" || isNative(declared) ? native : declared;
  if ([IMPLICIT, EXPLICIT].includes(declared) && declared !== syntax) passedOver.unshift("TransferSyntaxUID");
  const pixels = header.elements[PIXELS];
  if (!pixels && !FLOATS.some((tag) => tag in header.elements)) {
    throw new ImageError("not_an_image", "DICOM without a picture (a report or a directory); leave it out");
  }
  const needed = neededOf(header, isNative(syntax));
  checkKind(header, needed, syntax);
  if (!pixels) {
    throw new ImageError("unsupported", "found floating-point pixels, expected integers; export it as PNG");
  }
  const swapped = syntax === BIG_ENDIAN && needed.bitsAllocated === 8 && pixels.vr === "OW";
  const { dataOffset: offset, length } = pixels;
  return { header, needed, syntax, data, offset, length, swapped, passedOver };
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
  return { header: { elements, view, little: true }, end: stream.position };
}

/** Inflate what follows the file meta, without a byte that pads it to an even length. */
async function inflated(packed) {
  const read = (bytes) => inflate(bytes, "deflate-raw", MAX_INFLATED_BYTES);
  return read(packed).catch((error) => (packed.at(-1) === 0 ? read(packed.subarray(0, -1)) : Promise.reject(error)));
}

/** See from the first element whether value representations are implicit, and bytes little-endian. */
function encodingOf(head, declared) {
  const little = head[1] === 0 || head[0] !== 0;
  if (declared && little === (declared === BIG_ENDIAN)) {
    const [found, expected] = little ? ["little", "big"] : ["big", "little"];
    throw new ImageError(
      "truncated",
      `found ${found}-endian elements, expected ${expected}-endian ones as its header says; export it again`,
    );
  }
  return { isImplicit: !/^[A-Z]{2}$/.test(ascii(head, 4, 2)), little };
}

/** The elements up to the pixels. */
function readElements(data, start, isImplicit, little) {
  const bytes = data.subarray(0, MOST_HEADER);
  const order = little ? parser.littleEndianByteArrayParser : parser.bigEndianByteArrayParser;
  const found = new parser.DataSet(order, bytes, {});
  found.warnings = [];
  if (start < bytes.length) {
    const read = isImplicit ? parser.parseDicomDataSetImplicit : parser.parseDicomDataSetExplicit;
    read(found, new parser.ByteStream(order, bytes, start), bytes.length, { untilTag: PIXELS });
  }
  return { elements: found.elements, view: viewOf(bytes), little };
}

/** Copy windows and rescaling from the functional groups of enhanced objects. */
function takeShared(header) {
  try {
    const [shared] = itemsOf(header, "SharedFunctionalGroupsSequence");
    for (const group of shared ? ["FrameVOILUTSequence", "PixelValueTransformationSequence"] : []) {
      for (const item of itemsOf(shared, group)) {
        const names = ["WindowCenter", "WindowWidth", "VOILUTFunction", "RescaleSlope", "RescaleIntercept"];
        for (const name of names) take(header, item, name);
      }
    }
  } catch {
    drop(header, "SharedFunctionalGroupsSequence");
  }
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
  tried("RescaleSlope", ([value]) => value !== 0 && Math.abs(value) < 1e30);
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
  for (const pair of [["RescaleSlope", "RescaleIntercept"], ["WindowCenter", "WindowWidth"]]) {
    if (!pair.every((name) => has(header, name))) for (const name of pair) drop(header, name);
  }
  for (const name of ["ModalityLUTSequence", "VOILUTSequence"]) {
    try {
      if (itemsOf(header, name).length) tableOf(header, name, { isSigned: valuesOf(header, "PixelRepresentation")[0] === 1 });
      else drop(header, name);
    } catch {
      damaged.push(name);
      drop(header, name);
    }
  }
  return damaged;
}

/** @returns {Needed} */
function neededOf(header, isNative) {
  const [photometric] = has(header, "PhotometricInterpretation") ? valuesOf(header, "PhotometricInterpretation") : [];
  const number = (name, least, most, otherwise = null) => {
    let problem = has(header, name) ? "empty or damaged" : "missing";
    try {
      const [value] = valuesOf(header, name);
      if (otherwise !== null && value === undefined) return otherwise;
      if (Number.isInteger(value)) {
        if (value >= least && value <= most) return value;
        problem = `${inShort(value)}, expected ${least} to ${inShort(most)}`;
      }
    } catch {
      // damaged
    }
    throw new ImageError(
      "incomplete",
      `its ${name} is ${problem}, and without it the pixels cannot be read; export it again`,
    );
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

/** Refuse pixels that neither this page nor a browser decodes, or that `levels.js` has no rules for. */
function checkKind(header, { photometric, samples, bitsStored, bitsAllocated }, syntax) {
  const refuse = (text) => {
    throw new ImageError("unsupported", text);
  };
  if (!DECODED.includes(syntax)) {
    const kind = NAMES.find(([ending]) => syntax.startsWith(JPEG) && ending.test(syntax.slice(JPEG.length)));
    refuse(
      `stored as ${kind?.[1] ?? "an unknown transfer syntax"}, which this page does not read; export it uncompressed or ` +
        `as PNG${kind && kind[1] !== "a video" ? ", or use sonoforge classify" : ""}`,
    );
  }
  const known = [...GREY, ...COLOUR, PALETTE];
  if (!known.includes(photometric) || samples !== (COLOUR.includes(photometric) ? 3 : 1)) {
    // Only a defined term is quoted (PS3.3, C.7.6.3.1.2): other text could be a name.
    const found = [...known, ...REFUSED].includes(photometric) ? photometric : "other";
    refuse(`found ${found} pixels of ${samples} samples, expected one of ${known.join(", ")}; export it as PNG`);
  }
  const most = syntax.startsWith(JPEG) ? 8 : 16;
  if (![1, 8, 16].includes(bitsAllocated) || bitsStored > Math.min(bitsAllocated, most)) {
    refuse(`found ${bitsStored} of ${bitsAllocated} bits, expected 1, 8 or up to ${most}; export it as 8- or 16-bit PNG`);
  }
  const [highest] = valuesOf(header, "HighBit");
  if (highest >= bitsStored && highest < bitsAllocated) {
    refuse(`found HighBit ${highest}, expected ${bitsStored - 1}, one less than BitsStored; export it as PNG`);
  }
}

/** Refuse pixels whose length contradicts the header. */
export function checkLength({ needed, syntax, data, offset, length }) {
  const { frames, rows, columns, samples, bitsAllocated, photometric } = needed;
  const isCompressed = !isNative(syntax);
  const hasFragments = ascii(data, offset, 4) === "\xfe\xff\x00\xe0";
  if (isCompressed !== (isCompressed ? hasFragments : length === UNKNOWN)) {
    const [found, expected] = isCompressed ? ["uncompressed", "compressed"] : ["compressed", "uncompressed"];
    throw new ImageError(
      "truncated",
      `found ${found} pixels, expected ${expected} ones as its header says; export it again`,
    );
  }
  if (isCompressed) return;
  const stored = photometric === "YBR_FULL_422" ? 2 : samples;
  const expected = Math.ceil((frames * rows * columns * stored * bitsAllocated) / 8);
  const there = Math.min(length, data.length - offset);
  if (there < expected || length > expected + Math.min(PADDING, Math.floor(expected / 4))) {
    throw new ImageError(
      "truncated",
      `found ${there} bytes of pixels, expected ${expected} for ${inShort(frames)} of ${columns}x${rows} pixels as its ` +
        "header says; obtain it again",
    );
  }
}
