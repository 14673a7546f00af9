/** How many bits the values of a picture fill, where its file has room for 16; `sonoforge.runtime.images.plain_image`. */

import constants from "./constants.js";

const { DEPTHS } = constants.plain_image;

/**
 * @param {number} least
 * @param {number} greatest
 * @param {number} [room] - Bits.
 * @returns {number} 8, 10, 12, 14, or all there is room for.
 */
export function filledBits(least, greatest, room = 16) {
  const signed = least < 0 ? 1 : 0;
  const holds = (bits) => least >= -signed * 2 ** (bits - 1) && greatest < 2 ** (bits - signed);
  return (least || greatest ? DEPTHS.find((bits) => bits < room && holds(bits)) : undefined) ?? room;
}

/** As `filledBits`, of 16-bit grey; all bits where each value is a byte written twice. */
export function filledBitsOf(values) {
  let greatest = 0;
  let wereBytes = true;
  for (const value of values) {
    if (value > greatest) greatest = value;
    wereBytes &&= value >> 8 === (value & 255);
  }
  return wereBytes ? 16 : filledBits(0, greatest);
}

/** What is said of a picture whose levels were spread. */
export const inWords = (bits, room = 16) => `${bits} bits in ${room}: levels spread over the whole range`;

/** The level of a value that fills so many bits, rounded. */
export function levelOf(value, bits) {
  const white = 2 ** bits - 1;
  return Math.floor((255 * value + Math.floor(white / 2)) / white);
}
