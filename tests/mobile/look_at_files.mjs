// node look_at_files.mjs LIST.json: what the page finds in each PNG file besides the network's answer.
import { readFileSync } from "node:fs";
import { brightestTenth, mapContrast } from "./js/activation_map.js";
import { findMarks } from "./js/marks.js";
import { greyLevels } from "./js/pixels.js";
import { decodePng } from "./js/png.js";
import { findRepeat, fingerprint } from "./js/repeats.js";
import { networkView } from "./js/scan_area.js";
import { nameKind } from "./js/scan_checks.js";

const recipe = { size: 224, resample: "bilinear" };
const activation = { rows: 7, columns: 7, values: Float32Array.from({ length: 49 }, (_, i) => ((i * 31) % 49) / 49 - 0.2) };
const earlier = [];
const answers = [];
for (const file of JSON.parse(readFileSync(process.argv[2], "utf8"))) {
  const raster = await decodePng(new Uint8Array(readFileSync(file)));
  const grey = greyLevels(raster);
  const { pixels, crop } = networkView(raster, recipe, "auto");
  const whole = networkView(raster, recipe, "none");
  const [inside, all] = [pixels, whole.pixels].map((data) => greyLevels({ width: 224, height: 224, channels: 3, data }));
  const print = await fingerprint(grey, inside);
  const found = findMarks(raster, null);
  answers.push({
    file,
    crop,
    marks: found.marks.summary,
    marksInside: (crop.kept < 1 ? findMarks(raster, crop.box) : found).marks.summary,
    kind: nameKind(all.data, found.overlay),
    gcnr: mapContrast(activation, brightestTenth(activation).from, all),
    digest: print.digest,
    detail: Array.from(print.detail),
    ...findRepeat(print, earlier),
  });
  earlier.push({ file, print });
}
console.log(JSON.stringify(answers));
