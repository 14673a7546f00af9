"use strict";
// One image at a time; answers are kept in this browser where it allows that, and saved as a file.
const sheet = JSON.parse(document.getElementById("sheet").textContent);
const count = sheet.images.length;
const place = "sonoforge-reading-" + sheet.commitment;
const $ = (id) => document.getElementById(id);
const answerForm = $("answer");

let record = emptyRecord();
let current = 0;
let shownAt = null; // since when the current image has been in view, or null
let unsaved = false;
let kept = true;

function emptyRecord() {
  const answers = sheet.images.map(() => ({ kind: null, confidence: null, class: null, mark: null, seconds: 0 }));
  return { reader: "", experience: "", started: null, answers };
}

// ---- what is kept

function keep() {
  unsaved = true;
  try {
    localStorage.setItem(place, JSON.stringify({ record, current }));
    kept = true;
  } catch {
    kept = false; // private windows, and some browsers for a page opened as a file
  }
}

function restore() {
  try {
    const found = JSON.parse(localStorage.getItem(place));
    if (found && fits(found.record)) {
      record = found.record;
      current = Math.min(Math.max(0, Number(found.current) || 0), count - 1);
      return true;
    }
  } catch {
    // Nothing can be kept here, or something else lies in this place.
  }
  return false;
}

function fits(found) {
  return Boolean(found) && Array.isArray(found.answers) && found.answers.length === count;
}

// ---- the time that an image is in view

function startClock() {
  if (!$("reading").hidden && document.visibilityState === "visible") shownAt ??= performance.now();
}

function stopClock() {
  if (shownAt === null) return;
  record.answers[current].seconds += (performance.now() - shownAt) / 1000;
  shownAt = null;
}

function pause() {
  stopClock();
  if (record.started) keepQuietly();
}

document.addEventListener("visibilitychange", () => (document.visibilityState === "visible" ? startClock() : pause()));
addEventListener("pagehide", pause);
addEventListener("beforeunload", (event) => {
  if (unsaved && !kept) event.preventDefault();
});

function keepQuietly() {
  const before = unsaved;
  keep();
  unsaved = before;
}

// ---- the image and its answer

function show(section) {
  for (const name of ["start", "reading", "end"]) $(name).hidden = name !== section;
  document.body.classList.toggle("reads", section === "reading");
}

function answered() {
  return record.answers.filter(({ kind }) => kind !== null).length;
}

function open(index) {
  stopClock();
  current = index;
  show("reading");
  const answer = record.answers[current];
  $("number").textContent = `Image ${current + 1} of ${count}`;
  $("image").src = "data:image/png;base64," + sheet.images[current];
  $("image").alt = `Image ${current + 1}, to be judged`;
  for (const input of answerForm.querySelectorAll("input[type=radio]")) {
    input.checked = answer[input.name] !== null && String(answer[input.name]) === input.value;
  }
  $("back").disabled = current === 0;
  $("next").textContent = current === count - 1 ? "Finish" : "Next";
  drawMark();
  $("progress").value = answered();
  $("number").focus({ preventScroll: true });
  startClock();
}

function drawMark() {
  const { mark } = record.answers[current];
  $("dot").hidden = !mark;
  $("unmark").disabled = !mark;
  $("across").value = mark ? Math.round(100 * mark.x) : 50;
  $("down").value = mark ? Math.round(100 * mark.y) : 50;
  if (mark) {
    $("dot").style.left = `${100 * mark.x}%`;
    $("dot").style.top = `${100 * mark.y}%`;
  }
}

function put(mark) {
  record.answers[current].mark = mark;
  drawMark();
  keep();
  say(mark ? "Marked." : "The mark is removed.");
}

function say(text) {
  $("state").textContent = text + (kept ? "" : " This browser keeps nothing: save before you close the page.");
}

$("stage").addEventListener("click", (event) => {
  const box = $("image").getBoundingClientRect();
  const share = (value, size) => Math.round(1000 * Math.min(Math.max(value / size, 0), 1)) / 1000;
  put({ x: share(event.clientX - box.left, box.width), y: share(event.clientY - box.top, box.height) });
});
$("unmark").addEventListener("click", () => {
  put(null);
  $("number").focus({ preventScroll: true });
});
for (const name of ["across", "down"]) {
  $(name).addEventListener("input", () => put({ x: $("across").value / 100, y: $("down").value / 100 }));
}

answerForm.addEventListener("change", ({ target }) => {
  if (target.type !== "radio") return;
  record.answers[current][target.name] = target.name === "confidence" ? Number(target.value) : target.value;
  $("progress").value = answered();
  keep();
  say("");
});
answerForm.addEventListener("submit", (event) => {
  event.preventDefault();
  forward();
});
$("back").addEventListener("click", () => current > 0 && open(current - 1));

function forward() {
  if (record.answers[current].kind === null) say(`Image ${current + 1} is left open.`);
  else say("");
  if (current < count - 1) open(current + 1);
  else finish();
  keepQuietly();
}

function choose(name, value) {
  const input = answerForm.querySelector(`input[name=${name}][value="${value}"]`);
  input.checked = true;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}

document.addEventListener("keydown", (event) => {
  if (!$("keys").checked || $("reading").hidden || event.ctrlKey || event.altKey || event.metaKey) return;
  const key = event.key.toLowerCase();
  if (key === "r" || key === "g") choose("kind", key === "r" ? "real" : "generated");
  else if ("12345".includes(key) && key.length === 1) choose("confidence", key);
  else if (key === "n") forward();
  else if (key === "b") current > 0 && open(current - 1);
  else return;
  event.preventDefault();
});

// ---- the end, and the file

function finish() {
  stopClock();
  show("end");
  const open = record.answers.flatMap(({ kind }, index) => (kind === null ? [index + 1] : []));
  const more = open.length > 12 ? ` and ${open.length - 12} more` : "";
  const left = open.length ? ` Left open: ${open.slice(0, 12).join(", ")}${more}.` : "";
  $("done").textContent = `${count - open.length} of ${count} images are answered.${left}`;
  if (open.length) {
    const again = document.createElement("button");
    again.type = "button";
    again.textContent = `Go to image ${open[0]}`;
    again.addEventListener("click", () => goTo(open[0] - 1));
    $("done").append(" ", again);
  }
  $("text").value = answersText();
  $("end-title").focus({ preventScroll: true });
}

function goTo(index) {
  open(index);
  scrollTo(0, 0);
}

function answersText() {
  const answers = record.answers.map(({ seconds, ...rest }, index) => ({
    image: index + 1,
    ...rest,
    seconds: Math.round(10 * seconds) / 10,
  }));
  const { reader, experience, started } = record;
  const saved = new Date().toISOString();
  const { format, commitment } = sheet;
  return JSON.stringify({ format, commitment, reader, experience, started, saved, answers }, null, 1) + "\n";
}

$("save").addEventListener("click", () => {
  const name = record.reader.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "reader";
  const address = URL.createObjectURL(new Blob([answersText()], { type: "application/json" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = `answers-${sheet.commitment.slice(0, 8)}-${name}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
  unsaved = false;
  say(`Saved as ${link.download}. Send this file to the person who gave you the page.`);
});

// ---- the beginning

$("about").addEventListener("submit", (event) => {
  event.preventDefault();
  record.reader = $("reader").value.trim();
  record.experience = $("experience").value.trim();
  if (!record.reader) return;
  record.started ??= new Date().toISOString();
  keep();
  say("");
  goTo(current);
});
$("anew").addEventListener("click", () => {
  if (!confirm("Forget the answers that are kept here? Save them first if they are still needed.")) return;
  record = emptyRecord();
  current = 0;
  keepQuietly(); // in place of what was kept
  begin();
});
$("file").addEventListener("change", async ({ target }) => {
  try {
    const found = JSON.parse(await target.files[0].text());
    if (found.format !== sheet.format || found.commitment !== sheet.commitment || !fits(found)) throw new Error();
    const { reader, experience, started } = found;
    const answers = found.answers.map(({ image, ...rest }) => rest);
    record = { reader, experience, started, answers };
    current = Math.max(0, answers.findIndex(({ kind }) => kind === null));
    keep();
    begin();
    say(`Read: ${answered()} of ${count} images are answered.`);
  } catch {
    say("This file holds no answers to this page.");
  }
});

function begin() {
  show("start");
  $("reader").value = record.reader;
  $("experience").value = record.experience;
  const going = record.started !== null;
  $("about").querySelector("button").textContent = going ? "Continue" : "Begin";
  $("anew").hidden = !going;
  if (going) say(`${answered()} of ${count} images are answered.`);
}

restore();
begin();
