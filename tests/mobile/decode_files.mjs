// node decode_files.mjs LIST.json: decode each file as the page does and print its size, channels and SHA-256.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { decodePng, isPng } from "./js/png.js";
import { findOrientation } from "./js/decode.js";
import { normalise, squeeze } from "./js/pixels.js";
import { upright } from "./js/raster.js";

const sha = (data) => createHash("sha256").update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)).digest("hex");
const recipe = JSON.parse(process.argv[3] ?? "null");
const inColour = ({ channels, data }) =>
  channels === 3 ? data : Uint8Array.from({ length: 3 * data.length }, (_, i) => data[Math.floor(i / 3)]);
const answers = [];
for (const name of JSON.parse(readFileSync(process.argv[2], "utf8"))) {
  const data = new Uint8Array(readFileSync(name));
  try {
    if (!isPng(data)) throw new Error("not a PNG");
    const orientation = findOrientation(data)?.value ?? 1;
    const raster = upright(await decodePng(data), orientation);
    const pixels = squeeze(raster, recipe.size, recipe.resample);
    answers.push({
      name, orientation, width: raster.width, height: raster.height, remarks: raster.remarks,
      colours: sha(inColour(raster)), pixels: sha(pixels), tensor: sha(normalise(pixels, recipe)),
    });
  } catch (error) {
    answers.push({ name, code: error.code ?? null, message: error.message });
  }
}
console.log(JSON.stringify(answers));
