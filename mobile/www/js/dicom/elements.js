/** The elements that pixels need, by keyword (PS3.6), and no others: none identifies a patient. */

// Tag as dicom-parser writes it, and the value representation where the file does not state it.
const ELEMENTS = {
  Rows: ["x00280010", "US"],
  Columns: ["x00280011", "US"],
  SamplesPerPixel: ["x00280002", "US"],
  BitsAllocated: ["x00280100", "US"],
  BitsStored: ["x00280101", "US"],
  HighBit: ["x00280102", "US"],
  PixelRepresentation: ["x00280103", "US"],
  PlanarConfiguration: ["x00280006", "US"],
  PhotometricInterpretation: ["x00280004", "CS"],
  NumberOfFrames: ["x00280008", "IS"],
  PixelSpacing: ["x00280030", "DS"],
  ImagerPixelSpacing: ["x00181164", "DS"],
  FrameTime: ["x00181063", "DS"],
  CineRate: ["x00180040", "IS"],
  RecommendedDisplayFrameRate: ["x00082144", "IS"],
  WindowCenter: ["x00281050", "DS"],
  WindowWidth: ["x00281051", "DS"],
  VOILUTFunction: ["x00281056", "CS"],
  VOILUTSequence: ["x00283010", "SQ"],
  ModalityLUTSequence: ["x00283000", "SQ"],
  LUTDescriptor: ["x00283002", "US"],
  LUTData: ["x00283006", "US"],
  RescaleSlope: ["x00281053", "DS"],
  RescaleIntercept: ["x00281052", "DS"],
  SharedFunctionalGroupsSequence: ["x52009229", "SQ"],
  FrameVOILUTSequence: ["x00289132", "SQ"],
  PixelValueTransformationSequence: ["x00289145", "SQ"],
  SequenceOfUltrasoundRegions: ["x00186011", "SQ"],
  RegionSpatialFormat: ["x00186012", "US"],
  RegionDataType: ["x00186014", "US"],
  RegionLocationMinX0: ["x00186018", "UL"],
  RegionLocationMinY0: ["x0018601a", "UL"],
  RegionLocationMaxX1: ["x0018601c", "UL"],
  RegionLocationMaxY1: ["x0018601e", "UL"],
  PhysicalUnitsXDirection: ["x00186024", "US"],
  PhysicalUnitsYDirection: ["x00186026", "US"],
  PhysicalDeltaX: ["x0018602c", "FD"],
  PhysicalDeltaY: ["x0018602e", "FD"],
  RedPaletteColorLookupTableDescriptor: ["x00281101", "US"],
  RedPaletteColorLookupTableData: ["x00281201", "OW"],
  GreenPaletteColorLookupTableData: ["x00281202", "OW"],
  BluePaletteColorLookupTableData: ["x00281203", "OW"],
  SegmentedRedPaletteColorLookupTableData: ["x00281221", "OW"],
  SegmentedGreenPaletteColorLookupTableData: ["x00281222", "OW"],
  SegmentedBluePaletteColorLookupTableData: ["x00281223", "OW"],
  TransferSyntaxUID: ["x00020010", "UI"],
  ExtendedOffsetTable: ["x7fe00001", "OV"],
  ExtendedOffsetTableLengths: ["x7fe00002", "OV"],
};

const TEXTS = ["CS", "UI", "LO", "SH"];
const DECIMALS = ["DS", "IS"];
const MOST_TEXT = 65536; // bytes; more fit no element with a stated representation (PS3.5, 7.1.2)
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
// Bytes of a binary number, and how a DataView reads it; PS3.5, 6.2.
const BINARY = {
  US: [2, "getUint16"], SS: [2, "getInt16"], OW: [2, "getUint16"], UL: [4, "getUint32"], SL: [4, "getInt32"],
  FL: [4, "getFloat32"], FD: [8, "getFloat64"], OV: [8, "getBigUint64"], UV: [8, "getBigUint64"],
};

/**
 * A data set, or an item of a sequence: its elements as dicom-parser finds them, the bytes they lie in, and their order.
 *
 * @typedef {{elements: Record<string, any>, view: DataView, little: boolean}} Items
 */

/** @param {Items} items */
export const has = ({ elements }, name) => ELEMENTS[name][0] in elements;

/** Return an element's values, none where it is missing or empty; an error if it holds something else. */
export function valuesOf({ elements, view, little }, name) {
  const [tag, otherwise] = ELEMENTS[name];
  const element = elements[tag];
  if (!element?.length) return [];
  const kind = element.vr in BINARY || TEXTS.includes(element.vr) || DECIMALS.includes(element.vr) ? element.vr : otherwise;
  if (kind in BINARY) {
    const [size, read] = BINARY[kind];
    const count = Math.floor(element.length / size);
    if (element.dataOffset + count * size > view.byteLength) throw new Error(`${name} is cut off`);
    return Array.from({ length: count }, (_, i) => Number(view[read](element.dataOffset + i * size, little)));
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
export function itemsOf({ elements, view, little }, name) {
  const element = elements[ELEMENTS[name][0]];
  if (!element?.length) return [];
  if (!element.items) throw new Error(`${name}: no sequence`);
  return element.items.map(({ dataSet }) => ({ elements: dataSet.elements, view, little }));
}

/** @param {Items} items */
export const drop = ({ elements }, name) => void delete elements[ELEMENTS[name][0]];

/** Take an element over from other items. */
export function take(items, other, name) {
  const [tag] = ELEMENTS[name];
  if (tag in other.elements && !(tag in items.elements)) items.elements[tag] = other.elements[tag];
}
