/** Longest side of the pictures in the list; a scan's full size would not fit the memory a thousand times. */
const MOST_LISTED = 640;
/** Longest side of the enlarged picture: Safari on iOS draws no canvas above 4096 x 4096 pixels. */
const MOST_ENLARGED = 4096;

/**
 * @param {import("./png.js").Raster} raster
 * @returns {Promise<{blob: Blob, width: number, height: number}>} A small JPEG, which the browser may keep on the disk.
 */
export async function thumbnail(raster) {
  const bitmap = await toBitmap(raster, MOST_LISTED);
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  return { blob: await canvas.convertToBlob({ type: "image/jpeg", quality: 0.9 }), width, height };
}

/**
 * @param {import("./png.js").Raster} raster
 * @returns {Promise<ImageBitmap>} At its own size, or somewhat smaller.
 */
export const enlarged = (raster) => toBitmap(raster, MOST_ENLARGED);

async function toBitmap({ width, height, channels, data }, most) {
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
