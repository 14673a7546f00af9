/** How much of a picture is coloured, as `sonoforge.runtime.images.colour` has it. */

import constants from "./constants.js";

const { LEAST } = constants.colour;

/**
 * @param {Uint8Array} pixels - (S, S, 3), the network's view.
 * @returns {number} Share of pixels whose channels differ by more than 24 levels, 0..1.
 */
export function colouredShare(pixels) {
  let coloured = 0;
  for (let i = 0; i < pixels.length; i += 3) {
    const [red, green, blue] = [pixels[i], pixels[i + 1], pixels[i + 2]];
    if (Math.max(red, green, blue) - Math.min(red, green, blue) > LEAST) coloured += 1;
  }
  return coloured / (pixels.length / 3);
}
