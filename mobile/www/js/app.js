/** The page: takes scans, shows answers, and keeps them in memory only. */

import { drawHeatMap } from "./activation_map.js";
import { Answers } from "./answers.js";
import { connect, startNetwork } from "./ask.js";
import { operatingPoint } from "./decision.js";
import { sum } from "./pixels.js";
import { connectAndroidApp, download, inAndroidApp, toCsv, toJson } from "./save.js";
import { $, button, className, element, loadWords, offerLanguages, percent, questionName, rendered, say, terms } from "./words.js";

/** The engine, which starts once the app's files are on this device; questions wait for it. */
const engine = openPage().then(installed).then(() => connect("engine.js"));
const ask = async (...question) => (await engine)(...question);

/** `starting`, `ready` or `blocked`: no answer is given before the device has passed its self-test. */
let state = "starting";
let manifest = null;
let settings = null;
let checked = null;
const answers = new Answers(() => ({
  colours: settings.colours,
  questions: manifest.decision.questions,
  guesses: manifest.evaluation.guessing?.better === false,
  enlarge,
}));
const queue = [];
let total = 0;
let done = 0;
let answered = 0; // of those done; the others could not be read

async function openPage() {
  $("open-model").addEventListener("click", async () => {
    $("card").replaceChildren(rendered(await (await fetch("bundle/MODEL_CARD.md")).text()));
    $("model").showModal();
  });
  $("open-check").addEventListener("click", () => $("check").showModal());
  offerLanguages($("language"), inOtherWords);
  await loadWords($("language").value);
  $("state").textContent = say("starting");
}

async function start() {
  await engine; // a network that starts earlier would load the app's files a second time
  try {
    ({ manifest, settings } = await ask("start", { network: startNetwork() }));
    describe();
    await check();
  } catch (error) {
    block(say("cannot start", { reason: error.message }));
  }
}

async function check() {
  checked = await ask("selfTest");
  showCheck();
  if (!checked.passed) {
    const difference = Math.max(...Object.values(checked.differences)).toExponential(1);
    block(say("blocked", { reason: say("blocked differs", { difference, tolerance: checked.tolerance }) }));
    return;
  }
  state = "ready";
  document.body.dataset.state = state;
  $("state").textContent = say("ready");
  work();
}

function block(text) {
  state = "blocked";
  document.body.dataset.state = state;
  $("state").textContent = "";
  $("blocked").textContent = text;
  $("blocked").hidden = false;
  $("files").disabled = $("camera").disabled = true;
}

function showCheck() {
  const { passed, differences, tolerance, images, milliseconds, browser, model } = checked;
  const facts = [
    ["result", say(passed ? "passed" : "failed")],
    ...Object.entries(differences).map(([name, value]) => [name, say("allowed", { value: value.toExponential(1), tolerance })]),
    ["images", images],
    ["time an image", say("milliseconds", { ms: Math.round(milliseconds) })],
    ["browser", browser],
    ["model file", `${settings.model}, SHA-256 ${model}`],
  ];
  $("check-list").replaceChildren(...terms(facts.map(([name, value]) => [say(name), value])));
}

function describe() {
  const { name, version, files, conformal, decision } = manifest;
  const classes = manifest.classes.map(className);
  const key = classes.length === 3 && manifest.classes.includes("malignant") ? "lead" : "lead any";
  $("lead").textContent = say(key, { classes: listed(classes) });
  $("about-model").textContent = say("about", { name, version, hash: files[settings.model].sha256.slice(0, 16) });
  $("clinic").replaceChildren(...aboutClinic().map((sentence) => element("li", sentence)));
  sayOrder();
  const coverage = Math.round(100 * (1 - conformal.alpha));
  const parts = ["heading", ...(decision.questions.length ? ["questions"] : []), "set", "trust", "map"];
  $("how-list").replaceChildren(...terms(parts.map((part) => [say(`how ${part}`), say(`how ${part} text`, { coverage })])));
}

function sayOrder() {
  const { suspicious } = answers;
  $("suspicious").hidden = !manifest.decision.questions.length;
  $("suspicious").setAttribute("aria-pressed", String(suspicious.length > 0));
  $("order").textContent = suspicious.length ? say("order suspicious", { classes: listed(suspicious.map(className)) }) : "";
}

function changeOrder() {
  answers.suspicious = answers.suspicious.length ? [] : manifest.decision.questions.at(-1).positive;
  answers.arrange();
  sayOrder();
}

/** Sentences on the clinic's class shares and each question's operating point. */
function aboutClinic() {
  const { prevalence, sensitivity } = settings.clinic;
  const { site } = manifest;
  const written = manifest.classes.map((name) => `${className(name)} ${Number((100 * prevalence[name]).toPrecision(3))} %`);
  const equal = new Set(Object.values(prevalence)).size === 1;
  const asked = manifest.decision.questions.map((question) => {
    const { aim, sensitivity: found, specificity } = operatingPoint(question, sensitivity);
    const figures = { aim: percent(aim), sensitivity: percent(found), specificity: percent(specificity) };
    return say(site?.moved.includes(question.name) ? "asked site" : "asked", { question: questionName(question.name), ...figures });
  });
  if (site && manifest.classes.every((name) => prevalence[name] === site.prevalence[name])) {
    return [say("clinic site", { shares: written.join(", "), count: sum(Object.values(site.scans)) }), ...asked];
  }
  return [equal ? say("clinic equal") : say("clinic shares", { shares: written.join(", ") }), ...asked];
}

const listed = (names) =>
  names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} ${say("or")} ${names.at(-1)}`;

function add(files) {
  if (state === "blocked" || !files.length) return;
  if (done === total) total = done = answered = 0;
  total += files.length;
  queue.push(...files);
  work();
}

let working = false;

async function work() {
  if (working || state !== "ready" || !queue.length) return;
  working = true;
  answers.beginBatch();
  showProgress();
  const coming = [];
  const askAhead = () => {
    while (queue.length && coming.length < 2) coming.push(answerTo(queue.shift()));
  };
  askAhead();
  while (coming.length) {
    const answer = await coming.shift();
    askAhead();
    const card = answers.add(answer);
    done += 1;
    if (answer.result) answered += 1;
    showProgress();
    if (done === 1) card.scrollIntoView({ block: "start" });
  }
  working = false;
  if (answers.suspicious.length) answers.arrange();
  showProgress();
  $("state").textContent = say(done < total ? "stopped" : "finished", { answered, total });
  total = done;
}

async function answerTo(file) {
  const about = { file: file.name, source: file, bytes: file.size, modified: file.lastModified };
  try {
    return { ...about, ...(await ask("classify", { file })) };
  } catch (error) {
    return { ...about, error: error.message, code: error.code };
  }
}

function showProgress() {
  $("work").hidden = !working;
  $("progress").max = total;
  $("progress").value = done;
  $("progress-text").textContent = say("working", { done: Math.min(done + 1, total), total });
}

/** Show a scan at its own size, under its heat map at an opacity of 0..100. */
async function enlarge({ file, source, picture, result, clip }, opacity) {
  // A file that was moved or changed since cannot be read again: then the small picture is shown.
  const asked = ask("picture", { file: source, frame: clip?.best_frame ?? 1 });
  const { bitmap } = await asked.catch(async () => ({ bitmap: await createImageBitmap(picture.blob) }));
  const evidence = { map: result.activation, box: result.seen };
  const draw = () => drawHeatMap($("zoom-canvas"), bitmap, evidence, settings.colours, $("zoom-heat").value / 100);
  $("zoom-heat").value = opacity;
  $("zoom-heat").oninput = draw;
  $("zoom-title").textContent = file;
  draw();
  $("zoom").showModal();
  await new Promise((resolve) => $("zoom").addEventListener("close", resolve, { once: true }));
  bitmap.close();
  $("zoom-canvas").width = $("zoom-canvas").height = 0;
}

function inOtherWords() {
  if (manifest) describe();
  if (checked) showCheck();
  answers.redraw();
}

const canInstall = !inAndroidApp && "serviceWorker" in navigator && window.isSecureContext; // the Android app has the files

/** On a first visit, wait until the service worker has loaded the app's files, so that nothing is loaded twice. */
async function installed() {
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
async function offerUpdates() {
  window.addEventListener("beforeunload", (event) => {
    if (answers.unsaved) event.preventDefault();
  });
  if (!canInstall) return;
  const { serviceWorker } = navigator;
  const installation = await serviceWorker.register("service-worker.js").catch(() => null);
  if (!installation) return; // the page works as long as its files are there
  let wanted = false;
  const controlled = Boolean(serviceWorker.controller);
  const offer = (text, worker) => {
    document.querySelector(".update")?.remove();
    const bar = element("div", say(text), { className: "update" });
    bar.setAttribute("role", "status");
    const load = () => {
      if (answers.unsaved && !confirm(say("leave text", { total: answers.answered }))) return;
      answers.unsaved = false;
      wanted = true;
      if (worker) worker.postMessage("activate");
      else location.reload();
    };
    bar.append(button(say("update now"), load), button(say("update later"), () => bar.remove()));
    document.body.append(bar);
  };
  if (installation.waiting) offer("update", installation.waiting);
  installation.addEventListener("updatefound", () => {
    const worker = installation.installing;
    worker.addEventListener("statechange", () => {
      if (worker.state === "installed" && serviceWorker.controller) offer("update", worker);
    });
  });
  serviceWorker.addEventListener("controllerchange", () => {
    if (wanted) location.reload();
    else if (controlled) offer("update elsewhere", null);
  });
}

const stamp = () => new Date().toISOString().slice(0, 19).replaceAll(":", "");

function save(ending, type, text) {
  download(`sonoforge-${stamp()}.${ending}`, type, text);
  answers.unsaved = false;
}

for (const id of ["files", "camera"]) {
  $(id).addEventListener("change", () => {
    add([...$(id).files]);
    $(id).value = "";
  });
}
const clicked = {
  suspicious: changeOrder,
  "save-csv": () => {
    const origin = { model_sha256: manifest.files[settings.model].sha256, settings: settings.settings };
    save("csv", "text/csv", toCsv(answers.all, settings.columns, origin));
  },
  "save-json": () => save("json", "application/json", toJson(answers.all, settings.clinic, say("notice"))),
  clear: () => {
    answers.clear();
    $("state").textContent = "";
    $("add").focus();
  },
  stop: () => queue.splice(0),
  "run-check": check,
  "save-check": () =>
    download(`sonoforge-self-test-${stamp()}.json`, "application/json", JSON.stringify(checked, null, 2) + "\n"),
};
for (const [id, act] of Object.entries(clicked)) $(id).addEventListener("click", act);
let depth = 0;
document.addEventListener("dragenter", (event) => {
  event.preventDefault();
  depth += 1;
  $("curtain").hidden = state === "blocked";
});
document.addEventListener("dragleave", () => {
  depth -= 1;
  if (depth <= 0) $("curtain").hidden = true;
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  $("curtain").hidden = true;
  add([...event.dataTransfer.files]);
});
document.addEventListener("paste", (event) => add([...(event.clipboardData?.files ?? [])]));

offerUpdates();
connectAndroidApp();
start();
