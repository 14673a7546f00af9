/** Print the answers: the list first, then each scan on a page of its own. */

import { inAndroidApp } from "./save.js";
import { $, element, say } from "./words.js";

/** @param {import("./answers.js").Answers} answers */
export function connectPrinting(answers) {
  $("print").hidden = inAndroidApp; // its web view cannot print
  $("print").addEventListener("click", () => printAll(answers));
  window.addEventListener("keydown", (event) => {
    if (event.key !== "p" || !(event.ctrlKey || event.metaKey) || inAndroidApp) return;
    event.preventDefault();
    printAll(answers);
  });
  window.addEventListener("beforeprint", () => {
    const cards = [...document.querySelectorAll(".answers .card")];
    const lines = cards.map((card) => ["h3", ".file"].map((part) => card.querySelector(part).textContent));
    $("printed-list").replaceChildren(...lines.map(([heading, file]) => element("li", `${file}: ${heading[0].toUpperCase()}${heading.slice(1)}`)));
  });
}

/** No browser waits for pictures that are made when it prints, and only the cards near the window are drawn. */
async function printAll(answers) {
  const pictures = answers.all.flatMap(({ file, picture, card }) => {
    if (!picture) return [];
    const drawn = element("img", "", { className: "printed", alt: file, src: URL.createObjectURL(picture.blob) });
    card.element.querySelector("figure").append(drawn);
    return [drawn];
  });
  const notes = answers.all.map(({ card }) => {
    const note = element("p", `${say("notice")} ${$("about-model").textContent}`, { className: "printed" });
    card.element.append(note);
    return note;
  });
  await Promise.allSettled(pictures.map((drawn) => drawn.decode()));
  const clean = () => {
    for (const { src } of pictures) URL.revokeObjectURL(src);
    for (const added of [...pictures, ...notes]) added.remove();
  };
  window.addEventListener("afterprint", clean, { once: true });
  window.print();
}
