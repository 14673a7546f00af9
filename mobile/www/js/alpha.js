/** `value` seen through `alpha` on black, both 0..255, rounded as Pillow rounds. */
export function onBlack(value, alpha) {
  const t = value * alpha + 128;
  return (t + (t >> 8)) >> 8;
}
