// Recognises training images: node recognise.mjs QUESTION.json, `{usual, signs, details}`.

import { readFileSync } from "node:fs";

import { isTrainedOn } from "./js/sketches.js";

const { usual, signs, details } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const reference = { trained_usual: { data: Float32Array.from(usual) }, trained_signs: { data: Uint8Array.from(signs) } };
const none = isTrainedOn(Float32Array.from(details[0]), {});
console.log(JSON.stringify([none, ...details.map((detail) => isTrainedOn(Float32Array.from(detail), reference))]));
