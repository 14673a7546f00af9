/** Draw a scan and, over it, where the evidence for its class lies; the look of `sonoforge.runtime.explanations`. */

import { atSize, limitOfBrightest } from "./activation_map.js";

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
  const limit = Math.max(limitOfBrightest(map), Number.MIN_VALUE);
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
  const inside = (x, y) => x < 0 || y < 0 || x >= width || y >= height || values[y * width + x] >= limit;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const own = values[y * width + x] >= limit;
      const around = [inside(x - line, y), inside(x + line, y), inside(x, y - line), inside(x, y + line)];
      const edge = own ? around.includes(false) : around.some((side, i) => side && within(x, y, i, line, width, height));
      if (edge) data.fill(own ? 255 : 0, 4 * (y * width + x), 4 * (y * width + x) + 3);
    }
  }
}

function within(x, y, side, line, width, height) {
  return [x >= line, x + line < width, y >= line, y + line < height][side];
}
