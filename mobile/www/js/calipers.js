/**
 * Caliper crosses, by the grey-level hit-or-miss transform of `sonoforge.runtime.images.calipers` (Naegel, Passat, Ronse, Pattern
 * Recognition 40(2), 2007).
 */

import constants from "./constants.js";

const { SHORTEST, LONGEST, MARGIN, CLEAR, FAINT, END, EVEN, ARMS_AGREE, INK_AGREES } = constants.calipers;
const [STRAIGHT, DIAGONAL] = constants.calipers.STEPS;

/** Return the boxes of the crosses, the clearest first. */
export function findCrosses(levels) {
  const padded = withMargin(levels);
  const { plus, cross } = candidates(padded);
  const found = [...measured(padded, plus, "+", STRAIGHT, DIAGONAL), ...measured(padded, cross, "x", DIAGONAL, STRAIGHT)];
  found.sort((one, other) => other.contrast * other.arm - one.contrast * one.arm);
  const kept = [];
  for (const one of found) {
    const apart = (other) => Math.max(Math.abs(one.x - other.x), Math.abs(one.y - other.y)) > Math.max(one.arm, other.arm);
    if (kept.every(apart)) kept.push(one);
  }
  return kept
    .filter((one) => one.contrast >= CLEAR || kept.some((other) => ofAKind(one, other)))
    .map(({ x, y, arm }) => [x - arm, y - arm, x + arm + 1, y + arm + 1]);
}

/** The edge is repeated outwards. */
function withMargin({ width, height, data }) {
  const across = width + 2 * MARGIN;
  const line = new Uint8Array(across * (height + 2 * MARGIN));
  for (let y = 0; y < height + 2 * MARGIN; y++) {
    const from = Math.min(Math.max(y - MARGIN, 0), height - 1) * width;
    const to = y * across;
    line.fill(data[from], to, to + MARGIN);
    line.set(data.subarray(from, from + width), to + MARGIN);
    line.fill(data[from + width - 1], to + MARGIN + width, to + across);
  }
  return { width: across, height: height + 2 * MARGIN, line };
}

/** The places where four neighbours and the centre outshine three of the other four neighbours. */
function candidates({ width, height, line }) {
  const plus = [];
  const cross = [];
  const down = SHORTEST * width;
  for (let y = MARGIN; y < height - MARGIN; y++) {
    for (let i = y * width + MARGIN, end = (y + 1) * width - MARGIN; i < end; i++) {
      const centre = line[i];
      const a = line[i - SHORTEST];
      const b = line[i + SHORTEST];
      const c = line[i - down];
      const d = line[i + down];
      const e = line[i - down - SHORTEST];
      const f = line[i - down + SHORTEST];
      const g = line[i + down - SHORTEST];
      const h = line[i + down + SHORTEST];
      if (outshine(a, b, c, d, centre, e, f, g, h)) plus.push(i);
      if (outshine(e, f, g, h, centre, a, b, c, d)) cross.push(i);
    }
  }
  return { plus, cross };
}

/** Whether five levels are brighter by `FAINT` than three of four others; most places fail one of the first two tests. */
function outshine(a, b, c, d, centre, e, f, g, h) {
  const limit = centre - FAINT;
  if ((e >= limit && f >= limit) || (g >= limit && h >= limit)) return false;
  return Math.min(a, b, c, d, centre) > secondLargest(e, f, g, h) + FAINT;
}

function secondLargest(a, b, c, d) {
  return Math.max(Math.min(Math.max(a, b), Math.max(c, d)), a < b ? a : b, c < d ? c : d);
}

/** Follow the arms from each place; keep what is a cross with ends. */
function measured({ width, line }, places, shape, armSteps, betweenSteps) {
  const crosses = [];
  for (const place of places) {
    const along = (steps) =>
      steps.map(([dy, dx]) => Array.from({ length: MARGIN + 1 }, (_, k) => line[place + k * (dy * width + dx)]));
    const arms = along(armSteps);
    const between = along(betweenSteps);
    const brightest = [0, 0, 0, 0]; // the stroke itself is up to three pixels wide
    let darkest = 255;
    let arm = 0;
    let ink = 0;
    let contrast = 0;
    for (let k = 0; k <= MARGIN; k++) {
      darkest = Math.min(darkest, arms[0][k], arms[1][k], arms[2][k], arms[3][k]);
      if (k < SHORTEST) continue;
      for (let side = 0; side < 4; side++) brightest[side] = Math.max(brightest[side], between[side][k]);
      const clear = darkest - secondLargest(...brightest);
      if (clear >= FAINT) [arm, ink, contrast] = [k, darkest, clear];
    }
    if (arm < SHORTEST || arm > LONGEST) continue;
    const ended = arms.filter((one) => ink - Math.min(one[arm + 1], one[arm + 2]) >= END).length >= 3;
    const strokes = arms.flatMap((one) => one.slice(1, arm + 1));
    if (ended && (contrast >= CLEAR || Math.max(...strokes) - Math.min(...strokes) <= EVEN)) {
      const y = Math.floor(place / width);
      crosses.push({ x: place - y * width - MARGIN, y: y - MARGIN, shape, arm, ink, contrast });
    }
  }
  return crosses;
}

/** Whether two crosses look alike; a measurement has two ends. */
function ofAKind(one, other) {
  return (
    one !== other &&
    one.shape === other.shape &&
    Math.abs(one.arm - other.arm) <= ARMS_AGREE &&
    Math.abs(one.ink - other.ink) <= INK_AGREES
  );
}
