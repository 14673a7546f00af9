/** What both pages have: their languages, the model card, the self-test, and the sentence that blocks them. */

import { rendered } from "./markdown.js";
import { $, loadWords, offerLanguages, say, terms } from "./words.js";

/**
 * @param {string} folder - Of the bundle whose model card is shown.
 * @param {() => void} onLanguage - Called once the words of another language are there.
 * @returns {Promise<void>} Once there are words.
 */
export async function openPage(folder, onLanguage) {
  $("open-model").addEventListener("click", async () => {
    $("card").replaceChildren(rendered(await (await fetch(`${folder}/MODEL_CARD.md`)).text()));
    $("model").showModal();
  });
  $("open-check").addEventListener("click", () => $("check").showModal());
  offerLanguages($("language"), onLanguage);
  await loadWords($("language").value);
  $("state").textContent = say("starting");
}

/** @param {string} file - Name of the model file. */
export function showModel({ name, version, files }, file) {
  $("about-model").textContent = say("about", { name, version, hash: files[file].sha256.slice(0, 16) });
}

/**
 * @param {string} text - Why nothing is computed.
 * @param {Iterable<HTMLInputElement>} fields - Of no use any more.
 */
export function showBlocked(text, fields) {
  document.body.dataset.state = "blocked";
  $("state").textContent = "";
  $("blocked").textContent = text;
  $("blocked").hidden = false;
  for (const field of fields) field.disabled = true;
}

/** @param {{differences: Record<string, number>, tolerance: number}} checked - What a self-test found. */
export const largestDifference = ({ differences, tolerance }) => ({
  difference: Math.max(...Object.values(differences)).toExponential(1),
  tolerance,
});

/**
 * @param {any} checked - What a self-test found.
 * @param {string} file - Name of the model file.
 */
export function showCheck({ passed, differences, tolerance, images, golden, milliseconds, browser, model }, file) {
  const facts = [
    ["result", say(passed ? "passed" : "failed")],
    ...Object.entries(differences).map(([name, value]) => [
      name, say("allowed", { value: value.toExponential(1), tolerance }),
    ]),
    ["images", images],
    ...(golden ? [["recorded answers", golden]] : []),
    ["time an image", say("milliseconds", { ms: Math.round(milliseconds) })],
    ["browser", browser],
    ["model file", `${file}, SHA-256 ${model}`],
  ];
  $("check-list").replaceChildren(...terms(facts.map(([name, value]) => [say(name), value])));
}
