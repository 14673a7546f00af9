/** One answer as a card: the scan under its heat map, and the words. */

import { drawHeatMap } from "./heat_map.js";
import { verdict } from "./verdict.js";
import { className, say } from "./words.js";

/**
 * @param {any} answer - `{file, result, picture, copy_of, seems_copy_of}`, or `{file, error}`.
 * @param {{colours: number[][], remove: Function, enlarge: Function}} around
 * @returns {HTMLLIElement}
 */
export function makeCard(answer, { colours, remove, enlarge }) {
  const template = document.getElementById("card-template");
  const card = template.content.cloneNode(true).querySelector("li");
  const part = (selector) => card.querySelector(selector);
  part(".file").textContent = answer.file;
  part(".remove").textContent = say("remove");
  part(".remove").setAttribute("aria-label", `${say("remove")} ${answer.file}`);
  part(".remove").addEventListener("click", () => remove(answer));
  if (!answer.result) {
    card.classList.add("failed", "no");
    for (const unused of ["figure", "table", ".details"]) part(unused).remove();
    part("h3").textContent = say("no answer");
    part(".advice").textContent = answer.error;
    return card;
  }
  const { result } = answer;
  const { look, heading, advice } = verdict(result);
  card.classList.add(look);
  part("h3").textContent = heading;
  part(".advice").textContent = advice;
  part("caption").textContent = say("probabilities");
  part("tbody").append(...probabilityRows(result));
  part(".details").append(...details(answer));
  drawPicture(part, answer, colours, enlarge);
  return card;
}

function drawPicture(part, answer, colours, enlarge) {
  const { result, picture } = answer;
  const slider = part(".slider input");
  const opacity = () => slider.value / 100;
  const draw = () => drawHeatMap(part("canvas"), picture, { map: result.activation, box: result.seen }, colours, opacity());
  part(".slider span").textContent = say("heat map");
  part(".picture").setAttribute("aria-label", say("enlarge", { file: answer.file }));
  part(".picture").addEventListener("click", () => enlarge(answer, opacity()));
  slider.addEventListener("input", draw);
  draw();
}

function probabilityRows({ probabilities }) {
  const ordered = Object.entries(probabilities).sort(([, a], [, b]) => b - a);
  return ordered.map(([name, value]) => {
    const row = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = className(name);
    const number = document.createElement("td");
    number.textContent = `${Math.round(100 * value)} %`;
    const share = document.createElement("td");
    share.className = "share";
    share.setAttribute("aria-hidden", "true");
    const meter = document.createElement("meter");
    meter.max = 1;
    meter.value = value;
    share.append(meter);
    row.append(head, number, share);
    return row;
  });
}

function details({ result, copy_of: copy, seems_copy_of: alike }) {
  const share = result.map.share_in_brightest_tenth;
  const name = className(result.best);
  const evidence =
    share === null ? say("evidence none", { name }) : say("evidence share", { name, share: Math.round(100 * share) });
  const lines = [
    [say("ruled out"), result.set.map(className).join(", ") || say("none fits")],
    [`${say("trust")} ${result.trust.score.toFixed(2)}`, result.trust.reasons.join("; ") || say("like training")],
    [say("quality"), result.quality.flags.map((flag) => say(`flag ${flag}`)).join(", ") || say("no flags")],
    ...remarks(result),
    ...(copy ? [[say("repeated"), say("copy of", { file: copy })]] : []),
    ...(alike ? [[say("repeated"), say("seems copy of", { file: alike })]] : []),
    [say("evidence"), evidence],
    [say("time"), say("milliseconds", { ms: Math.round(result.ms.total) })],
  ];
  return lines.flatMap(([title, text]) => {
    const term = document.createElement("dt");
    const description = document.createElement("dd");
    term.textContent = title;
    description.textContent = text;
    return [term, description];
  });
}

/** What was found in the picture besides the scan. */
function remarks({ crop, marks }) {
  const kinds = Object.keys(marks.counts).map((kind) => say(`mark ${kind}`));
  return [
    ...(crop && crop.kept < 1 ? [[say("cropped"), say("cropped to", { share: Math.round(100 * crop.kept) })]] : []),
    ...(kinds.length ? [[say("marks"), `${kinds.join(", ")}. ${say("marks note")}`]] : []),
  ];
}
