/** The page's words in the reader's language, from `words/LANGUAGE.json` (English where one lacks a word), and small elements. */

const LANGUAGES = { en: "English", hi: "हिन्दी", kk: "Қазақша" };

let words = {};
let english = {};

export async function loadWords(language) {
  const read = async (name) => (await fetch(new URL(`../words/${name}.json`, import.meta.url))).json();
  english = await read("en");
  words = language === "en" ? english : await read(language);
  document.documentElement.lang = language;
  for (const part of document.querySelectorAll("[data-word]")) part.textContent = say(part.dataset.word);
  for (const part of document.querySelectorAll("[data-label]")) part.setAttribute("aria-label", say(part.dataset.label));
  $("unreviewed").hidden = words.reviewed !== false; // whether a native speaker has checked the language
}

/** Recall the last language used, or keep this one; a browser that blocks cookies refuses both. */
function lastLanguage(chosen) {
  try {
    if (chosen) localStorage.setItem("language", chosen);
    return localStorage.getItem("language");
  } catch {
    return null;
  }
}

/** Fill a list of languages and choose the last one used, else the browser's; `onChange` follows once new words are loaded. */
export function offerLanguages(list, onChange) {
  const preferred = lastLanguage() ?? navigator.languages.map((tag) => tag.split("-")[0]).find((tag) => tag in LANGUAGES) ?? "en";
  list.append(...Object.entries(LANGUAGES).map(([code, name]) => element("option", name, { value: code, lang: code })));
  list.value = preferred in LANGUAGES ? preferred : "en";
  list.addEventListener("change", async () => {
    lastLanguage(list.value);
    await loadWords(list.value);
    onChange();
  });
}

/** Return a text with `{name}` replaced by values; `otherwise` if no language has the key. */
export function say(key, values = {}, otherwise = key) {
  const text = words[key] ?? english[key] ?? otherwise;
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** A class or a question of the bundle in the reader's language, if it has words for it. */
export const className = (name) => say(`class ${name}`, {}, name);
export const questionName = (name) => say(`question ${name}`, {}, name);

export const listedClasses = (names) => names.map(className).join(` ${say("or")} `);
export const capital = (text) => text.charAt(0).toLocaleUpperCase() + text.slice(1);

/** A share (0..1) in whole percent, never rounded to 0 or 100. */
export function percent(share) {
  const whole = Math.round(100 * share);
  if (whole === 0 && share > 0) return "< 1\u00a0%";
  if (whole === 100 && share < 1) return "> 99\u00a0%";
  return `${whole}\u00a0%`;
}

export const $ = (id) => document.getElementById(id);

export const element = (name, text, properties = {}) =>
  Object.assign(document.createElement(name), { textContent: text, ...properties });

export const button = (text, onClick) => element("button", text, { type: "button", onclick: onClick });

/** Terms and descriptions as elements for a `<dl>`. */
export const terms = (pairs) => pairs.flatMap(([term, text]) => [element("dt", term), element("dd", String(text))]);

/** Render the Markdown of model cards, of elements and text alone: headings, paragraphs, lists, tables, bold, code. */
export function rendered(text) {
  const page = document.createDocumentFragment();
  for (const block of text.trim().split(/\n{2,}/)) {
    const lines = block.split("\n");
    const heading = /^(#+) (.*)$/.exec(lines[0]);
    // The card stands in a dialog that has a heading of the second level.
    if (heading) page.append(withInline(`h${Math.min(6, heading[1].length + 2)}`, heading[2]));
    const rest = heading ? lines.slice(1) : lines;
    if (!rest.length) continue;
    if (rest.every((line) => line.startsWith("|"))) page.append(table(rest));
    else if (rest[0].startsWith("- ")) page.append(list(rest));
    else page.append(withInline("p", rest.join(" ")));
  }
  return page;
}

function list(lines) {
  const made = element("ul", "");
  const items = lines.join("\n").slice(2).split("\n- ");
  made.append(...items.map((item) => withInline("li", item.replaceAll("\n", " "))));
  return made;
}

function table(lines) {
  const made = element("table", "");
  const rows = lines.filter((line) => !/^[|\s:-]+$/.test(line)).map((line) => line.replace(/^\||\|$/g, "").split("|"));
  rows.forEach((cells, i) => made.insertRow().append(...cells.map((cell) => withInline(i ? "td" : "th", cell.trim()))));
  return made;
}

function withInline(name, text) {
  const made = element(name, "");
  for (const part of text.split(/(\*\*[^*]+\*\*|`[^`]+`)/)) {
    const inline = /^(\*\*|`)(.+)\1$/.exec(part);
    made.append(inline ? element(inline[1] === "`" ? "code" : "strong", inline[2]) : part);
  }
  return made;
}
