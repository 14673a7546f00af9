/** Pictures that the browser decodes; also JPEG without its end mark (ITU-T T.81). */

import { joined } from "./bytes.js";
import { checkSize, ImageError } from "./errors.js";

export const cutOff = () => new ImageError("truncated", "the image data is cut off or damaged; obtain the file again");

/** Decode a file without EXIF orientation to RGB; `type` is such as `image/jpeg`. */
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

/** Decode a JPEG without EXIF orientation to RGB. */
export async function decodeJpeg(data) {
  const [raster, ...others] = await Promise.all(ended(data).map((version) => pixelsOf(version, "image/jpeg")));
  if (others.some((other) => raster.data.some((value, i) => value !== other.data[i]))) throw cutOff();
  if (others.length) raster.remarks.push("lacks its end mark; the picture is whole");
  return raster;
}

/** Read width, height and samples from the frame header (B.2.2); null where it is damaged, RangeError where it is missing. */
export function jpegSize(view) {
  for (let at = 2; ; ) {
    if (view.getUint8(at) !== 0xff) return null;
    const marker = view.getUint8(at + 1);
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame) return { width: view.getUint16(at + 7), height: view.getUint16(at + 5), samples: view.getUint8(at + 9) };
    at += marker === 0xff ? 1 : 2 + view.getUint16(at + 2);
  }
}

/** What to decode of a JPEG: see `sonoforge.runtime.images.file_checks.ended`. */
function ended(data) {
  const last = (marker) => data.findLastIndex((byte, i) => byte === 0xff && data[i + 1] === marker);
  if (last(0xd9) > last(0xda) || !hasAllScans(data)) return [data];
  const scan = data.subarray(0, data.findLastIndex((byte) => byte !== 0xff) + 1);
  const restarts = (byte) =>
    Array.from({ length: 16 }, (_, i) => [Uint8Array.of(0xff, 0xd0 + (i % 8)), new Uint8Array(64).fill(byte)]).flat();
  const goneOn = (byte) => [scan, new Uint8Array(512).fill(byte), ...restarts(byte), Uint8Array.of(0xff, 0xd9)];
  return [0x55, 0xaa, 0x00].map((byte) => joined(goneOn(byte)));
}

/** Whether the scans of a JPEG hold each coefficient of each component to the last bit; T.81, B.2.3 and G.1.1.1. */
function hasAllScans(data) {
  let missing = null;
  for (let at = 2; at + 4 <= data.length; ) {
    const marker = data[at + 1];
    if (data[at] !== 0xff || marker === 0 || marker === 0xff || (marker >= 0xd0 && marker <= 0xd7)) {
      at += 1; // within a scan, or fill bytes
      continue;
    }
    if (marker === 0xd9) break;
    const content = data.subarray(at + 4, at + 2 + data[at + 2] * 256 + data[at + 3]);
    if (marker >= 0xc0 && marker <= 0xc2 && !missing) {
      const components = Array.from({ length: content[5] }, (_, i) => content[6 + 3 * i]);
      missing = new Set(components.flatMap((one) => Array.from({ length: 64 }, (_, k) => one * 64 + k)));
    } else if (marker === 0xda) {
      const [first, last, bits] = content.subarray(1 + 2 * content[0]);
      for (let i = 0; i < content[0] && !(bits & 15); i++) {
        for (let k = first; k <= last; k++) missing?.delete(content[1 + 2 * i] * 64 + k);
      }
    }
    at += 2 + data[at + 2] * 256 + data[at + 3];
  }
  return missing !== null && missing.size === 0;
}
