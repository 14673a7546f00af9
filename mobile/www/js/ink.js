/** Groups of ink, as `sonoforge.runtime.images.lettering` joins them. */

import constants from "./constants.js";
import { connectedParts } from "./grey.js";
import { mean, sum, toEven } from "./numbers.js";

const {
  CELL, FEWEST, FEWEST_STEPS, STRAIGHT, SHORTEST_LINE, COVERED, ROUND, SPANS_WIDTH, SPANS_HEIGHT, MOST_INK,
} = constants.lettering;

/** @typedef {{row: number, column: number}} Step - A pixel of ink, or the left one of a sharp step. */
/** @typedef {{kind: string, box: import("./grey.js").Box}} Drawn */

/** Join the steps of cells that touch, or lie one cell apart in a row. */
export function join(steps, { width, height }) {
  const across = Math.ceil(width / CELL);
  const down = Math.ceil(height / CELL);
  const cellOf = ({ row, column }) => Math.floor(row / CELL) * across + Math.floor(column / CELL);
  const counts = new Uint32Array(across * down);
  for (const step of steps) counts[cellOf(step)] += 1;
  // Neighbours in a row are joined over one empty cell; rows by cells that touch.
  const wide = new Uint8Array(counts.length);
  for (let cell = 0; cell < counts.length; cell++) {
    if (counts[cell] < FEWEST) continue;
    const column = cell % across;
    wide[cell] = 1;
    if (column > 0) wide[cell - 1] = 1;
    if (column < across - 1) wide[cell + 1] = 1;
  }
  const partOf = new Uint32Array(wide.length);
  const members = connectedParts(wide, across).map((cells, number) => {
    for (const cell of cells) partOf[cell] = number;
    return [];
  });
  for (const step of steps) {
    const cell = cellOf(step);
    if (counts[cell] >= FEWEST) members[partOf[cell]].push(step);
  }
  return members.filter((part) => part.length >= FEWEST_STEPS);
}

/** @param {number} wide - Pixels that a step covers. */
export function boxOf(steps, wide) {
  let [left, top, right, bottom] = [Infinity, Infinity, -1, -1];
  for (const { row, column } of steps) {
    left = Math.min(left, column);
    top = Math.min(top, row);
    right = Math.max(right, column);
    bottom = Math.max(bottom, row);
  }
  return [left, top, right + wide, bottom + 1];
}

/** Whether connected thin strokes span the box of the steps. */
export function isOneDrawing({ width, height, data }, steps, [left, top, right, bottom]) {
  const twice = steps.map(({ row, column }) => data[row * width + column] + data[row * width + column + 1]);
  const middle = twice.sort((a, b) => a - b)[steps.length >> 1] / 2;
  const [x, y] = [Math.max(left - ROUND, 0), Math.max(top - ROUND, 0)];
  const across = Math.min(right + ROUND, width) - x;
  const ink = new Uint8Array(across * (Math.min(bottom + ROUND, height) - y)).map((_, i) =>
    Number(data[(y + Math.floor(i / across)) * width + x + (i % across)] >= middle),
  );
  if (sum(ink) > MOST_INK * (right - left) * (bottom - top)) return false;
  // A pixel further down, so that strokes hang together across corners and gaps of one row.
  const joined = ink.map((on, i) => on || Number(i >= across && ink[i - across]));
  return connectedParts(joined, across).some((part) => {
    const columns = part.map((i) => i % across);
    const rows = part.map((i) => Math.floor(i / across));
    const span = (places) => Math.max(...places) - Math.min(...places);
    return span(columns) >= SPANS_WIDTH * (right - left) && span(rows) >= SPANS_HEIGHT * (bottom - top);
  });
}

/** Whether the steps lie on one straight line, long enough and with gaps. */
export function isDotted(steps) {
  const [x, y] = [mean(steps.map(({ column }) => column)), mean(steps.map(({ row }) => row))];
  const points = steps.map(({ row, column }) => [column - x, row - y]);
  const [xx, xy, yy] = points.reduce(([a, b, c], [u, v]) => [a + u * u, b + u * v, c + v * v], [0, 0, 0]);
  const angle = xy === 0 ? (xx >= yy ? 0 : Math.PI / 2) : Math.atan2(2 * xy, xx - yy) / 2;
  const [u, v] = angle === Math.PI / 2 ? [0, 1] : [Math.cos(angle), Math.sin(angle)];
  const along = points.map(([a, b]) => a * u + b * v);
  const beside = points.map(([a, b]) => Math.abs(b * u - a * v)).sort((a, b) => a - b);
  const length = Math.max(...along) - Math.min(...along);
  const covered = new Set(along.map(toEven)).size / (length + 1);
  const off = beside[Math.floor((beside.length * 9) / 10)];
  return length >= SHORTEST_LINE && off <= STRAIGHT && covered <= COVERED;
}
