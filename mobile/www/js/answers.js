/**
 * The list of answers, each a card: what to make of it, the scan under its heat map, the figures.
 *
 * The newest batch is on top, with files in the order given so that nothing moves; or, on request, the most suspicious first.
 */

import { drawHeatMap } from "./activation_map.js";
import { isUsable, verdictInWords } from "./decision.js";
import { sum } from "./pixels.js";
import { findRepeat } from "./repeats.js";
import { flagsInWords } from "./scan_checks.js";
import { $, className, element, listedClasses, percent, questionName, say, terms } from "./words.js";

/** Answers of this page, oldest first. */
export class Answers {
  #list = $("answers");
  #section = $("answers-section"); // shown while there are answers
  #around;
  #answers = [];
  #before = null;
  #batch = 0;

  /** Classes to sort by, most probable first; empty for the given order. */
  suspicious = [];

  /** Whether there are answers that no file holds yet. */
  unsaved = false;

  /** `around()` returns what cards need: `colours`, `questions`, whether the bundle `guesses`, and `enlarge`. */
  constructor(around) {
    this.#around = around;
  }

  get all() {
    return [...this.#answers];
  }

  /** How many files are answered; the others could not be read. */
  get answered() {
    return this.#answers.filter(({ result }) => result).length;
  }

  /** Place later answers above the existing ones. */
  beginBatch() {
    this.#before = this.#list.firstElementChild;
    this.#batch += 1;
  }

  /** Sort the cards. */
  arrange() {
    const given = ({ batch }) => -batch;
    const suspicion = ({ result }) => (isUsable(result) ? -sum(this.suspicious.map((name) => result.probabilities[name])) : 1);
    const key = this.suspicious.length ? suspicion : given;
    const ordered = [...this.#answers].sort((a, b) => key(a) - key(b)); // stable
    this.#list.append(...ordered.map(({ card }) => card.element));
  }

  /** Add an answer that `makeCard` takes, and return its card; repeats of earlier pictures are found here. */
  add(answer) {
    if (answer.result) Object.assign(answer, findRepeat(answer.result.print, this.#firstOnes()));
    answer.card = this.#cardOf(answer);
    answer.batch = this.#batch;
    this.#answers.push(answer);
    this.#changed();
    this.#list.insertBefore(answer.card.element, this.#before?.parentNode ? this.#before : null);
    if (answer.result) this.unsaved = true;
    return answer.card.element;
  }

  remove(answer) {
    answer.card.close();
    this.#answers = this.#answers.filter((one) => one !== answer);
    this.#changed();
    this.unsaved &&= this.answered > 0;
  }

  clear() {
    for (const answer of this.all) this.remove(answer);
  }

  /** Make every card anew, in another language. */
  redraw() {
    for (const answer of this.#answers) {
      const old = answer.card;
      answer.card = this.#cardOf(answer);
      old.element.replaceWith(answer.card.element);
      old.close();
    }
    this.#changed();
  }

  /** Say whether there are answers, and how many of these scans trained the network. */
  #changed() {
    this.#section.hidden = !this.#answers.length;
    const scans = this.answered;
    const trained = this.#answers.filter(({ result }) => result?.trained_on).length;
    $("trained").hidden = !trained;
    $("trained").textContent = say(scans === 1 ? "trained one" : "trained some", { trained, scans });
  }

  #cardOf(answer) {
    return makeCard(answer, { ...this.#around(), remove: (one) => this.remove(one) });
  }

  /** The first file of each picture, to compare new ones with. */
  #firstOnes() {
    return this.#answers
      .filter(({ result, copy_of: copy }) => result && !copy)
      .map(({ file, result }) => ({ file, print: result.print }));
  }
}

/** Make the card of an answer: `{file, result, picture, clip, copy_of, seems_copy_of}`, or `{file, error, code}`. */
function makeCard(answer, { colours, questions, guesses, remove, enlarge }) {
  const template = document.getElementById("card-template");
  const card = template.content.cloneNode(true).querySelector("li");
  const part = (selector) => card.querySelector(selector);
  part(".file").textContent = answer.file;
  part(".remove").textContent = say("remove");
  part(".remove").setAttribute("aria-label", `${say("remove")} ${answer.file}`);
  part(".remove").addEventListener("click", () => remove(answer));
  part("summary").textContent = say("details");
  if (!answer.result) {
    card.classList.add("failed", "no");
    for (const unused of ["figure", ".questions", ".shares", ".notes"]) part(unused).remove();
    part("h3").textContent = say("no answer");
    part(".advice").textContent = say(`error ${answer.code}`, {}, say("error other"));
    part(".more dl").append(...terms([[say("reason"), answer.error]]));
    part(".more").open = true;
    return { element: card, close: () => card.remove() };
  }
  const { result } = answer;
  const { look, heading, advice, causes } = verdictInWords(result);
  card.classList.add(look);
  part("h3").textContent = heading;
  part(".advice").textContent = advice;
  part(".questions").append(...terms([[say("ruled out"), listedClasses(result.set)], ...questionsAnswered(result, questions)]));
  part(".shares").textContent = sharesOf(result);
  part(".notes").append(...notes(answer, causes, guesses).map((text) => element("li", text)));
  part(".more dl").append(...terms(figures(result)));
  // Percentages would invite use of an answer that must not be used.
  if (look === "no") part(".more").append(part(".questions"), part(".shares"));
  const hide = drawPicture(part, answer, { colours, enlarge });
  const close = () => {
    hide();
    card.remove();
  };
  return { element: card, close };
}

const shown = new WeakMap();
const watcher = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) shown.get(target)?.(isIntersecting);
  },
  { rootMargin: "100% 0%" },
);

/** Draw the picture while it is near the window, and only then: a thousand drawn ones would not fit a phone's memory. */
function drawPicture(part, answer, { colours, enlarge }) {
  const { result, picture } = answer;
  const canvas = part("canvas");
  const slider = part(".slider input");
  let bitmap = null;
  let wanted = false;
  const evidence = { map: result.activation, box: result.seen };
  const draw = () => bitmap && drawHeatMap(canvas, bitmap, evidence, colours, slider.value / 100);
  const show = async (near) => {
    wanted = near;
    if (near && !bitmap) {
      const read = await createImageBitmap(picture.blob);
      if (!wanted || bitmap) return read.close();
      bitmap = read;
      draw();
    } else if (!near && bitmap) {
      bitmap.close();
      bitmap = null;
      canvas.width = canvas.height = 0;
    }
  };
  slider.value = 0; // the scan comes first, and colours would hide its lesion
  canvas.width = canvas.height = 0;
  canvas.style.aspectRatio = `${picture.width} / ${picture.height}`;
  part(".slider span").textContent = say("heat map");
  part(".picture").setAttribute("aria-label", say("enlarge", { file: answer.file }));
  part(".picture").addEventListener("click", () => enlarge(answer, slider.value));
  slider.addEventListener("input", draw);
  shown.set(canvas, show);
  watcher.observe(canvas);
  return () => {
    watcher.unobserve(canvas);
    show(false);
  };
}

/** Each question and its answer; after a no, later questions are not asked. */
function questionsAnswered({ findings }, questions) {
  let arises = true;
  return questions.map(({ name }) => {
    const { positive, probability, threshold } = findings[name];
    const least = percent(threshold);
    const share = !positive && percent(probability) === least ? say("just below") : percent(probability);
    const answer = say(!arises ? "answer none" : positive ? "answer yes" : "answer no", { share, least });
    arises &&= positive;
    return [questionName(name), answer];
  });
}

/** What is behind the answer, in small print: it is not the verdict. */
function sharesOf({ probabilities }) {
  const ordered = Object.entries(probabilities).sort(([, a], [, b]) => b - a);
  return `${say("probabilities")}: ${ordered.map(([name, share]) => `${className(name)} ${percent(share)}`).join(", ")}`;
}

/** Further sentences that a reader must know. */
function notes({ result, clip, copy_of: copy, seems_copy_of: alike }, causes, guesses) {
  const { abstained, best, crop, least, marks, probabilities, quality, trust } = result;
  const flags = flagsInWords(quality.flags);
  const kinds = Object.keys(marks.counts).map((kind) => say(`mark ${kind}`));
  const improbable = abstained && !trust.causes.length;
  return [
    ...(guesses ? [say("guesses")] : []),
    ...(result.trained_on ? [say("trained one")] : []),
    ...(clip ? [say("clip", clip)] : []),
    ...causes,
    ...(improbable ? [say("improbable", { share: percent(probabilities[best]), least: percent(least) })] : []),
    ...(flags ? [`${say("quality")}: ${flags}.`] : []),
    ...(kinds.length ? [`${say("marks", { kinds: kinds.join(", ") })} ${say("marks note")}`] : []),
    ...(crop && crop.kept < 1 ? [say("cropped", { share: percent(crop.kept) })] : []),
    ...(copy ? [say("copy of", { file: copy })] : []),
    ...(alike ? [say("seems copy of", { file: alike })] : []),
  ];
}

/** The figures, with the reasons as Python words them. */
function figures(result) {
  const { map, mapped, ms, quality, remarks, trust } = result;
  const share = map.share_in_brightest_tenth;
  const name = className(mapped);
  return [
    [say("trust"), `${trust.score.toFixed(2)} ${say("of one")}`],
    ...[...trust.reasons, ...remarks].map((reason) => [say("reason"), reason]),
    [say("quality"), flagsInWords(quality.flags) || say("no flags")],
    [say("evidence"), share === null ? say("evidence none", { name }) : say("evidence share", { name, share: percent(share) })],
    [say("time"), say("milliseconds", { ms: Math.round(ms.total) })],
  ];
}
