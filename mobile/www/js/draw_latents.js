/**
 * Latents of image number i of a seed: the recipe `sha256-box-muller-1` of `sonoforge.runtime.inference.latents`.
 *
 * @param {number | bigint} seed - At least 0.
 * @param {number} index - Number of the image.
 * @param {number} size - Length Z.
 * @param {"normal" | "uniform"} distribution
 * @returns {Promise<Float32Array>} (Z,).
 */
export async function drawLatent(seed, index, size, distribution) {
  const numbers = [];
  for (let block = 0; numbers.length < size + (size % 2); block++) {
    const text = new TextEncoder().encode(`${seed}/${index}/${block}`);
    const view = new DataView(await crypto.subtle.digest("SHA-256", text));
    for (let at = 0; at < 32; at += 4) numbers.push((view.getUint32(at) + 0.5) / 2 ** 32);
  }
  if (distribution === "uniform") return Float32Array.from(numbers.slice(0, size), (u) => 2 * u - 1);
  const normal = [];
  for (let at = 0; at < size; at += 2) {
    const radius = Math.sqrt(-2 * Math.log(numbers[at]));
    const angle = 2 * Math.PI * numbers[at + 1];
    normal.push(radius * Math.cos(angle), radius * Math.sin(angle));
  }
  return Float32Array.from(normal.slice(0, size));
}
