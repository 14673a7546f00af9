/**
 * Kernel Inception distance of two whole sets of features, as `sonoforge.runtime.distances.fid_kid.kernel_distance` defines it
 * (Binkowski et al., Demystifying MMD GANs, ICLR 2018).
 */

import { sum, variance } from "./numbers.js";

export const LEAST = 3;

/** Return the unbiased distance of (N, D) and (M, D), N and M at least 3, and its standard error by the jackknife. */
export function kernelDistance(drawn, real, size) {
  const n = drawn.length / size;
  const m = real.length / size;
  if (Math.min(n, m) < LEAST) throw new Error(`KID: found ${n} and ${m} images, expected at least ${LEAST} of each`);
  if (![drawn, real].every((rows) => rows.every(Number.isFinite))) throw new Error("KID: found a feature that is not finite");
  const drawnToDrawn = withinSums(drawn, n, size);
  const realToReal = withinSums(real, m, size);
  const { rows: drawnToReal, columns: realToDrawn } = betweenSums(drawn, real, size);
  const [a, b, c] = [drawnToDrawn, realToReal, drawnToReal].map(sum);
  const value = estimate(a, b, c, n, m);
  // Without image i the sums lose its row, and within its own set its column, which is equal.
  const withoutDrawn = drawnToDrawn.map((sum, i) => estimate(a - 2 * sum, b, c - drawnToReal[i], n - 1, m));
  const withoutReal = realToReal.map((sum, i) => estimate(a, b - 2 * sum, c - realToDrawn[i], n, m - 1));
  return { value, standardError: Math.sqrt((n - 1) * variance(withoutDrawn) + (m - 1) * variance(withoutReal)) };
}

/** Equation 4 of the paper, from sums of the kernel over pairs of different images. */
function estimate(drawnToDrawn, realToReal, drawnToReal, n, m) {
  return drawnToDrawn / (n * (n - 1)) + realToReal / (m * (m - 1)) - (2 * drawnToReal) / (n * m);
}

/** k(x, y) = (x.y / D + 1)^3, section 4 of the paper. */
function kernel(first, i, second, k, size) {
  let sum = 0;
  for (let from = i * size, to = k * size, end = from + size; from < end; from++, to++) sum += first[from] * second[to];
  return (sum / size + 1) ** 3;
}

/** (N,): sums of the kernel with the other images of the same set. */
function withinSums(rows, count, size) {
  const sums = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    for (let k = 0; k < i; k++) {
      const value = kernel(rows, i, rows, k, size);
      sums[i] += value;
      sums[k] += value;
    }
  }
  return sums;
}

function betweenSums(first, second, size) {
  const rows = new Float64Array(first.length / size);
  const columns = new Float64Array(second.length / size);
  for (let i = 0; i < rows.length; i++) {
    for (let k = 0; k < columns.length; k++) {
      const value = kernel(first, i, second, k, size);
      rows[i] += value;
      columns[k] += value;
    }
  }
  return { rows, columns };
}
