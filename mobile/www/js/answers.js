/** The list of answers: the newest batch on top, and in it the files in the order given, so that nothing moves away. */

import { findRepeat } from "./repeats.js";
import { makeCard } from "./card.js";
import { $ } from "./words.js";

/** Answers of this page, oldest first. */
export class Answers {
  #list = $("answers");
  #section = $("answers-section"); // shown while there are answers
  #around;
  #answers = [];
  #before = null;

  /** Whether there are answers that no file holds yet. */
  unsaved = false;

  /** @param {() => {colours: number[][], enlarge: Function}} around - What cards need. */
  constructor(around) {
    this.#around = around;
  }

  get all() {
    return [...this.#answers];
  }

  /** What is added from now on stands above what is there. */
  beginBatch() {
    this.#before = this.#list.firstElementChild;
  }

  /**
   * @param {any} answer - As `makeCard` takes it, but for what is found out by comparison with earlier ones.
   * @returns {HTMLElement} Its card.
   */
  add(answer) {
    if (answer.result) Object.assign(answer, findRepeat(answer.result.print, this.#firstOnes()));
    answer.card = this.#cardOf(answer);
    this.#answers.push(answer);
    this.#section.hidden = false;
    this.#list.insertBefore(answer.card.element, this.#before?.parentNode ? this.#before : null);
    this.unsaved = true;
    return answer.card.element;
  }

  remove(answer) {
    answer.card.close();
    this.#answers = this.#answers.filter((one) => one !== answer);
    this.#section.hidden = !this.#answers.length;
    this.unsaved &&= this.#answers.length > 0;
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
  }

  #cardOf(answer) {
    return makeCard(answer, { ...this.#around(), remove: (one) => this.remove(one) });
  }

  /** What a new picture is compared with: the first file of each picture. */
  #firstOnes() {
    return this.#answers
      .filter(({ result, copy_of: copy }) => result && !copy)
      .map(({ file, result }) => ({ file, print: result.print }));
  }
}
