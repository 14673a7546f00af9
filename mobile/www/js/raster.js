/** From a file's samples to 8-bit grey or RGB, as `sonoforge.runtime.images.plain_image` says; and from rasters to pictures. */

import { ImageError, viewOf } from "./bytes.js";
import constants from "./constants.js";

const { DEPTHS } = constants.plain_image;

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
export const spreadRemark = (bits, room = 16) => `${bits} bits in ${room}: levels spread over the whole range`;

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
 * Composite all samples, pixel after pixel, on black; not yet upright.
 *
 * Of `samples` a pixel the first `colours` (1 or 3) are colours and the next, if `alpha`, is their opacity, by which they are
 * multiplied already if `isAssociated`; `table` has the colours (3 each) of the numbers stored; `isNegative`: white is 0; `hidden`
 * are the levels of transparent pixels.
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
      "16-bit colour whose values fill 12 bits at most would be nearly black; save it as 8-bit PNG",
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
  return { width, height, channels: 1, data, remarks: bits < 16 ? [spreadRemark(bits)] : [] };
}

/** Longest side of the pictures in the list; a scan's full size would not fit the memory a thousand times. */
const MOST_LISTED = 640;
/** Longest side of the enlarged picture: Safari on iOS draws no canvas above 4096 x 4096 pixels. */
const MOST_ENLARGED = 4096;

/** A small JPEG, which the browser may keep on the disk. */
export async function thumbnail(raster) {
  const { width, height } = fitting(raster, MOST_LISTED);
  const canvas = new OffscreenCanvas(width, height);
  const bitmap = await toBitmap(raster, { width, height });
  canvas.getContext("2d", { alpha: false }).drawImage(bitmap, 0, 0);
  bitmap.close();
  return { blob: await canvas.convertToBlob({ type: "image/jpeg", quality: 0.9 }), width, height };
}

/** A bitmap of its own size, or somewhat smaller. */
export const enlarged = (raster) => toBitmap(raster, fitting(raster, MOST_ENLARGED));

function fitting({ width, height }, most) {
  const scale = Math.min(1, most / Math.max(width, height));
  return { width: Math.max(1, Math.round(scale * width)), height: Math.max(1, Math.round(scale * height)) };
}

const toBitmap = (raster, { width, height }) =>
  createImageBitmap(toImageData(raster), { resizeWidth: width, resizeHeight: height, resizeQuality: "high" });

function toImageData({ width, height, channels, data }) {
  const rgba = new Uint8ClampedArray(4 * width * height);
  const [second, third] = channels === 3 ? [1, 2] : [0, 0];
  for (let i = 0, from = 0; i < rgba.length; i += 4, from += channels) {
    rgba[i] = data[from];
    rgba[i + 1] = data[from + second];
    rgba[i + 2] = data[from + third];
    rgba[i + 3] = 255;
  }
  return new ImageData(rgba, width, height);
}

// For each orientation: are rows and columns exchanged, and is the source read from the right, from the bottom?
const TURNS = {
  2: [false, true, false], 3: [false, true, true], 4: [false, false, true],
  5: [true, false, false], 6: [true, false, true], 7: [true, true, true], 8: [true, true, false],
};

/** Turn a raster by its EXIF orientation 1..8; others count as 1. */
export function upright(raster, orientation) {
  const turn = TURNS[orientation];
  if (!turn) return raster;
  const [exchanged, fromRight, fromBottom] = turn;
  const { width: w, height: h, channels, data, remarks } = raster;
  const [width, height] = exchanged ? [h, w] : [w, h];
  const out = new Uint8Array(data.length);
  let at = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const column = exchanged ? y : x;
      const row = exchanged ? x : y;
      const from = ((fromBottom ? h - 1 - row : row) * w + (fromRight ? w - 1 - column : column)) * channels;
      for (let k = 0; k < channels; k++) out[at++] = data[from + k];
    }
  }
  return { width, height, channels, data: out, remarks };
}
