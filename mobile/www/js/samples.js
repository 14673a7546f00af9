/** From a file's samples to 8-bit grey or RGB, as Python's runtime makes them; `sonoforge.runtime.images.plain_image`. */

import constants from "./constants.js";
import { viewOf } from "./bytes.js";
import { ImageError } from "./errors.js";

const { DEPTHS } = constants.plain_image;

/**
 * @typedef {{width: number, height: number, channels: 1 | 3, data: Uint8Array, remarks?: string[]}} Raster - A picture;
 *   `remarks` are in Python's words.
 */

/** Return `value` seen through `alpha` on black, both 0..255, rounded as by Pillow. */
export function onBlack(value, alpha) {
  const t = value * alpha + 128;
  return (t + (t >> 8)) >> 8;
}

/** Return how many bits (8, 10, 12, 14 or `room`) values between two numbers fill. */
export function filledBits(least, greatest, room = 16) {
  const signed = least < 0 ? 1 : 0;
  const holds = (bits) => least >= -signed * 2 ** (bits - 1) && greatest < 2 ** (bits - signed);
  return (least || greatest ? DEPTHS.find((bits) => bits < room && holds(bits)) : undefined) ?? room;
}

/** The remark on a picture whose levels were spread. */
export const inWords = (bits, room = 16) => `${bits} bits in ${room}: levels spread over the whole range`;

/** Return `count` numbers of 1, 2, 4, 8 or 16 bits, packed from a byte's highest bit on. */
export function unpacked(bytes, bits, count, little = false) {
  if (bits === 8) return bytes.subarray(0, count);
  if (bits === 16) {
    const view = viewOf(bytes);
    return Uint16Array.from({ length: count }, (_, i) => view.getUint16(2 * i, little));
  }
  const mask = (1 << bits) - 1;
  return Uint8Array.from({ length: count }, (_, i) => (bytes[(i * bits) >> 3] >> (8 - bits - ((i * bits) & 7))) & mask);
}

/**
 * @param {object} layout - `width`, `height`; `samples` a pixel, of which the first `colours` (1 or 3) are colours and the
 *   next, if `alpha`, is their opacity, by which they are multiplied already if `isAssociated`; `bits` of each; `table`,
 *   the colours (3 each) of the numbers stored; `isNegative`: white is 0; `hidden`, the levels of transparent pixels.
 * @param {Uint8Array | Uint16Array} values - All samples, pixel after pixel.
 * @returns {Raster} Composited on black; not yet upright.
 * @throws {ImageError} 16-bit colours that would be nearly black.
 */
export function toRaster(layout, values) {
  const { width, height, samples, bits, colours, alpha = false, isAssociated, table, isNegative, hidden } = layout;
  if (bits === 16 && colours === 1 && !alpha) return fromDeepGrey(layout, values);
  const channels = table ? (!alpha && table.every((value, i) => value === table[i - (i % 3)]) ? 1 : 3) : colours;
  const isStored = bits === 8 && samples === channels && !table && !isNegative && !hidden;
  if (isStored) return { width, height, channels, data: values, remarks: [] };
  const data = new Uint8Array(width * height * channels);
  const scale = 255 / (2 ** bits - 1);
  const level = (value) => (bits === 16 ? value >> 8 : value * scale);
  let greatest = 0;
  for (let from = 0, to = 0; to < data.length; from += samples, to += channels) {
    const opacity = alpha ? level(values[from + colours]) : 255;
    let isHidden = Boolean(hidden);
    for (let k = 0; k < channels; k++) {
      let value = table ? table[3 * values[from] + k] : level(values[from + k]);
      if (isNegative) value = 255 - value;
      if (isAssociated && opacity > 0) value = Math.min(255, Math.floor((value * 255) / opacity));
      if (value > greatest) greatest = value;
      isHidden &&= value === hidden[k];
      data[to + k] = alpha ? onBlack(value, opacity) : value;
    }
    if (isHidden) data.fill(0, to, to + channels);
  }
  if (bits === 16 && greatest > 0 && greatest < 16) {
    throw new ImageError(
      "unsupported",
      "found 16-bit colour whose values fill 12 bits at most, so that it is nearly black; save it as 8-bit PNG",
    );
  }
  return { width, height, channels, data, remarks: [] };
}

/** Spread 16-bit grey over the levels that it fills; a byte written twice fills all. */
function fromDeepGrey({ width, height, samples, isNegative }, stored) {
  const values = samples === 1 ? stored : stored.filter((_, i) => i % samples === 0);
  const wereBytes = values.every((value) => value >> 8 === (value & 255));
  const bits = wereBytes ? 16 : filledBits(0, values.reduce((most, value) => Math.max(most, value), 0));
  const white = 2 ** bits - 1;
  const level = (value) => Math.floor((255 * value + Math.floor(white / 2)) / white);
  const data = Uint8Array.from(values, (value) => level(isNegative ? white - value : value));
  return { width, height, channels: 1, data, remarks: bits < 16 ? [inWords(bits)] : [] };
}
