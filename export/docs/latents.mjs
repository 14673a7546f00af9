export async function latent(seed, index, size, distribution, limit = Infinity) {
  const draw = async (end) => {
    const numbers = [];
    for (let block = 0; numbers.length < size + (size % 2); block++) {
      const text = new TextEncoder().encode(`${seed}/${index}/${block}${end}`);
      const view = new DataView(await crypto.subtle.digest("SHA-256", text));
      for (let at = 0; at < 32; at += 4) numbers.push((view.getUint32(at) + 0.5) / 2 ** 32);
    }
    if (distribution === "uniform") return numbers.slice(0, size).map((u) => 2 * u - 1);
    const normal = [];
    for (let at = 0; at < size; at += 2) {
      const radius = Math.sqrt(-2 * Math.log(numbers[at])), angle = 2 * Math.PI * numbers[at + 1];
      normal.push(radius * Math.cos(angle), radius * Math.sin(angle));
    }
    return normal.slice(0, size);
  };
  let values = await draw("");
  for (let round = 1; values.some((value) => Math.abs(value) > limit); round++) {
    const again = await draw(`/${round}`);
    values = values.map((value, place) => (Math.abs(value) > limit ? again[place] : value));
  }
  return Float32Array.from(values);
}
