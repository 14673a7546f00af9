// One scan, one answer, in a page of your own: the engine of the app, so with trust, quality and DICOM.
// Both files lie in a folder that `sonoforge mobile build --out FOLDER` wrote: any web server will do.

import { connect, startNetwork } from "./js/ask.js";

const scan = document.getElementById("scan");
const show = (text) => (document.getElementById("answer").textContent = text);
const ask = connect("engine.js"); // a worker: the page never waits

try {
  await ask("start", { network: startNetwork() }); // onnxruntime-web, in a second worker; each file's hash is checked
  const check = await ask("selfTest"); // the bundle's golden images
  if (!check.passed) throw new Error("This device does not compute the recorded answers, so it gives none.");
  scan.disabled = false;
  show("Choose a scan");
} catch (error) {
  show(error.message);
}

scan.addEventListener("change", async () => {
  show("Computing");
  try {
    const { result } = await ask("classify", { file: scan.files[0] });
    const { verdict, label, probabilities, set, findings, trust } = result; // the names of `classify --json`
    show(JSON.stringify({ verdict, label, probabilities, set, findings, reasons: trust.reasons }, null, 2));
  } catch (error) {
    show(error.message); // what is wrong with the file, and what to do
  }
});
