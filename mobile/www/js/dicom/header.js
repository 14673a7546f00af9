/** Where in a DICOM picture the scan lies and how large its pixels are; `sonoforge.runtime.images.dicom.header`. */

import constants from "../constants.js";
import { itemsOf, valuesOf } from "./elements.js";

const { CENTIMETRES, FORMAT_2D, MIN_SIDE, MOST_MM, TISSUE } = constants.header;

/** @typedef {{box: import("../grey.js").Box, count: number}} Region - The largest, and how many there are. */
/** @typedef {{mm: [number, number], source: string}} Spacing - Vertical and horizontal. */

/**
 * Choose the largest two-dimensional tissue region of an ultrasound picture, of those at least 16 pixels wide and high.
 *
 * @param {import("./elements.js").Items} header
 * @returns {{region: Region | null, spacing: Spacing | null, isDamaged: boolean}}
 */
export function readRegion(header, width, height) {
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

/**
 * @param {import("./elements.js").Items} header
 * @returns {Spacing | null} Of the picture, else of the detector.
 */
export function readSpacing(header) {
  for (const name of ["PixelSpacing", "ImagerPixelSpacing"]) {
    const values = valuesOf(header, name);
    if (values.length === 2) return spacingOf(values, name);
  }
  return null;
}

const spacingOf = (mm, source) => (mm.every((value) => value > 0 && value <= MOST_MM) ? { mm, source } : null);
