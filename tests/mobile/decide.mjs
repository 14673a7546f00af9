// Decides on probabilities: node decide.mjs QUESTION.json, `[[probabilities of each class], manifest, clinic]` each.

import { readFileSync } from "node:fs";

import { decide } from "./js/decision.js";

const asked = JSON.parse(readFileSync(process.argv[2], "utf8"));
console.log(JSON.stringify(asked.map(([probabilities, manifest, clinic]) => decide(probabilities, manifest, clinic))));
