/** The pages' words in the reader's language, from `words/LANGUAGE.json` (what one lacks is English), and their pieces. */

const LANGUAGES = { en: "English", hi: "हिन्दी", kk: "Қазақша" };

let words = {};
let english = {};

/** @param {string} language */
export async function loadWords(language) {
  const read = async (name) => (await fetch(new URL(`../words/${name}.json`, import.meta.url))).json();
  english = await read("en");
  words = language === "en" ? english : await read(language);
  document.documentElement.lang = language;
  for (const part of document.querySelectorAll("[data-word]")) part.textContent = say(part.dataset.word);
  for (const part of document.querySelectorAll("[data-label]")) part.setAttribute("aria-label", say(part.dataset.label));
  $("unreviewed").hidden = words.reviewed !== false; // whether a native speaker has checked the language
}

/**
 * Fill a list of the languages; the one chosen before, else the browser's, is chosen.
 *
 * @param {() => void} onChange - Called once the words of another language are there.
 */
export function offerLanguages(list, onChange) {
  const kept = localStorage.getItem("language");
  const preferred = kept ?? navigator.languages.map((tag) => tag.split("-")[0]).find((tag) => tag in LANGUAGES) ?? "en";
  list.append(...Object.entries(LANGUAGES).map(([code, name]) => element("option", name, { value: code, lang: code })));
  list.value = preferred in LANGUAGES ? preferred : "en";
  list.addEventListener("change", async () => {
    localStorage.setItem("language", list.value);
    await loadWords(list.value);
    onChange();
  });
}

/**
 * @param {Record<string, string | number>} [values] - For `{name}` in the text.
 * @param {string} [otherwise] - What to say where no language has the key.
 */
export function say(key, values = {}, otherwise = key) {
  const text = words[key] ?? english[key] ?? otherwise;
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/**
 * @param {string} name - A class of the bundle.
 * @returns {string} In the reader's language where it has a word for it, else as the bundle has it.
 */
export const className = (name) => say(`class ${name}`, {}, name);

/**
 * @param {string} name - A question of the bundle.
 * @returns {string} In the reader's language where it has words for it, else as the bundle has it.
 */
export const questionName = (name) => say(`question ${name}`, {}, name);

/**
 * @param {number} share - 0..1.
 * @returns {string} In whole percent; what is not quite 0 or 1 is not shown as that.
 */
export function percent(share) {
  const whole = Math.round(100 * share);
  if (whole === 0 && share > 0) return "< 1 %";
  if (whole === 100 && share < 1) return "> 99 %";
  return `${whole} %`;
}

/** @param {string} id */
export const $ = (id) => document.getElementById(id);

/**
 * @param {string} name - Of the tag.
 * @param {object} [properties] - Of the element, such as `className`.
 */
export const element = (name, text, properties = {}) =>
  Object.assign(document.createElement(name), { textContent: text, ...properties });

/* */
export const button = (text, onClick) => element("button", text, { type: "button", onclick: onClick });

/**
 * @param {[string, string | number][]} pairs - Terms and what is said of them.
 * @returns {HTMLElement[]} For a list of descriptions.
 */
export const terms = (pairs) => pairs.flatMap(([term, text]) => [element("dt", term), element("dd", String(text))]);
