import { element } from "./words.js";

/** The little Markdown that model cards are written in: headings, paragraphs, lists, tables, bold, code. */

/** @returns {DocumentFragment} Made of elements and text alone: nothing in the text is taken for HTML. */
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
  rows.forEach((cells, i) => {
    const row = made.insertRow();
    row.append(...cells.map((cell) => withInline(i ? "td" : "th", cell.trim())));
  });
  return made;
}

/** `**bold**` and `` `code` `` inside a text. */
function withInline(name, text) {
  const made = element(name, "");
  for (const part of text.split(/(\*\*[^*]+\*\*|`[^`]+`)/)) {
    const inline = /^(\*\*|`)(.+)\1$/.exec(part);
    made.append(inline ? element(inline[1] === "`" ? "code" : "strong", inline[2]) : part);
  }
  return made;
}
