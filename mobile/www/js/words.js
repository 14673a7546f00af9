/** The page's words in the reader's language, from `words/LANGUAGE.json`; what a language lacks is English. */

const LANGUAGES = { en: "English", hi: "हिन्दी", kk: "Қазақша" };

let words = {};
let english = {};

/** @param {string} language */
export async function loadWords(language) {
  const read = async (name) => (await fetch(new URL(`../words/${name}.json`, import.meta.url))).json();
  english = await read("en");
  words = language === "en" ? english : await read(language);
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = say(element.dataset.word);
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", say(element.dataset.label));
  }
}

/**
 * Fill a list of the languages; the one chosen before, else the browser's, is chosen.
 *
 * @param {HTMLSelectElement} list
 * @param {() => void} onChange - Called once the words of another language are there.
 */
export function offerLanguages(list, onChange) {
  const kept = localStorage.getItem("language");
  const preferred = kept ?? navigator.languages.map((tag) => tag.split("-")[0]).find((tag) => tag in LANGUAGES) ?? "en";
  for (const [code, name] of Object.entries(LANGUAGES)) {
    const choice = document.createElement("option");
    Object.assign(choice, { value: code, lang: code, textContent: name });
    list.append(choice);
  }
  list.value = preferred in LANGUAGES ? preferred : "en";
  list.addEventListener("change", async () => {
    localStorage.setItem("language", list.value);
    await loadWords(list.value);
    onChange();
  });
}

/** Whether a native speaker has checked the language that is shown. */
export const reviewed = () => words.reviewed !== false;

/**
 * @param {string} key
 * @param {Record<string, string | number>} [values] - For `{name}` in the text.
 * @param {string} [otherwise] - What to say where no language has the key.
 * @returns {string}
 */
export function say(key, values = {}, otherwise = key) {
  const text = words[key] ?? english[key] ?? otherwise;
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/**
 * @param {string} name - A class of the bundle.
 * @returns {string} In the reader's language where it has a word for it, else as the bundle has it.
 */
export function className(name) {
  const key = `class ${name}`;
  return words[key] ?? english[key] ?? name;
}

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
