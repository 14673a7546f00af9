/** Pixels of the kinds of pictures that the browser decodes. */

import { checkSize, ImageError } from "./errors.js";

export const cutOff = () => new ImageError("truncated", "the image data is cut off or damaged; obtain the file again");

/**
 * @param {Uint8Array} bytes - A file of one picture, without an orientation.
 * @param {string} type - Such as `image/jpeg`.
 * @returns {Promise<import("./png.js").Raster>} RGB.
 * @throws {ImageError}
 */
export async function pixelsOf(bytes, type) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes], { type }), { colorSpaceConversion: "none" });
  } catch {
    throw cutOff();
  }
  try {
    checkSize(bitmap.width, bitmap.height);
    const { width, height } = bitmap;
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true }); // alpha on black
    context.drawImage(bitmap, 0, 0);
    const { data: rgba } = context.getImageData(0, 0, width, height);
    const colours = new Uint8Array(3 * width * height);
    for (let i = 0, from = 0; i < colours.length; i += 3, from += 4) {
      colours[i] = rgba[from];
      colours[i + 1] = rgba[from + 1];
      colours[i + 2] = rgba[from + 2];
    }
    return { width, height, channels: 3, data: colours, remarks: [] };
  } finally {
    bitmap.close();
  }
}
