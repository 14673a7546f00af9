/** The page: takes scans from a person, shows answers, and keeps them in memory alone. */

import { connectAndroidApp } from "./android.js";
import { connect } from "./ask.js";
import { makeCard } from "./card.js";
import { drawHeatMap } from "./heat_map.js";
import { offerUpdates } from "./offline.js";
import { findRepeat } from "./repeats.js";
import { download, toCsv, toJson } from "./save.js";
import { className, loadWords, offerLanguages, reviewed, say } from "./words.js";

const $ = (id) => document.getElementById(id);

const ask = connect("engine.js");

/** `starting`, `ready` or `blocked`: no answer is given before the device has passed its self-test. */
let state = "starting";
let manifest = null;
let settings = null;
let checked = null;
let answers = [];
const queue = [];
let total = 0;
let done = 0;

async function start() {
  offerLanguages($("language"), inOtherWords);
  await loadWords($("language").value);
  $("state").textContent = say("starting");
  try {
    ({ manifest, settings } = await ask("start"));
    describe();
    await check();
  } catch (error) {
    block(say("cannot start", { reason: error.message }));
  }
}

async function check() {
  checked = await ask("selfTest");
  showCheck();
  const difference = largestDifference(checked);
  if (!checked.passed) {
    const values = { difference, tolerance: checked.tolerance };
    block(say("blocked", { reason: say("blocked differs", values) }));
    return;
  }
  state = "ready";
  document.body.dataset.state = state;
  $("state").textContent = say("ready", { difference });
  work();
}

function block(text) {
  state = "blocked";
  document.body.dataset.state = state;
  $("state").textContent = "";
  $("blocked").textContent = text;
  $("blocked").hidden = false;
  for (const id of ["files", "camera"]) $(id).disabled = true;
}

const largestDifference = ({ differences }) => Math.max(...Object.values(differences)).toExponential(1);

function describe() {
  const classes = manifest.classes.map(className);
  const key = classes.length === 3 && manifest.classes.includes("malignant") ? "lead" : "lead any";
  $("lead").textContent = say(key, { classes: listed(classes) });
  const hash = manifest.files[settings.model].sha256.slice(0, 16);
  $("about-model").textContent = say("about", { name: manifest.name, version: manifest.version, hash });
  $("unreviewed").hidden = reviewed();
  $("draw-link").hidden = !settings.generator;
  const coverage = Math.round(100 * (1 - manifest.conformal.alpha));
  $("how-list").replaceChildren(
    ...["heading", "set", "trust", "map"].flatMap((part) => [
      element("dt", say(`how ${part}`)),
      element("dd", say(`how ${part} text`, { coverage })),
    ]),
  );
}

const listed = (names) =>
  names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} ${say("or")} ${names.at(-1)}`;

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function add(files) {
  if (state === "blocked" || !files.length) return;
  if (done === total) total = done = 0;
  total += files.length;
  queue.push(...files);
  work();
}

let working = false;

async function work() {
  if (working || state !== "ready") return;
  working = true;
  while (queue.length) {
    const file = queue.shift();
    $("state").textContent = say("working", { done: done + 1, total });
    let answer;
    try {
      answer = await ask("classify", { file });
      Object.assign(answer, findRepeat(answer.result.print, earlier()));
    } catch (error) {
      answer = { error: error.message, code: error.code };
    }
    Object.assign(answer, { file: file.name, source: file, bytes: file.size, modified: file.lastModified });
    done += 1;
    show(answer);
  }
  working = false;
  if (total) $("state").textContent = say("finished", { total });
}

/** What a new picture is compared with: the first of each, in the order given. */
const earlier = () =>
  answers
    .filter(({ result, copy_of: copy }) => result && !copy)
    .map(({ file, result }) => ({ file, print: result.print }))
    .toReversed();

function show(answer) {
  answers.unshift(answer);
  $("answers-section").hidden = false;
  answer.card = makeCard(answer, { colours: settings.colours, remove, enlarge });
  $("answers").prepend(answer.card);
}

function remove(answer) {
  answers = answers.filter((one) => one !== answer);
  answer.card.remove();
  $("answers-section").hidden = !answers.length;
}

let scale = 1;

async function enlarge(answer, opacity) {
  const { picture } = await ask("picture", { file: answer.source });
  const evidence = { map: answer.result.activation, box: answer.result.seen };
  drawHeatMap($("zoom-canvas"), picture, evidence, settings.colours, opacity);
  picture.close();
  $("zoom-title").textContent = answer.file;
  $("zoom").showModal();
  scale = Math.min(1, $("stage").clientWidth / $("zoom-canvas").width);
  zoomTo(scale);
}

function zoomTo(value) {
  scale = Math.min(8, Math.max(0.1, value));
  const canvas = $("zoom-canvas");
  canvas.style.width = `${Math.round(scale * canvas.width)}px`;
}

function showCheck() {
  const { passed, differences, tolerance, images, milliseconds, browser, model, golden } = checked;
  const facts = [
    ["result", say(passed ? "passed" : "failed")],
    ...Object.entries(differences).map(([name, value]) => [
      name, say("allowed", { value: value.toExponential(1), tolerance }),
    ]),
    ["images", images],
    ["recorded answers", golden],
    ["time an image", say("milliseconds", { ms: Math.round(milliseconds) })],
    ["browser", browser],
    ["model file", `${settings.model}, SHA-256 ${model}`],
  ];
  $("check-list").replaceChildren(
    ...facts.flatMap(([name, value]) => [element("dt", say(name)), element("dd", String(value))]),
  );
}

function inOtherWords() {
  if (manifest) describe();
  if (checked) showCheck();
  for (const answer of answers) {
    const card = makeCard(answer, { colours: settings.colours, remove, enlarge });
    answer.card.replaceWith(card);
    answer.card = card;
  }
}

const origin = () => ({ model: manifest.files[settings.model].sha256, settings: settings.settings });

const stamp = () => new Date().toISOString().slice(0, 19).replaceAll(":", "");

for (const id of ["files", "camera"]) {
  $(id).addEventListener("change", () => {
    add([...$(id).files]);
    $(id).value = "";
  });
}
$("save-csv").addEventListener("click", () =>
  download(`sonoforge-${stamp()}.csv`, "text/csv", toCsv(answers.toReversed(), manifest.classes, origin())),
);
$("save-json").addEventListener("click", () =>
  download(`sonoforge-${stamp()}.json`, "application/json", toJson(answers.toReversed(), say("notice"))),
);
$("clear").addEventListener("click", () => {
  for (const answer of [...answers]) remove(answer);
  $("state").textContent = "";
  $("add").focus();
});
$("open-model").addEventListener("click", async () => {
  $("card").textContent = await (await fetch("bundle/MODEL_CARD.md")).text();
  $("model").showModal();
});
$("open-check").addEventListener("click", () => $("check").showModal());
$("run-check").addEventListener("click", check);
$("save-check").addEventListener("click", () =>
  download(`sonoforge-self-test-${stamp()}.json`, "application/json", JSON.stringify(checked, null, 2) + "\n"),
);
$("zoom-in").addEventListener("click", () => zoomTo(scale * 1.4));
$("zoom-out").addEventListener("click", () => zoomTo(scale / 1.4));

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
connectAndroidApp(add);
start();
