/** Longest side of the pictures in the list; a scan's full size would not fit the memory a thousand times. */
const MOST_LISTED = 640;
/** Longest side of the enlarged picture: Safari on iOS draws no canvas above 4096 x 4096 pixels. */
const MOST_ENLARGED = 4096;

/** @returns {Promise<{blob: Blob, width: number, height: number}>} A small JPEG, which the browser may keep on the disk. */
export async function thumbnail(raster) {
  const { width, height } = fitting(raster, MOST_LISTED);
  const canvas = new OffscreenCanvas(width, height);
  const bitmap = await toBitmap(raster, { width, height });
  canvas.getContext("2d", { alpha: false }).drawImage(bitmap, 0, 0);
  bitmap.close();
  return { blob: await canvas.convertToBlob({ type: "image/jpeg", quality: 0.9 }), width, height };
}

/** @returns {Promise<ImageBitmap>} At its own size, or somewhat smaller. */
export const enlarged = (raster) => toBitmap(raster, fitting(raster, MOST_ENLARGED));

function fitting({ width, height }, most) {
  const scale = Math.min(1, most / Math.max(width, height));
  return { width: Math.max(1, Math.round(scale * width)), height: Math.max(1, Math.round(scale * height)) };
}

const toBitmap = (raster, { width, height }) =>
  createImageBitmap(toImageData(raster), { resizeWidth: width, resizeHeight: height, resizeQuality: "high" });

/** @param {import("./samples.js").Raster} raster */
export function toImageData({ width, height, channels, data }) {
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
