/** How far a clip moves from one frame to the next; method and source: `sonoforge.runtime.images.frame_motion`. */

import constants from "./constants.js";
import { greyLevels } from "./grey.js";
import { mean, median, toEven, variance } from "./numbers.js";
import { resized } from "./preprocess.js";

const {
  ADVICE, CHANGED_LEVELS, CHANGED_SHARE, CLIP, FASTEST, FOUND, MOST_TILES_ALONG, PEAK, SIDE, TEXTURED, TILE,
} = constants.frame_motion;

const CELLS = TILE * TILE;
const hann = Float32Array.from({ length: TILE }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / (TILE - 1)));
const frequency = (i) => (i < TILE / 2 ? i : i - TILE) / TILE;
const smoothing = Float32Array.from({ length: CELLS }, (_, i) => {
  const squares = frequency(Math.floor(i / TILE)) ** 2 + frequency(i % TILE) ** 2;
  return Math.exp(-2 * (Math.PI * PEAK) ** 2 * squares);
});
const highest = smoothing.reduce((sum, value) => sum + value, 0) / CELLS;

/** Takes the frames of a clip one by one; keeps one small view and a number for each. */
export class MotionMeter {
  #before = null;
  #moves = [];
  #still = 0;

  /** @param {import("./samples.js").Raster} frame */
  add(frame) {
    const view = viewOfFrame(frame);
    if (this.#before) {
      const still = areSame(view, this.#before);
      if (still) this.#still += 1;
      this.#moves.push(still ? 0 : shiftBetween(this.#before, view));
    }
    this.#before = view;
  }

  /** @returns {any} `motion` of Python's answers. */
  motion() {
    const known = this.#moves.filter((move) => move !== null);
    const found = {
      per_frame: known.length ? median(known) : null,
      pairs: this.#moves.length,
      followed: known.length,
      still: this.#still,
    };
    const flags = flagsOf(found);
    return { ...found, unit: CLIP.motion.unit, limit: FASTEST, flags, advice: flags.map((flag) => ADVICE[flag]) };
  }
}

function flagsOf({ per_frame: moved, pairs, followed, still }) {
  if (pairs && still === pairs) return ["frozen"];
  if (2 * followed < pairs) return ["motion_lost"];
  return moved !== null && moved > FASTEST ? ["motion_high"] : [];
}

/** The middle of a frame in grey, its shorter side of 192 pixels. */
function viewOfFrame(frame) {
  const { width, height } = frame;
  const scale = SIDE / Math.min(width, height);
  const most = MOST_TILES_ALONG * TILE;
  const [wide, high] = [width, height].map((side) => Math.min(most, toEven(side * scale)));
  const left = (width - wide / scale) / 2;
  const top = (height - high / scale) / 2;
  const box = [
    Math.max(0, left),
    Math.max(0, top),
    Math.min(width, left + wide / scale),
    Math.min(height, top + high / scale),
  ];
  return { width: wide, height: high, data: resized(greyLevels(frame), wide, high, "bilinear", box) };
}

function areSame(one, other) {
  if (one.width !== other.width || one.height !== other.height) return false;
  const changed = one.data.reduce((count, value, i) => count + (Math.abs(value - other.data[i]) > CHANGED_LEVELS ? 1 : 0), 0);
  return changed / one.data.length <= CHANGED_SHARE;
}

/** The median length of the tiles' shifts, in per cent of the shorter side; null where too few are found again. */
function shiftBetween(before, after) {
  if (before.width !== after.width || before.height !== after.height) return null;
  const second = tiles(after);
  const pairs = tiles(before)
    .map((tile, i) => [tile, second[i]])
    .filter((pair) => pair.every((tile) => tile.deviation >= TEXTURED));
  if (!pairs.length) return null;
  const lengths = pairs.map(([one, other]) => shiftOf(one, other)).filter((length) => length !== null);
  return 2 * lengths.length >= pairs.length ? (100 * median(lengths)) / SIDE : null;
}

/** How far one tile lies from where it lay, by the peak of the inverse of the cross-power spectrum. */
function shiftOf(first, second) {
  const [one, other] = [spectrum(first), spectrum(second)];
  const re = new Float64Array(CELLS);
  const im = new Float64Array(CELLS);
  for (let i = 0; i < CELLS; i++) {
    const real = other.re[i] * one.re[i] + other.im[i] * one.im[i];
    const imaginary = other.im[i] * one.re[i] - other.re[i] * one.im[i];
    const weight = smoothing[i] / Math.max(Math.hypot(real, imaginary), 1e-6);
    re[i] = real * weight;
    im[i] = -imaginary * weight; // the conjugate, so that the transform is the inverse one
  }
  transformed(re, im, TILE);
  const surface = re.map((value) => value / CELLS);
  const cell = surface.indexOf(Math.max(...surface));
  if (surface[cell] < FOUND * highest) return null;
  const [row, column] = [Math.floor(cell / TILE), cell % TILE];
  const down = place(row, (i) => surface[i * TILE + column]);
  const across = place(column, (i) => surface[row * TILE + i]);
  return Math.hypot(down, across);
}

function spectrum({ values, centre }) {
  const re = Float64Array.from(values, (value, i) => (value - centre) * hann[Math.floor(i / TILE)] * hann[i % TILE]);
  const im = new Float64Array(CELLS);
  transformed(re, im, TILE);
  return { re, im };
}

/** The signed place of a Gaussian's peak on a circle of cells, from its highest cell and both beside it. */
function place(index, at) {
  const [before, own, after] = [index - 1, index, index + 1].map((i) => Math.log(Math.max(at((i + TILE) % TILE), 1e-9)));
  const curve = before - 2 * own + after;
  const between = curve < 0 ? (before - after) / (2 * curve) : 0;
  const circled = (index + between + TILE / 2) % TILE;
  return (circled < 0 ? circled + TILE : circled) - TILE / 2;
}

/** The whole tiles of a view, from the upper left, with mean and standard deviation. */
function tiles({ width, height, data }) {
  const found = [];
  for (let top = 0; top + TILE <= height; top += TILE) {
    for (let left = 0; left + TILE <= width; left += TILE) {
      const values = Float64Array.from({ length: CELLS }, (_, i) => data[(top + Math.floor(i / TILE)) * width + left + (i % TILE)]);
      found.push({ values, centre: mean(values), deviation: Math.sqrt(variance(values)) });
    }
  }
  return found;
}

/** Transform a square of complex numbers in place, of a side that is a power of 2: rows, then columns (Cooley, Tukey). */
function transformed(re, im, side) {
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
