/**
 * Open a DICOM file as frames of 8-bit grey or RGB, under the rules of `sonoforge.runtime.images.dicom.reader`.
 *
 * An image is `{frameCount, frame, toDict}`: `frame(number)`, from 1, resolves to a raster cut to the region; `toDict()` is
 * `dicom` of Python's answers.  Nothing identifies the patient: no message quotes an element.
 */

import { checkSize, ImageError, LIMITS } from "../bytes.js";
import constants from "../constants.js";
import { cropped, toEven } from "../pixels.js";
import { filledBits, spreadRemark } from "../raster.js";
import { bytesOf, checkLength, has, inShort, itemsOf, readDataSet, valuesOf } from "./data_set.js";
import { framesOf } from "./frames.js";

const { MAX_CLIP_PIXELS, MAX_FRAMES } = constants.limits;
const { COLOUR, GREY, MAX_COLOUR_PIXELS, PALETTE, SPACINGS } = constants.data_set;
const { NEARLY_BLACK, WHOLE_WORD } = constants.reader;
const { CENTIMETRES, FORMAT_2D, MIN_SIDE, MOST_MM, TISSUE } = constants.header;

/** Open a whole file, without decoding a frame; only `ImageError`s, whatever it holds. */
export const openDicom = (file) => oneLine(async () => describe(readDataSet(file)));

/** Turn any error into an `ImageError` that quotes nothing of the file. */
async function oneLine(read) {
  try {
    return await read();
  } catch (error) {
    if (error instanceof ImageError) throw error;
    throw new ImageError("truncated", "damaged, or not as DICOM demands; obtain the file again");
  }
}

function describe(set) {
  const { header, needed } = set;
  const { rows, columns, frames, photometric, bitsStored } = needed;
  checkSize(columns, rows, GREY.includes(photometric) ? LIMITS.MAX_PIXELS : MAX_COLOUR_PIXELS);
  if (frames > MAX_FRAMES || frames * rows * columns > MAX_CLIP_PIXELS) {
    throw new ImageError(
      "too_large",
      `${inShort(frames)} frames of ${columns}x${rows} pixels; a clip may have ${MAX_FRAMES} frames and ` +
        `${MAX_CLIP_PIXELS / 1e6} million pixels in all; cut the clip`,
    );
  }
  checkLength(set);
  const { region, spacing: ofRegion, isDamaged } = readRegion(header, columns, rows);
  const spacing = ofRegion ?? readSpacing(header);
  const passedOver = [...set.passedOver, ...(isDamaged ? ["SequenceOfUltrasoundRegions"] : [])];
  const stored = framesOf(set);
  let prepared = null;
  const prepare = async () => {
    const bits = isWide(header, needed) ? await filledBitsOf(stored, needed) : bitsStored;
    const remarks = [
      ...(bits < bitsStored ? [spreadRemark(bits, bitsStored)] : []),
      ...(passedOver.length ? [`passed over as damaged or incomplete: ${passedOver.join(", ")}`] : []),
    ];
    return { levels: levelsOf(header, needed, bits), remarks };
  };
  return {
    frameCount: frames,
    frame: (number) =>
      oneLine(async () => {
        const { levels, remarks } = await (prepared ??= prepare());
        const whole = { width: columns, height: rows, ...levels(await stored(number - 1)) };
        return { ...(region ? cropped(whole, region.box) : whole), remarks: [...remarks] };
      }),
    toDict: () => ({
      frames,
      region: region?.box ?? null,
      regions: region?.count ?? 0,
      spacing_mm: spacing?.mm ?? null,
      spacing_from: spacing?.source ?? null,
      frame_time_ms: frameTime(header),
      passed_over: passedOver,
    }),
  };
}

/** How many bits the values of all frames fill, where the header does not say how to show them. */
async function filledBitsOf(stored, { frames, bitsStored }) {
  let [least, greatest] = [Infinity, -Infinity];
  for (let i = 0; i < frames; i++) {
    for (const value of await stored(i)) {
      if (value < least) least = value;
      if (value > greatest) greatest = value;
    }
  }
  const filled = filledBits(least, greatest, bitsStored);
  return bitsStored === WHOLE_WORD || filled <= bitsStored - NEARLY_BLACK ? filled : bitsStored;
}

/** Milliseconds from frame to frame (PS3.3, C.7.6.5), or 1000 through the frames a second. */
function frameTime(header) {
  const [time] = valuesOf(header, "FrameTime");
  if (time) return time;
  const rate = valuesOf(header, "CineRate")[0] || valuesOf(header, "RecommendedDisplayFrameRate")[0];
  return rate ? 1000 / rate : null;
}

/** Choose the largest two-dimensional tissue region of an ultrasound picture, of those at least 16 pixels wide and high. */
function readRegion(header, width, height) {
  let best = null;
  let count = 0;
  const items = tried(() => itemsOf(header, "SequenceOfUltrasoundRegions"));
  let isDamaged = items === undefined;
  const area = ([left, top, right, bottom]) => (right - left) * (bottom - top);
  for (const item of items ?? []) {
    const box = tried(() => regionBox(item, width, height));
    if (box === undefined) isDamaged = true;
    if (!box || Math.min(box[2] - box[0], box[3] - box[1]) < MIN_SIDE) continue;
    count += 1;
    if (!best || area(box) > area(best.box)) best = { box, item };
  }
  const spacing = best && (tried(() => regionSpacing(best.item)) ?? null);
  return { region: best && { box: best.box, count }, spacing, isDamaged };
}

/** What a function returns; nothing where it throws. */
function tried(read) {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** The part of a region that lies in the picture; null of one that holds something else. */
function regionBox(item, width, height) {
  const one = (name) => {
    const [value] = valuesOf(item, name);
    if (value === undefined) throw new Error(`${name} is missing`);
    return value;
  };
  if (valuesOf(item, "RegionSpatialFormat")[0] !== FORMAT_2D || valuesOf(item, "RegionDataType")[0] !== TISSUE) return null;
  // The standard's corner X1, Y1 is the last pixel inside.
  return [
    Math.max(0, one("RegionLocationMinX0")),
    Math.max(0, one("RegionLocationMinY0")),
    Math.min(width, one("RegionLocationMaxX1") + 1),
    Math.min(height, one("RegionLocationMaxY1") + 1),
  ];
}

function regionSpacing(item) {
  const units = ["PhysicalUnitsXDirection", "PhysicalUnitsYDirection"].map((name) => valuesOf(item, name)[0]);
  if (units.some((unit) => unit !== CENTIMETRES)) return null;
  // A direction may be negative: the axis then runs the other way.
  const mm = ["PhysicalDeltaY", "PhysicalDeltaX"].map((name) => 10 * Math.abs(valuesOf(item, name)[0]));
  return mm.every((value) => value > 0 && value <= MOST_MM) ? { mm, source: "region" } : null;
}

/** The spacing of the picture, else of the detector. */
function readSpacing(header) {
  const source = SPACINGS.find((name) => has(header, name));
  return source ? { mm: valuesOf(header, source), source } : null;
}

// ---- from stored values to levels: modality, then values of interest (PS3.4, annex N.2)

/** Return the mapping of a file's values, one table for all frames; `filledBits` are those stored, or see `isWide`. */
function levelsOf(header, needed, filledBits) {
  const { photometric, bitsStored } = needed;
  if (COLOUR.includes(photometric)) {
    return (values) => {
      const isPlain = bitsStored === 8 && values instanceof Uint8Array;
      return { channels: 3, data: isPlain ? values : Uint8Array.from(values, toByte(0, 2 ** bitsStored - 1)) };
    };
  }
  let table = null;
  return (values) => {
    table ??= photometric === PALETTE ? paletteTable(header, needed, values) : greyTable(header, needed, values, filledBits);
    const { channels, levels } = table;
    const mask = 256 ** values.BYTES_PER_ELEMENT - 1; // a signed value's bit pattern is its place in the table
    const data = new Uint8Array(channels * values.length);
    for (let i = 0, to = 0; i < values.length; i++) {
      const from = channels * (values[i] & mask);
      for (let k = 0; k < channels; k++) data[to++] = levels[from + k];
    }
    return { channels, data };
  };
}

/** Whether only the number of stored bits says how to show values, which may fill fewer: grey above 8 bits. */
function isWide(header, { photometric, bitsStored }) {
  return GREY.includes(photometric) && bitsStored > 8 && !has(header, "WindowCenter");
}

/** The least and the greatest value of so many bits. */
const rangeOf = (bits, { isSigned }) => (isSigned ? [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] : [0, 2 ** bits - 1]);

/** Every value that an array of this kind can hold, in the order of their bit patterns. */
function every(values) {
  const kind = values.constructor;
  return Array.from({ length: 256 ** values.BYTES_PER_ELEMENT }, (_, pattern) => kind.of(pattern)[0]);
}

function greyTable(header, needed, values, filledBits) {
  const [slope = 1] = valuesOf(header, "RescaleSlope");
  const [intercept = 0] = valuesOf(header, "RescaleIntercept");
  const rescaled = (value) => value * slope + intercept;
  const range = rangeOf(filledBits, needed).map(rescaled);
  const byte = has(header, "WindowCenter") ? toByte(0, 1) : toByte(Math.min(...range), Math.max(...range));
  const shown = has(header, "WindowCenter") ? windowOf(header) : (value) => value;
  const isNegative = needed.photometric === "MONOCHROME1";
  const level = (value) => byte(shown(rescaled(value)));
  return { channels: 1, levels: Uint8Array.from(every(values), (value) => (isNegative ? 255 - level(value) : level(value))) };
}

/** Spread low..high over 0..255, rounding halves to even and clipping what lies beyond. */
function toByte(low, high) {
  if (!Number.isFinite(low) || !Number.isFinite(high) || low === high) throw new Error("no range of values");
  const scale = 255 / (high - low);
  return (value) => toEven(Math.min(255, Math.max(0, (value - low) * scale)));
}

/** The first window, from 0 to 1; PS3.3, C.11.2.1.2 and C.11.2.1.3. */
function windowOf(header) {
  const kind = (valuesOf(header, "VOILUTFunction")[0] ?? "LINEAR").toUpperCase();
  let [centre] = valuesOf(header, "WindowCenter");
  let [width] = valuesOf(header, "WindowWidth");
  if (kind === "SIGMOID") return (value) => 1 / (1 + Math.exp((-4 * (value - centre)) / width));
  if (kind === "LINEAR") {
    centre -= 0.5;
    width -= 1;
  }
  return (value) => (width ? Math.min(1, Math.max(0, (value - centre) / width + 0.5)) : Number(value > centre));
}

/** PS3.3, C.7.6.3.1.5 and C.7.6.3.1.6; a value outside a table has the colour of its nearest end. */
function paletteTable(header, needed, values) {
  const [entries16, first16, bits] = valuesOf(header, "RedPaletteColorLookupTableDescriptor");
  if (!(bits >= 1 && bits <= 16)) throw new Error("a damaged palette");
  const entries = entries16 & 0xffff || 65536;
  const first = needed.isSigned && first16 > 32767 ? first16 - 65536 : first16;
  const tables = ["Red", "Green", "Blue"].map((colour) => colourTable(header, `${colour}PaletteColorLookupTableData`, entries));
  // Some writers store entries of 8 bits in words, or 0 to 255 in tables of 16 bits: the data decide.
  const all = tables.flatMap((data) => Array.from(data));
  const highest = all.reduce((most, value) => Math.max(most, value), 0);
  const inHighBytes = bits === 8 && all.every((value) => value % 256 === 0);
  const ends = [2 ** Math.min(bits, 8) - 1, 255, inHighBytes ? 0xff00 : 0, 2 ** bits - 1, 65535];
  const byte = toByte(0, ends.find((end) => highest <= end));
  const levels = new Uint8Array(3 * 256 ** values.BYTES_PER_ELEMENT);
  every(values).forEach((value, i) => {
    const place = Math.min(Math.max(0, Math.trunc(value - first)), entries - 1);
    tables.forEach((data, k) => void (levels[3 * i + k] = byte(data[place])));
  });
  return { channels: 3, levels };
}

/** The entries of a table, of one byte or two, whichever its length fits; an odd length is padded. */
function colourTable(header, name, entries) {
  const stored = bytesOf(header, name);
  const bytes = Math.floor(stored.length / entries);
  if ((bytes !== 1 && bytes !== 2) || stored.length - bytes * entries > 1) throw new Error(`${name}: damaged`);
  return (bytes === 1 ? stored : valuesOf(header, name)).slice(0, entries);
}
