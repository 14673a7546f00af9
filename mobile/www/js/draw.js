/** The drawing page: tests the generator, marks each picture as synthetic, measures its distance. */

import { connect } from "./ask.js";
import { marked, NOTICE, syntheticPng, zip } from "./draw_files.js";
import { installed, largestDifference, offerUpdates, openPage, showBlocked, showCheck, showModel } from "./page.js";
import { toImageData } from "./raster.js";
import { download } from "./save.js";
import { $, button, className, element, say, terms } from "./words.js";

const MODEL = "generator.onnx";

/** The engine, which starts once the app's files are on this device; questions wait for it. */
const engine = openPage("generator", describe).then(installed).then(() => connect("draw_engine.js"));
const ask = async (...question) => (await engine)(...question);

let manifest = null;
let checked = null;
let stopped = ""; // why nothing is drawn
let drawn = []; // {wish, raster}
let distance = null; // what was measured of `drawn`, or why not

async function start() {
  try {
    ({ manifest } = await ask("start"));
    describe();
    checked = await ask("selfTest");
  } catch (error) {
    block(() => say("cannot start", { reason: error.message }));
    return;
  }
  describe();
  if (!checked.passed) {
    block(() => say("draw blocked", largestDifference(checked)));
    return;
  }
  document.body.dataset.state = "ready";
  $("go").disabled = false;
  $("state").textContent = say("draw ready", largestDifference(checked));
}

function block(reason) {
  stopped = reason;
  showBlocked(reason(), $("draw").elements);
}

/** Write the texts that the page's HTML does not mark for translation. */
function describe() {
  if (stopped) $("blocked").textContent = stopped();
  if (!manifest) return;
  const { classes, class_name: only, psi, name, training } = manifest;
  const shown = (classes.length ? classes : [only]).filter(Boolean).map(className);
  const values = { classes: shown.join(", ") || training.data || name, data: training.data || name };
  $("lead").textContent = say("draw lead", values);
  showModel(manifest, MODEL);
  const chosen = $("class").value;
  $("class").replaceChildren(...classes.map((one) => element("option", className(one), { value: one })));
  if (chosen) $("class").value = chosen;
  $("class-field").hidden = !classes.length;
  $("psi-field").hidden = !psi.accepted;
  $("psi").disabled = !psi.accepted || Boolean(stopped);
  if (!$("psi").value) $("psi").value = psi.default;
  if (checked) showCheck(checked, MODEL);
  showDrawn();
  showDistance();
}

async function draw() {
  const { classes, psi } = manifest;
  const label = classes.length ? classes.indexOf($("class").value) : 0;
  const common = { seed: Number($("seed").value), label, ...(psi.accepted ? { psi: Number($("psi").value) } : {}) };
  const total = Number($("count").value);
  drawn = [];
  distance = null;
  showDrawn();
  showDistance();
  busy(true);
  try {
    for (let index = 0; index < total; index++) {
      $("state").textContent = say("draw working", { done: index + 1, total });
      const wish = { ...common, index };
      drawn.push({ wish, ...(await ask("draw", { wish })) });
      show(drawn.at(-1));
    }
    $("state").textContent = say("draw finished", { total });
  } catch (error) {
    $("state").textContent = say("cannot start", { reason: error.message });
  }
  busy(false);
}

function busy(now) {
  for (const id of ["go", "measure", "save-all"]) $(id).disabled = now;
  $("kid-section").hidden = now || !drawn.length;
}

function showDrawn() {
  $("drawn").replaceChildren();
  drawn.forEach(show);
  $("drawn-section").hidden = !drawn.length;
  if (!drawn.length) $("kid-section").hidden = true;
}

function show(picture) {
  const { seed, index } = picture.wish;
  $("drawn-section").hidden = false;
  $("drawn-title").textContent = say("draw pictures", { seed });
  const shown = marked(picture.raster);
  const canvas = element("canvas", "", { width: shown.width, height: shown.height });
  canvas.getContext("2d").putImageData(toImageData(shown), 0, 0);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", say("draw picture", { name: classOf(picture), index }));
  const save = button(say("draw save"), async () =>
    download(fileName(picture), "image/png", await syntheticPng(picture.raster, origin(picture))),
  );
  save.setAttribute("aria-label", say("draw save one", { index }));
  const item = element("li", "");
  item.append(canvas, element("p", say("draw caption", { name: classOf(picture), index })), save);
  $("drawn").append(item);
}

const ownClass = ({ wish }) => manifest.classes[wish.label] ?? manifest.class_name;
const classOf = (picture) => className(ownClass(picture)) || say("draw no class");

/** A picture's origin, with the keys of `sonoforge gan sample`. */
function origin(picture) {
  const { recipe, training, files, psi: styles } = manifest;
  const { seed, psi, index } = picture.wish;
  return {
    synthetic: true,
    generator_sha256: training.generator_sha256,
    recipe,
    class: ownClass(picture),
    step: training.step,
    seed,
    training_data: training.fingerprint,
    ...(psi === undefined || psi === styles.default ? {} : { psi }),
    file_sha256: files[MODEL].sha256,
    index,
  };
}

function fileName(picture) {
  const label = ownClass(picture).replace(/[/\\:\x00-\x1f]/g, "-") || "image";
  return `synthetic-${label}-${picture.wish.seed}-${String(picture.wish.index).padStart(5, "0")}.png`;
}

async function saveAll() {
  const files = [];
  const images = [];
  for (const picture of drawn) {
    files.push([fileName(picture), await syntheticPng(picture.raster, origin(picture))]);
    images.push({ file: fileName(picture), index: picture.wish.index });
  }
  const { index, ...common } = origin(drawn[0]);
  const about = { ...common, count: images.length, notice: NOTICE, kid: distance?.value === undefined ? null : distance, images };
  files.push(["manifest.json", new TextEncoder().encode(JSON.stringify(about, null, 2) + "\n")]);
  download(fileName(drawn[0]).replace(/-\d+\.png$/, ".zip"), "application/zip", zip(files));
}

async function measure() {
  busy(true);
  $("kid-section").hidden = false;
  const given = { rasters: drawn.map(({ raster }) => raster), label: drawn[0].wish.label };
  const step = (values) => ($("state").textContent = say("draw kid working", values));
  step({ done: 0, total: drawn.length });
  try {
    distance = await ask("distance", given, step);
    $("state").textContent = say("draw kid finished");
  } catch (error) {
    distance = { code: error.code, message: error.message };
    $("state").textContent = "";
  }
  busy(false);
  showDistance();
}

const REFUSALS = ["no reference", "too few", "other network", "features differ"];

function showDistance() {
  $("kid").hidden = !distance;
  if (!distance) return;
  const refused = distance.value === undefined;
  $("kid").classList.toggle("no", refused);
  if (refused) {
    const { code, message } = distance;
    const why = REFUSALS.includes(code) ? say(`draw kid ${code}`, { network: message }) : message;
    $("kid").replaceChildren(element("p", say("draw kid refused", { reason: why })));
    return;
  }
  const { value, standardError, drawn: count, real, model } = distance;
  const { seed, psi } = drawn[0].wish;
  const values = { value: value.toPrecision(3), error: standardError.toPrecision(2) };
  const figure = element("p", say("draw kid value", values), { className: "value" });
  const facts = element("dl", "", { className: "facts" });
  const settings = psi === undefined ? seed : `${seed}, psi ${psi}`;
  const rows = [
    ["draw kid drawn", say("draw kid drawn text", { count, name: classOf(drawn[0]), seed: settings })],
    ["draw kid real", say("draw kid real text", { count: real, name: classOf(drawn[0]), side: manifest.image.size })],
    ["draw kid features", say("draw kid features text", { ...model, hash: model.sha256.slice(0, 16) })],
    ["draw kid definition", say("draw kid definition text")],
    ["draw kid reading", say("draw kid reading text")],
  ];
  facts.append(...terms(rows.map(([name, text]) => [say(name), text])));
  $("kid").replaceChildren(figure, facts);
}

$("draw").addEventListener("submit", (event) => {
  event.preventDefault();
  draw();
});
$("measure").addEventListener("click", measure);
$("save-all").addEventListener("click", saveAll);

offerUpdates({ unsaved: false, answered: 0 }, () => {}); // what is drawn can be drawn again
start();
