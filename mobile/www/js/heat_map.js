/** Draw a scan and, over it, where the evidence for its class lies; the look of `sonoforge.runtime.explanations`. */

import { atSize, brightestTenth } from "./activation_map.js";

const MOST_OPAQUE = 0.55;

/**
 * @param {HTMLCanvasElement} canvas - Gets the picture's size.
 * @param {ImageBitmap | HTMLImageElement} picture
 * @param {{map: import("./activation_map.js").ActivationMap, box: number[]}} evidence - The map, and where it lies: left,
 *   top, right and bottom as shares of the picture.
 * @param {number[][]} colours - (256, 3), from little to much: `colours` of `app.json`.
 * @param {number} opacity - 0 (the scan alone) to 1.
 */
export function drawHeatMap(canvas, picture, { map, box }, colours, opacity) {
  canvas.width = picture.width;
  canvas.height = picture.height;
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  const most = Math.max(...map.values);
  if (most <= 0 || opacity === 0) return;
  const [left, top, right, bottom] = box.map((share, i) => Math.round(share * (i % 2 ? picture.height : picture.width)));
  const [width, height] = [right - left, bottom - top];
  const values = atSize(map, width, height);
  const limit = Math.max(brightestTenth(map).from, Number.MIN_VALUE);
  const image = context.getImageData(left, top, width, height);
  const { data } = image;
  for (let i = 0; i < values.length; i++) {
    const level = Math.round(Math.min(Math.max(values[i] / most, 0), 1) * 255);
    const share = opacity * MOST_OPAQUE * Math.sqrt(level / 255);
    for (let k = 0; k < 3; k++) data[4 * i + k] = (1 - share) * data[4 * i + k] + share * colours[level][k];
  }
  outline(data, values, width, height, limit);
  context.putImageData(image, left, top);
}

/** White inside black, so that it shows on every ground. */
function outline(data, values, width, height, limit) {
  const line = Math.max(1, Math.round(Math.min(width, height) / 350));
  const inside = new Uint8Array(values.length);
  for (let i = 0; i < inside.length; i++) inside[i] = values[i] >= limit ? 1 : 0;
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const own = inside[i];
      const edge =
        (x >= line && inside[i - line] !== own) ||
        (x + line < width && inside[i + line] !== own) ||
        (y >= line && inside[i - line * width] !== own) ||
        (y + line < height && inside[i + line * width] !== own);
      if (edge) data.fill(own ? 255 : 0, 4 * i, 4 * i + 3);
    }
  }
}
