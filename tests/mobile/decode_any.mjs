// node decode_any.mjs LIST.json: decode each TIFF or DICOM file as the page does and print what it holds: each frame's
// SHA-256, or how it was refused.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { decodeImage, isDicom, readFile } from "./js/decode.js";
import { openDicom } from "./js/dicom/reader.js";

const sha = (data) => createHash("sha256").update(data).digest("hex");

async function describe(data) {
  if (!isDicom(data)) {
    const { width, height, channels, remarks, data: pixels } = await decodeImage(data);
    return { width, height, channels, remarks, frames: [sha(pixels)] };
  }
  const image = await openDicom(data);
  const frames = [];
  let last = null;
  for (let number = 1; number <= image.frameCount; number++) {
    last = await image.frame(number);
    frames.push(sha(last.data));
  }
  const { width, height, channels, remarks } = last;
  return { width, height, channels, remarks, frames, dicom: image.toDict() };
}

const answers = [];
for (const name of JSON.parse(readFileSync(process.argv[2], "utf8"))) {
  const started = performance.now();
  let answer;
  try {
    answer = await describe(await readFile(new Blob([readFileSync(name)])));
  } catch (error) {
    answer = { code: error.code ?? null, message: error.message, kind: error.constructor.name };
  }
  answers.push({ name, ms: performance.now() - started, ...answer });
}
console.log(JSON.stringify(answers));
