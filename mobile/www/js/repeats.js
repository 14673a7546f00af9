/** Pictures given twice: fingerprints and their comparison, as `sonoforge.runtime.images.repeats`. */

import { sha256 } from "./bundle.js";
import constants from "./constants.js";
import { mean, resized } from "./pixels.js";

const { ALIKE, SIDE, LEAST_SPREAD } = constants.repeats;

/** Fingerprint a picture by all of its grey levels, and by the detail (length 1 or 0) of those that the network sees. */
export async function fingerprint({ width, height, data }, seen) {
  const size = new TextEncoder().encode(`(${width}, ${height})`);
  const whole = new Uint8Array(size.length + data.length);
  whole.set(size);
  whole.set(data, size.length);
  const small = resized(seen, SIDE, SIDE, "box");
  const at = (y, x) => small[Math.min(Math.max(y, 0), SIDE - 1) * SIDE + Math.min(Math.max(x, 0), SIDE - 1)];
  const detail = new Float32Array(SIDE ** 2);
  for (let i = 0; i < detail.length; i++) {
    const [y, x] = [Math.floor(i / SIDE), i % SIDE];
    let sum = 0;
    for (let dy = -1; dy <= 1; dy++) for (let dx = -1; dx <= 1; dx++) sum += at(y + dy, x + dx);
    detail[i] = at(y, x) - sum / 9;
  }
  const centre = mean(detail);
  const length = Math.sqrt(detail.reduce((sum, value) => sum + (value - centre) ** 2, 0));
  const scale = length >= LEAST_SPREAD * SIDE ? 1 / length : 0;
  return { digest: await sha256(whole), detail: detail.map((value) => (value - centre) * scale) };
}

/** A fingerprint that only matches equal pixels. */
export const byPixels = ({ digest, detail }) => ({ digest, detail: new Float32Array(detail.length) });

/** Find the first of the earlier pictures that is, or seems, the same; as `Repeats.find` in Python. */
export function findRepeat(own, earlier) {
  const first = earlier.find(({ print }) => print.digest === own.digest);
  if (first) return { copy_of: first.file, seems_copy_of: null };
  let best = null;
  let most = ALIKE;
  for (const { file, print } of earlier) {
    const alike = print.detail.reduce((sum, value, i) => sum + value * own.detail[i], 0);
    if (alike > most || (alike === most && best === null)) [best, most] = [file, alike];
  }
  return { copy_of: null, seems_copy_of: best };
}
