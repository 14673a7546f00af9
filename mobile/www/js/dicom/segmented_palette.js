/** Palettes stored in segments; PS3.3, C.7.9.2. */

import { bytesOf, valuesOf } from "./elements.js";

const [DISCRETE, LINEAR, INDIRECT] = [0, 1, 2];
const MOST_ENTRIES = 65536;

/**
 * @param {import("./elements.js").Items} header
 * @param {string} name - Of the element.
 * @param {number} bits - Of an entry, 8 or 16.
 * @returns {{bytes: 1 | 2, data: number[]}}
 * @throws {Error} It is damaged.
 */
export function expanded(header, name, bits) {
  if (bits !== 8 && bits !== 16) throw new Error(`${name}: ${bits} bits`);
  const stored = bits === 8 ? Array.from(bytesOf(header, name)) : valuesOf(header, name);
  const data = [];
  expand(stored, 0, Infinity, data, bits === 8, header.little);
  if (!data.length) throw new Error(`${name}: empty`);
  return { bytes: bits / 8, data };
}

/** Append `count` segments from a place on; an indirect one repeats earlier ones, and is not repeated itself. */
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
      for (let i = 1; i <= length; i++) out.push(roundEven(start + ((end - start) * i) / length));
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

function roundEven(value) {
  const below = Math.floor(value);
  return value - below === 0.5 ? below + (below & 1) : Math.round(value);
}
