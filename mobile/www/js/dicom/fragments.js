/** The compressed frames of a file; PS3.5, A.4. */

import { cutOff } from "../browser_pixels.js";
import { ascii, joined, viewOf } from "../bytes.js";
import { valuesOf } from "./elements.js";

const [ITEM, END] = [0xfffee000, 0xfffee0dd];

/**
 * @param {import("./data_set.js").DataSet} set
 * @returns {Uint8Array[]} One each frame.
 * @throws {Error} Of any kind, where they are damaged.
 */
export function fragmentsOf({ data, offset, header, needed }) {
  const [offsets, ...fragments] = items(data, offset);
  const starts = offsetsOf(offsets.bytes);
  const origin = offsets.end;
  const lengths = valuesOf(header, "ExtendedOffsetTableLengths");
  if (lengths.length) {
    return valuesOf(header, "ExtendedOffsetTable").map((start, i) =>
      data.subarray(origin + start + 8, origin + start + 8 + lengths[i]),
    );
  }
  if (starts.length) return groups(fragments, ({ end }, frame) => end - origin >= (starts[frame + 1] ?? Infinity));
  if (fragments.length === needed.frames) return fragments.map(({ bytes }) => bytes);
  if (needed.frames === 1) return [joined(fragments.map(({ bytes }) => bytes))];
  return groups(fragments, ({ bytes }) => ascii(bytes, Math.max(0, bytes.length - 10), 10).includes("\xff\xd9"));
}

/** The items from a place on: their bytes, and where they end. */
function items(data, offset) {
  const view = viewOf(data);
  const found = [];
  for (let at = offset; at + 8 <= data.length; ) {
    const tag = view.getUint16(at, true) * 65536 + view.getUint16(at + 2, true);
    if (tag === END && found.length) break;
    const end = at + 8 + view.getUint32(at + 4, true);
    if (tag !== ITEM) throw cutOff();
    found.push({ bytes: data.subarray(at + 8, end), end: Math.min(end, data.length) });
    at = end;
  }
  return found;
}

function offsetsOf(bytes) {
  const view = viewOf(bytes);
  return Array.from({ length: bytes.length >> 2 }, (_, i) => view.getUint32(4 * i, true));
}

/** Fragments joined to frames; `isLast` says whether a fragment ends the frame of that number. */
function groups(fragments, isLast) {
  const frames = [[]];
  for (const fragment of fragments) {
    frames.at(-1).push(fragment.bytes);
    if (isLast(fragment, frames.length - 1)) frames.push([]);
  }
  return frames.filter((parts) => parts.length).map((parts) => (parts.length === 1 ? parts[0] : joined(parts)));
}
