// Assesses embeddings: node assess.mjs QUESTION.json, `{manifest, quality, reference, embeddings, pixels}`.

import { readFileSync } from "node:fs";

import { assess } from "./js/trust.js";

const { manifest, quality, reference, embeddings, pixels } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const evidence = { pixels: Uint8Array.from(pixels), quality, kind: "B-mode" };
const one = (embedding) => assess({ ...evidence, embedding: Float32Array.from(embedding) }, { manifest, reference });
console.log(JSON.stringify(embeddings.map(one)));
