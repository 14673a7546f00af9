import { inAndroidApp } from "./save.js";
import { $, button, element, say } from "./words.js";

/**
 * Install the service worker, and offer a newer version when it has one.  Nothing is reloaded unasked, nor in other
 * windows, and no answer is lost unasked.
 *
 * @param {import("./answers.js").Answers} answers
 * @param {() => void} save - Save the answers as a file.
 */
export async function offerUpdates(answers, save) {
  window.addEventListener("beforeunload", (event) => {
    if (answers.unsaved) event.preventDefault();
  });
  if (inAndroidApp || !("serviceWorker" in navigator) || !window.isSecureContext) return; // the app has the files
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

/** Ask what is to become of answers that no file holds. */
async function mayLose(answers, save) {
  const dialog = $("leave");
  $("leave-text").textContent = say("leave text", { total: answers.all.length });
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue === "save") save();
  return ["save", "lose"].includes(dialog.returnValue);
}
