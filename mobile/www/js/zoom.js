/** The enlarged scan: by buttons, by + and - and 0, by two fingers, by the wheel with Ctrl; arrow keys move it. */

import { drawHeatMap } from "./activation_map.js";
import { $ } from "./words.js";

const LEAST = 0.1;
const MOST = 8;

let scale = 1;
let draw = () => {};

/** Open the enlarged scan with its heat map at an opacity of 0..100. */
export function openZoom({ picture, evidence, colours, title }, opacity) {
  $("zoom-heat").value = opacity;
  draw = () => drawHeatMap($("zoom-canvas"), picture, evidence, colours, $("zoom-heat").value / 100);
  draw();
  $("zoom-title").textContent = title;
  $("zoom").addEventListener("close", () => close(picture), { once: true });
  $("zoom").showModal();
  fit();
}

function close(picture) {
  picture.close();
  draw = () => {};
  $("zoom-canvas").width = $("zoom-canvas").height = 0;
}

const fit = () => zoomTo(Math.min(1, $("stage").clientWidth / $("zoom-canvas").width));

/** Zoom so that the place at (x, y) of the stage stays where it is. */
function zoomTo(value, x = $("stage").clientWidth / 2, y = $("stage").clientHeight / 2) {
  const before = scale;
  scale = Math.min(MOST, Math.max(LEAST, value));
  const stage = $("stage");
  const [left, top] = [stage.scrollLeft + x, stage.scrollTop + y];
  $("zoom-canvas").style.width = `${Math.round(scale * $("zoom-canvas").width)}px`;
  stage.scrollTo(left * (scale / before) - x, top * (scale / before) - y);
}

const apart = ([one, other]) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);

/** Connect the dialog's controls, once. */
export function connectZoom() {
  const stage = $("stage");
  let pinch = null;
  $("zoom-in").addEventListener("click", () => zoomTo(scale * 1.4));
  $("zoom-out").addEventListener("click", () => zoomTo(scale / 1.4));
  $("zoom-heat").addEventListener("input", () => draw());
  $("zoom").addEventListener("keydown", (event) => {
    if (event.key === "+" || event.key === "=") zoomTo(scale * 1.4);
    if (event.key === "-") zoomTo(scale / 1.4);
    if (event.key === "0") fit();
  });
  stage.addEventListener("touchstart", ({ touches }) => {
    pinch = touches.length === 2 ? { distance: apart(touches), scale } : null;
  }, { passive: true });
  stage.addEventListener("touchmove", (event) => {
    if (!pinch || event.touches.length !== 2) return;
    event.preventDefault(); // the page itself stays as it is
    const { left, top } = stage.getBoundingClientRect();
    const [one, other] = event.touches;
    const [x, y] = [(one.clientX + other.clientX) / 2 - left, (one.clientY + other.clientY) / 2 - top];
    zoomTo((pinch.scale * apart(event.touches)) / pinch.distance, x, y);
  }, { passive: false });
  stage.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return; // also what a touchpad's two fingers send
    event.preventDefault();
    const { left, top } = stage.getBoundingClientRect();
    zoomTo(scale * Math.exp(-event.deltaY / 200), event.clientX - left, event.clientY - top);
  }, { passive: false });
}
