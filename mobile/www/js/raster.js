/** Longest side of the pictures that the page shows; a scan's full size would not fit the memory 200 times. */
const MOST_SHOWN = 640;

/**
 * Turn decoded pixels into a picture that a page can draw.
 *
 * @param {import("./png.js").Raster} raster
 * @param {number} [most] - Longest side in pixels.
 * @returns {Promise<ImageBitmap>}
 */
export async function toBitmap({ width, height, channels, data }, most = MOST_SHOWN) {
  const rgba = new Uint8ClampedArray(4 * width * height);
  for (let i = 0, from = 0; i < rgba.length; i += 4, from += channels) {
    rgba[i] = data[from];
    rgba[i + 1] = data[channels === 3 ? from + 1 : from];
    rgba[i + 2] = data[channels === 3 ? from + 2 : from];
    rgba[i + 3] = 255;
  }
  const scale = Math.min(1, most / Math.max(width, height));
  return createImageBitmap(new ImageData(rgba, width, height), {
    resizeWidth: Math.max(1, Math.round(scale * width)),
    resizeHeight: Math.max(1, Math.round(scale * height)),
    resizeQuality: "high",
  });
}
