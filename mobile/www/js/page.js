/** What both pages have: languages, the model card, the self-test, the sentence that blocks them, and newer versions. */

import { rendered } from "./markdown.js";
import { inAndroidApp } from "./save.js";
import { $, button, element, loadWords, offerLanguages, say, terms } from "./words.js";

/** Connect the model card of a bundle's folder, the self-test and the languages; resolves once there are words. */
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

/** Say why nothing is computed, and disable the fields. */
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

/** Show a self-test of a model file. */
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

const canInstall = !inAndroidApp && "serviceWorker" in navigator && window.isSecureContext; // the Android app has the files

/**
 * On a first visit, wait until the service worker has loaded the app's files, so that nothing is loaded twice.  Without one, the page
 * loads them itself.
 */
export async function installed() {
  if (!canInstall || navigator.serviceWorker.controller) return;
  $("state").textContent = say("loading");
  try {
    const { installing, waiting, active } = await navigator.serviceWorker.register("service-worker.js");
    const worker = installing ?? waiting ?? active;
    await new Promise((resolve) => {
      const look = () => {
        if (["activated", "redundant"].includes(worker.state)) resolve();
      };
      worker.addEventListener("statechange", look);
      look();
    });
  } catch {
    // a web view or a private window may have none
  }
  $("state").textContent = say("starting");
}

/** Install the service worker, and offer newer versions: nothing reloads and no answer is lost without asking. */
export async function offerUpdates(answers, save) {
  window.addEventListener("beforeunload", (event) => {
    if (answers.unsaved) event.preventDefault();
  });
  if (!canInstall) return;
  let installation;
  try {
    installation = await navigator.serviceWorker.register("service-worker.js");
  } catch {
    return; // a web view or a private window may have none; the page works as long as its files are there
  }
  let asked = false;
  const load = (worker) => async () => {
    if (answers.unsaved && !(await mayLose(answers, save))) return;
    answers.unsaved = false;
    asked = true;
    if (worker) worker.postMessage("activate");
    else location.reload();
  };
  if (installation.waiting) offer("update", load(installation.waiting));
  installation.addEventListener("updatefound", () => {
    const worker = installation.installing;
    worker.addEventListener("statechange", () => {
      if (worker.state === "installed" && navigator.serviceWorker.controller) offer("update", load(worker));
    });
  });
  const controlled = Boolean(navigator.serviceWorker.controller);
  navigator.serviceWorker.addEventListener("controllerchange", () => {
    if (asked) location.reload();
    else if (controlled) offer("update elsewhere", load(null));
  });
}

function offer(text, load) {
  document.querySelector(".update")?.remove();
  const bar = element("div", say(text), { className: "update" });
  bar.setAttribute("role", "status");
  bar.append(button(say("update now"), load), button(say("update later"), () => bar.remove()));
  document.body.append(bar);
}

/** Ask what to do with unsaved answers. */
async function mayLose(answers, save) {
  const dialog = $("leave");
  $("leave-text").textContent = say("leave text", { total: answers.answered });
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue === "save") save();
  return ["save", "lose"].includes(dialog.returnValue);
}
