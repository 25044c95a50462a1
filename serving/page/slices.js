// Draws slices with their colour bar and their captions.

import { paint, roundSteps, roundUp } from "./colours.js";
import { element, make } from "./dom.js";

function describeOrder({ level, pattern, seed, start, count }) {
  const which = count === 1 ? `slice ${start}` : `slices ${start} to ${start + count - 1}`;
  return `${level} ${pattern}, seed ${seed}, ${which}`;
}

/** Draw a batch: `arrays` of its npz, `order` that it answers, `unit` of its counts, `colours` a map's name. */
export function drawSlices({ arrays, order, unit, colours }) {
  const [, rows, columns] = arrays.counts.shape;
  const counts = arrays.counts.values;
  const top = roundUp(counts.reduce((most, value) => Math.max(most, value), 0));
  drawScale({ top, unit, colours });
  const figures = Array.from(arrays.index.values, (index, n) => {
    const canvas = make("canvas", { role: "img", "aria-label": `Synthetic slice ${index} of ${order.level} ${order.pattern}, seed ${order.seed}` });
    const values = counts.subarray(n * rows * columns, (n + 1) * rows * columns);
    paint(canvas, values, { rows, columns, top, colours });
    return make("figure", {}, make("div", { class: "image" }, canvas), make("figcaption", {}, make("b", {}, `${index}`)));
  });
  element("slices").replaceChildren(...figures);
  element("slices-heading").textContent = describeOrder(order);
}

function drawScale({ top, unit, colours }) {
  const canvas = element("scale");
  paint(canvas, Array.from({ length: 256 }, (_, i) => i), { rows: 1, columns: 256, top: 255, colours });
  canvas.setAttribute("aria-label", `Colour bar from 0 to ${top} ${unit}`);
  element("scale-unit").textContent = unit;
  const ticks = roundSteps(0, top, 5).map((text) => {
    const tick = make("span", {}, text);
    tick.style.left = `${(100 * text) / top}%`;
    return tick;
  });
  element("scale-ticks").replaceChildren(...ticks);
}

/** Write what was measured below each slice, and into its description. */
export function captionSlices(quantities, unit) {
  const figures = element("slices").children;
  quantities.forEach(({ mean_counts: mean, left_right_ratio: ratio }, n) => {
    const canvas = figures[n].querySelector("canvas");
    const words = `MC ${mean.toFixed(1)} ${unit}, LR ${ratio.toFixed(3)}`;
    canvas.setAttribute("aria-label", `${canvas.getAttribute("aria-label")}: ${words}`);
    const values = [make("span", {}, `MC ${mean.toFixed(1)}`), make("span", {}, `LR ${ratio.toFixed(3)}`)];
    figures[n].querySelector("figcaption").append(...values);
  });
}
