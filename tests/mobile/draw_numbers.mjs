// node draw_numbers.mjs QUESTIONS.json: latents, distances and pixels as the drawing page computes them, as JSON.
import { readFileSync } from "node:fs";
import { drawLatent, toPixels } from "./js/draw_generator.js";
import { kernelDistance } from "./js/draw_kid.js";

const { latents, sets, levels } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const flat = (rows) => Float32Array.from(rows.flat());
console.log(
  JSON.stringify({
    latents: await Promise.all(
      latents.map(async ({ seed, index, size, distribution }) => [...(await drawLatent(BigInt(seed), index, size, distribution))]),
    ),
    distances: sets.map(({ drawn, real }) => kernelDistance(flat(drawn), flat(real), drawn[0].length)),
    pixels: [...toPixels(Float32Array.from(levels), levels.length, 1)],
  }),
);
