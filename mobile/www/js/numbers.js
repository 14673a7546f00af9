/** @param {ArrayLike<number>} values */
export const sum = (values) => values.reduce((total, value) => total + value, 0);

/** @param {ArrayLike<number>} values */
export const mean = (values) => sum(values) / values.length;

/** @param {ArrayLike<number>} values */
export function variance(values) {
  const centre = mean(values);
  return mean(values.map((value) => (value - centre) ** 2));
}

/** @returns {number} The nearest whole number; of two, the even one, as in Python. */
export function toEven(value) {
  const down = Math.floor(value);
  const rest = value - down;
  return rest > 0.5 || (rest === 0.5 && down % 2) ? down + 1 : down;
}

export function median(values) {
  const ordered = Float64Array.from(values).sort();
  const middle = ordered.length >> 1;
  return ordered.length % 2 ? ordered[middle] : (ordered[middle - 1] + ordered[middle]) / 2;
}
