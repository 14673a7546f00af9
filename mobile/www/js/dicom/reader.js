/**
 * Open a DICOM file as frames of 8-bit grey or RGB, under the rules of `sonoforge.runtime.images.dicom.reader`.
 *
 * Nothing identifies the patient: only the elements in `elements.js` are read, and no message quotes one.
 */

import { filledBits, inWords } from "../samples.js";
import constants from "../constants.js";
import { checkSize, ImageError, LIMITS } from "../errors.js";
import { cropped } from "../grey.js";
import { checkLength, inShort, readDataSet } from "./data_set.js";
import { itemsOf, valuesOf } from "./elements.js";
import { framesOf } from "./frames.js";
import { isWide, levelsOf } from "./levels.js";

const { MAX_CLIP_PIXELS, MAX_FRAMES } = constants.limits;
const { GREY, MAX_COLOUR_PIXELS } = constants.data_set;
const { NEARLY_BLACK, WHOLE_WORD } = constants.reader;
const { CENTIMETRES, FORMAT_2D, MIN_SIDE, MOST_MM, TISSUE } = constants.header;

/**
 * @typedef {object} DicomImage
 * @property {number} frameCount - 1 for a still.
 * @property {(number: number) => Promise<import("../samples.js").Raster>} frame - One frame, from 1, cut to the region.
 * @property {() => any} toDict - `dicom` of Python's answers.
 */

/** Open a whole file, without decoding a frame; only `ImageError`s, whatever it holds. */
export async function openDicom(file) {
  return oneLine(async () => describe(await readDataSet(file)));
}

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
      `found ${inShort(frames)} frames of ${columns}x${rows} pixels, expected 1 to ${MAX_FRAMES} frames and at most ` +
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
      ...(bits < bitsStored ? [inWords(bits, bitsStored)] : []),
      ...(passedOver.length ? [`passed over as damaged: ${passedOver.join(", ")}`] : []),
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

/** @typedef {{box: import("../grey.js").Box, count: number}} Region - The largest, and how many there are. */
/** @typedef {{mm: [number, number], source: string}} Spacing - Vertical and horizontal. */

/** Choose the largest two-dimensional tissue region of an ultrasound picture, of those at least 16 pixels wide and high. */
function readRegion(header, width, height) {
  let best = null;
  let count = 0;
  let isDamaged = false;
  const area = ([left, top, right, bottom]) => (right - left) * (bottom - top);
  for (const item of tried(() => itemsOf(header, "SequenceOfUltrasoundRegions")) ?? damaged()) {
    const box = tried(() => boxOf(item, width, height));
    if (box === undefined) isDamaged = true;
    if (!box || Math.min(box[2] - box[0], box[3] - box[1]) < MIN_SIDE) continue;
    count += 1;
    if (!best || area(box) > area(best.box)) best = { box, item };
  }
  const spacing = best && (tried(() => regionSpacing(best.item)) ?? null);
  return { region: best && { box: best.box, count }, spacing, isDamaged };

  function damaged() {
    isDamaged = true;
    return [];
  }
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
function boxOf(item, width, height) {
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
  const [vertical, horizontal] = ["PhysicalDeltaY", "PhysicalDeltaX"].map((name) => 10 * Math.abs(valuesOf(item, name)[0]));
  return spacingOf([vertical, horizontal], "region");
}

/** @returns {Spacing | null} Of the picture, else of the detector. */
function readSpacing(header) {
  for (const name of ["PixelSpacing", "ImagerPixelSpacing"]) {
    const values = valuesOf(header, name);
    if (values.length === 2) return spacingOf(values, name);
  }
  return null;
}

const spacingOf = (mm, source) => (mm.every((value) => value > 0 && value <= MOST_MM) ? { mm, source } : null);
