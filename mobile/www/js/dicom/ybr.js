const fround = Math.fround;
// PS3.3, C.7.6.3.1.2, from 8-bit brightness and colours around 128; in 32 bits as numpy computes it.
const [RED, BLUE] = [fround(1.402), fround(1.772)];
const [GREEN_OF_BLUE, GREEN_OF_RED] = [fround((-0.114 * 1.772) / 0.587), fround((-0.299 * 1.402) / 0.587)];

/**
 * @param {Uint8Array} values - YBR_FULL, (N, 3).
 * @returns {Uint8Array} RGB.
 */
export function toRgb(values) {
  if (!(values instanceof Uint8Array)) throw new Error("YBR of more than 8 bits");
  const out = new Uint8ClampedArray(values.length);
  const whole = (value) => Math.floor(fround(value + 0.5));
  for (let i = 0; i < out.length; i += 3) {
    const [y, b, r] = [values[i], values[i + 1] - 128, values[i + 2] - 128];
    out[i] = whole(fround(y + fround(RED * r)));
    out[i + 1] = whole(fround(fround(y + fround(GREEN_OF_BLUE * b)) + fround(GREEN_OF_RED * r)));
    out[i + 2] = whole(fround(y + fround(BLUE * b)));
  }
  return new Uint8Array(out.buffer);
}
