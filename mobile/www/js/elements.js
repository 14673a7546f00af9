/** Pieces of the pages. */

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
