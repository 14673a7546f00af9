/** From stored values to 8-bit grey or colour: modality, then values of interest (PS3.4, annex N.2). */

import constants from "../constants.js";
import { toEven } from "../numbers.js";
import { bytesOf, has, itemsOf, valuesOf } from "./elements.js";

const { GREY, COLOUR, PALETTE } = constants.data_set;

/** @typedef {Int8Array | Uint8Array | Int16Array | Uint16Array} Values */

/** Return the mapping of a file's values, one table for all frames; `filledBits` are those stored, or see `isWide`. */
export function levelsOf(header, needed, filledBits) {
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
export function isWide(header, { photometric, bitsStored }) {
  const tables = ["WindowCenter", "VOILUTSequence", "ModalityLUTSequence"];
  return GREY.includes(photometric) && bitsStored > 8 && !tables.some((name) => has(header, name));
}

/** The least and the greatest value of so many bits. */
export const rangeOf = (bits, { isSigned }) => (isSigned ? [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] : [0, 2 ** bits - 1]);

/** Every value that an array of this kind can hold, in the order of their bit patterns. */
function every(values) {
  const kind = values.constructor;
  return Array.from({ length: 256 ** values.BYTES_PER_ELEMENT }, (_, pattern) => kind.of(pattern)[0]);
}

function greyTable(header, needed, values, filledBits) {
  const modality = modalityOf(header, needed);
  const [shown, low, high] = interestOf(header, needed, filledBits);
  const byte = toByte(low, high);
  const isNegative = needed.photometric === "MONOCHROME1";
  const level = (value) => byte(shown(modality(value)));
  return { channels: 1, levels: Uint8Array.from(every(values), (value) => (isNegative ? 255 - level(value) : level(value))) };
}

/** Spread low..high over 0..255, rounding halves to even and clipping what lies beyond. */
function toByte(low, high) {
  if (!Number.isFinite(low) || !Number.isFinite(high) || low === high) throw new Error("no range of values");
  const scale = 255 / (high - low);
  return (value) => toEven(Math.min(255, Math.max(0, (value - low) * scale)));
}

function modalityOf(header, needed) {
  if (has(header, "ModalityLUTSequence")) return looked(tableOf(header, "ModalityLUTSequence", needed));
  const { slope, intercept } = rescaling(header);
  return slope === null ? (value) => value : (value) => value * slope + intercept;
}

function rescaling(header) {
  const [slope = null] = valuesOf(header, "RescaleSlope");
  const [intercept = null] = valuesOf(header, "RescaleIntercept");
  return slope === null || intercept === null ? { slope: null } : { slope, intercept };
}

/** Return the mapping after the modality step, and the range of its values. */
function interestOf(header, needed, filledBits) {
  if (has(header, "VOILUTSequence")) {
    const table = tableOf(header, "VOILUTSequence", needed);
    return [looked(table), 0, 2 ** table.bits - 1];
  }
  const [low, high] = modalityRange(header, needed, filledBits);
  if (!has(header, "WindowCenter") || !has(header, "WindowWidth")) return [(value) => value, low, high];
  return [windowOf(header, ...modalityRange(header, needed, needed.bitsStored)), low, high];
}

/** PS3.3, C.11.2.1.2. */
function modalityRange(header, needed, bits) {
  if (has(header, "ModalityLUTSequence")) return [0, 2 ** tableOf(header, "ModalityLUTSequence", needed).bits - 1];
  const [low, high] = rangeOf(bits, needed);
  const { slope, intercept } = rescaling(header);
  return slope === null ? [low, high] : [low * slope + intercept, high * slope + intercept];
}

/** The first window, PS3.3, C.11.2.1.2 and C.11.2.1.3. */
function windowOf(header, low, high) {
  const kind = (valuesOf(header, "VOILUTFunction")[0] ?? "LINEAR").toUpperCase();
  let [centre] = valuesOf(header, "WindowCenter");
  let [width] = valuesOf(header, "WindowWidth");
  const range = high - low;
  if (kind === "SIGMOID") return (value) => range / (1 + Math.exp((-4 * (value - centre)) / width)) + low;
  if (kind === "LINEAR") {
    centre -= 0.5;
    width -= 1;
  }
  return (value) => {
    if (value <= centre - width / 2) return low;
    return value > centre + width / 2 ? high : ((value - centre) / width + 0.5) * range + low;
  };
}

/** Return the table of a sequence's first item; an error if it is damaged. */
export function tableOf(header, name, { isSigned }) {
  const [item] = itemsOf(header, name);
  const { entries, first, bits } = descriptorOf(item, "LUTDescriptor", isSigned);
  const data = valuesOf(item, "LUTData");
  const known = name === "VOILUTSequence" ? [8, 10, 11, 12, 13, 14, 15, 16] : [8, 16]; // bits that pydicom has an array for
  if (!known.includes(bits) || data.length < entries || data.some((value) => value >= 2 ** (bits > 8 ? 16 : 8))) {
    throw new Error(`${name}: damaged`);
  }
  return { entries, first, bits, data };
}

/** Number of entries, first value that they are for, and bits of an entry; PS3.3, C.11.1.1.1. */
function descriptorOf(item, name, isSigned) {
  const [entries, first, bits] = valuesOf(item, name);
  if (bits === undefined) throw new Error(`${name}: damaged`);
  return { entries: entries & 0xffff || 65536, first: isSigned && first > 32767 ? first - 65536 : first, bits };
}

/** @returns {(value: number) => number} What lies outside has the value of the nearest end. */
function looked({ entries, first, data }) {
  return (value) => data[Math.min(Math.max(0, Math.trunc(value - first)), entries - 1)];
}

/** PS3.3, C.7.6.3.1.5 and C.7.6.3.1.6. */
function paletteTable(header, needed, values) {
  const { entries, first, bits } = descriptorOf(header, "RedPaletteColorLookupTableDescriptor", needed.isSigned);
  const tables = ["Red", "Green", "Blue"].map((colour) => colourTable(header, colour, entries, bits));
  if (tables.some(({ data }) => data.length !== tables[0].data.length || data.length < entries)) {
    throw new Error("palettes of different length, or too short");
  }
  const isPlain = tables[0].bytes === 1;
  const byte = isPlain ? (value) => value : toByte(0, 65535);
  const look = tables.map(({ data }) => looked({ entries, first, data }));
  const levels = new Uint8Array(3 * 256 ** values.BYTES_PER_ELEMENT);
  every(values).forEach((value, i) => look.forEach((colour, k) => void (levels[3 * i + k] = byte(colour(value)))));
  return { channels: 3, levels };
}

function colourTable(header, colour, entries, bits) {
  const plain = `${colour}PaletteColorLookupTableData`;
  if (!has(header, plain)) return expanded(header, `Segmented${plain}`, bits);
  const stored = bytesOf(header, plain);
  const bytes = stored.length / entries; // of an entry: bits may be 8 where it has 16
  if (bytes !== 1 && bytes !== 2) throw new Error(`${plain}: damaged`);
  return { bytes, data: bytes === 1 ? stored : valuesOf(header, plain) };
}

const [DISCRETE, LINEAR, INDIRECT] = [0, 1, 2];
const MOST_ENTRIES = 65536;

/** Expand a palette stored in segments of 8 or 16 bits; PS3.3, C.7.9.2. */
function expanded(header, name, bits) {
  if (bits !== 8 && bits !== 16) throw new Error(`${name}: ${bits} bits`);
  const stored = bits === 8 ? Array.from(bytesOf(header, name)) : valuesOf(header, name);
  const data = [];
  expand(stored, 0, Infinity, data, bits === 8, header.little);
  if (!data.length) throw new Error(`${name}: empty`);
  return { bytes: bits / 8, data };
}

/** Append `count` segments from a position on; an indirect one repeats earlier ones, but none within it. */
function expand(stored, from, count, out, isBytes, little) {
  let at = from;
  for (let read = 0; read < count && at + 1 < stored.length; read++) {
    const [kind, length] = [stored[at], stored[at + 1]];
    at += 2;
    if (out.length + length > MOST_ENTRIES) throw new Error("a palette of more entries than there are values");
    if (kind === DISCRETE) {
      out.push(...stored.slice(at, at + length));
      at += length;
    } else if (kind === LINEAR && out.length) {
      const [start, end] = [out.at(-1), stored[at++]];
      if (end === undefined) throw new Error("a palette that is cut off");
      for (let i = 1; i <= length; i++) out.push(toEven(start + ((end - start) * i) / length));
    } else if (kind === INDIRECT && out.length && count === Infinity) {
      const [a, b, c, d] = isBytes ? stored.slice(at, at + 4) : [];
      const swapped = little ? [d, c, b, a] : [c, d, a, b];
      const place = isBytes ? swapped.reduce((sum, byte) => sum * 256 + byte, 0) : stored[at + 1] * 65536 + stored[at];
      at += isBytes ? 4 : 2;
      expand(stored, place, length, out, isBytes, little);
    } else {
      throw new Error(`a palette's segment of kind ${kind}`);
    }
  }
}
