/**
 * Transform a square of complex numbers in place: Cooley and Tukey's algorithm along its rows, then its columns.
 *
 * @param {Float64Array} re - (side, side).
 * @param {Float64Array} im - The same shape.
 * @param {number} side - A power of 2.
 */
export function transformed(re, im, side) {
  for (let i = 0; i < side; i++) alongLine(re, im, i * side, 1, side);
  for (let i = 0; i < side; i++) alongLine(re, im, i, side, side);
}

function alongLine(re, im, start, step, length) {
  const at = (i) => start + i * step;
  for (let i = 1, j = 0; i < length; i++) {
    let bit = length >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[at(i)], re[at(j)]] = [re[at(j)], re[at(i)]];
      [im[at(i)], im[at(j)]] = [im[at(j)], im[at(i)]];
    }
  }
  for (let size = 2; size <= length; size *= 2) {
    const half = size / 2;
    for (let k = 0; k < half; k++) {
      const angle = (-2 * Math.PI * k) / size;
      const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
      for (let i = k; i < length; i += size) {
        const [one, other] = [at(i), at(i + half)];
        const real = re[other] * cos - im[other] * sin;
        const imaginary = re[other] * sin + im[other] * cos;
        re[other] = re[one] - real;
        im[other] = im[one] - imaginary;
        re[one] += real;
        im[one] += imaginary;
      }
    }
  }
}
