import { inAndroidApp } from "./android.js";
import { say } from "./words.js";

/** Install the service worker, and offer a newer version when it has one; nothing is reloaded unasked. */
export async function offerUpdates() {
  if (inAndroidApp || !("serviceWorker" in navigator) || !window.isSecureContext) return; // the app has the files
  let installation;
  try {
    installation = await navigator.serviceWorker.register("service-worker.js");
  } catch {
    return; // a web view or a private window may have none; the page works as long as its files are there
  }
  const offer = (worker) => {
    const bar = document.createElement("div");
    bar.className = "update";
    bar.setAttribute("role", "status");
    const button = document.createElement("button");
    button.textContent = say("update now");
    button.addEventListener("click", () => worker.postMessage("activate"));
    bar.append(document.createTextNode(say("update")), button);
    document.body.append(bar);
  };
  if (installation.waiting) offer(installation.waiting);
  installation.addEventListener("updatefound", () => {
    const worker = installation.installing;
    worker.addEventListener("statechange", () => {
      if (worker.state === "installed" && navigator.serviceWorker.controller) offer(worker);
    });
  });
  const controlled = Boolean(navigator.serviceWorker.controller);
  navigator.serviceWorker.addEventListener("controllerchange", () => {
    if (controlled) location.reload();
  });
}
