/** The page: takes scans, shows answers, and keeps them in memory only. */

import { Answers } from "./answers.js";
import { connect, startNetwork } from "./ask.js";
import { operatingPoint } from "./decision.js";
import { sum } from "./numbers.js";
import { installed, largestDifference, offerUpdates, openPage, showBlocked, showCheck, showModel } from "./page.js";
import { connectPrinting } from "./print.js";
import { connectAndroidApp, download, toCsv, toJson } from "./save.js";
import { $, className, element, percent, questionName, say, terms } from "./words.js";
import { connectZoom, openZoom } from "./zoom.js";

/** The engine, which starts once the app's files are on this device; questions wait for it. */
const engine = openPage("bundle", inOtherWords).then(installed).then(() => connect("engine.js"));
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
  showCheck(checked, settings.model);
  if (!checked.passed) {
    block(say("blocked", { reason: say("blocked differs", largestDifference(checked)) }));
    return;
  }
  state = "ready";
  document.body.dataset.state = state;
  $("state").textContent = say("ready");
  work();
}

/** Use the graphics processor if it passes the self-test; else say so and answer as before. */
async function useGpu() {
  const tell = (word, values) => {
    for (const id of ["gpu-state", "gpu-notice"]) $(id).textContent = say(word, values);
  };
  $("use-gpu").disabled = true;
  $("gpu-notice").hidden = false;
  tell("gpu testing");
  try {
    const found = await ask("useGpu", { network: startNetwork() });
    tell(found.passed ? "gpu used" : "gpu differs", largestDifference(found));
    if (!found.passed) return;
    checked = found;
    showCheck(checked, settings.model);
  } catch (error) {
    tell(error.code === "no gpu" ? "gpu missing" : "gpu failed", { reason: error.message });
  }
}

function block(text) {
  state = "blocked";
  showBlocked(text, [$("files"), $("camera")]);
}

function describe() {
  const classes = manifest.classes.map(className);
  const key = classes.length === 3 && manifest.classes.includes("malignant") ? "lead" : "lead any";
  $("lead").textContent = say(key, { classes: listed(classes) });
  showModel(manifest, settings.model);
  $("draw-link").hidden = !settings.generator;
  $("gpu").hidden = !settings.webgpu;
  $("clinic").replaceChildren(...aboutClinic().map((sentence) => element("li", sentence)));
  sayOrder();
  const coverage = Math.round(100 * (1 - manifest.conformal.alpha));
  const parts = ["heading", ...(manifest.decision.questions.length ? ["questions"] : []), "set", "trust", "map"];
  $("how-list").replaceChildren(
    ...terms(parts.map((part) => [say(`how ${part}`), say(`how ${part} text`, { coverage })])),
  );
}

/** Say in which order the answers stand. */
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
  $("state").textContent = done < total ? say("stopped", { answered, total }) : say("finished", { answered, total });
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

async function enlarge({ file, source, picture, result, clip }, opacity) {
  // A file that was moved or changed since cannot be read again: then the small picture is shown.
  const asked = ask("picture", { file: source, frame: clip?.best_frame ?? 1 });
  const whole = await asked.catch(async () => ({ bitmap: await createImageBitmap(picture.blob) }));
  const evidence = { map: result.activation, box: result.seen };
  openZoom({ picture: whole.bitmap, evidence, colours: settings.colours, title: file }, opacity);
}

function inOtherWords() {
  if (manifest) describe();
  if (checked) showCheck(checked, settings.model);
  answers.redraw();
}

const origin = () => ({ model: manifest.files[settings.model].sha256, settings: settings.settings });

const stamp = () => new Date().toISOString().slice(0, 19).replaceAll(":", "");

for (const id of ["files", "camera"]) {
  $(id).addEventListener("change", () => {
    add([...$(id).files]);
    $(id).value = "";
  });
}
function save(ending, type, text) {
  download(`sonoforge-${stamp()}.${ending}`, type, text);
  answers.unsaved = false;
}

const saveCsv = () => save("csv", "text/csv", toCsv(answers.all, settings.columns, origin()));

$("suspicious").addEventListener("click", changeOrder);
$("save-csv").addEventListener("click", saveCsv);
$("save-json").addEventListener("click", () => save("json", "application/json", toJson(answers.all, settings.clinic, say("notice"))));
$("clear").addEventListener("click", () => {
  answers.clear();
  $("state").textContent = "";
  $("add").focus();
});
$("stop").addEventListener("click", () => queue.splice(0));
$("run-check").addEventListener("click", check);
$("use-gpu").addEventListener("click", useGpu);
$("save-check").addEventListener("click", () =>
  download(`sonoforge-self-test-${stamp()}.json`, "application/json", JSON.stringify(checked, null, 2) + "\n"),
);
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

connectPrinting(answers);
connectZoom();
offerUpdates(answers, saveCsv);
connectAndroidApp(add);
start();
