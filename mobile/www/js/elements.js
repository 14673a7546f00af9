/** Pieces of the pages. */

/**
 * @param {string} name - Of the tag.
 * @param {string} text
 * @returns {HTMLElement}
 */
export function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

/**
 * @param {[string, string | number][]} pairs - Terms and what is said of them.
 * @returns {HTMLElement[]} For a list of descriptions.
 */
export const terms = (pairs) => pairs.flatMap(([term, text]) => [element("dt", term), element("dd", String(text))]);
