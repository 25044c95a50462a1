// Lays what was measured beside the reference: a strip for mean counts and one for left/right, and a table.

import { roundSteps } from "./colours.js";
import { element, make, makeRow, makeTable } from "./dom.js";

const LANES = 5; // dots of one value lie beside each other
const MEASURES = [
  { name: "mean_counts", title: "Mean counts (MC)", digits: 1, place: (value) => value },
  // Equal ratios are equal lengths: 0.8 is as far from 1 as 1.25.
  { name: "left_right_ratio", title: "Left/right ratio (LR)", digits: 3, place: Math.log },
];

/** Outermost quantiles of a reference as a range with its name, or null where it has too few. */
export function findBand(quantiles) {
  const known = Object.entries(quantiles ?? {}).map(([share, value]) => ({ share: Number(share), value }));
  known.sort((one, other) => one.share - other.share);
  if (known.length < 2) return null;
  const [low, high] = [known[0], known.at(-1)];
  const percent = (share) => Math.round(100 * share);
  return {
    low: low.value,
    high: high.value,
    median: quantiles["0.5"] ?? null,
    name: `${percent(low.share)}–${percent(high.share)} %`,
    pieces: known.slice(1).map(({ share, value }, at) => ({ low: known[at].value, high: value, mass: share - known[at].share })),
  };
}

export const isInside = (band, value) => band.low <= value && value <= band.high;

/** Say in words how many values lie in the reference's range. */
export function describeStrip(values, band, digits) {
  const words = (value) => value.toFixed(digits);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  if (band === null) return `Mean of these ${words(mean)}. The reference is too small to say where its slices lie.`;
  const inside = values.filter((value) => isInside(band, value)).length;
  const median = band.median === null ? "" : `; median ${words(band.median)}`;
  return `${inside} of ${values.length} inside the reference's ${band.name} range (${words(band.low)} to ${words(band.high)}${median}). Mean of these ${words(mean)}.`;
}

/** Draw both strips and the table of a batch. */
export function drawReference({ quantities, indices, condition, unit }) {
  const source = condition?.reference_source ?? "unknown";
  element("reference-heading").textContent = `Against the reference: ${source} scans`;
  const bands = MEASURES.map(({ name }) => findBand(condition?.reference_quantiles[name]));
  const range = bands[0] === null ? "" : `; the band is their ${bands[0].name} range, darker where more of them lie`;
  element("reference-line").textContent =
    `A dot is a slice shown. The reference has ${condition?.reference_slices ?? 0} ${source} slices of this condition${range}.`;
  const strips = MEASURES.map((measure, at) =>
    drawStrip(measure, quantities.map((one) => one[measure.name]), bands[at], at === 0 ? unit : ""));
  element("strips").replaceChildren(...strips);
  fillValues(buildValues(quantities, indices, bands, unit));
}

/** Say why there is no measure: nothing of other slices stays, and nothing goes that may have the focus. */
export function sayUnmeasured(words) {
  element("reference-line").textContent = words;
  element("strips").replaceChildren();
  fillValues(make("p", { class: "hint" }, words));
}

const fillValues = (content) => element("values").querySelector("div").replaceChildren(content);

function drawStrip({ title, digits, place }, values, band, unit) {
  const ends = [...values, ...(band ? [band.low, band.high] : [])].map(place);
  const margin = 0.06 * (Math.max(...ends) - Math.min(...ends)) || 0.05 * Math.abs(ends[0]) || 1;
  const [low, high] = [Math.min(...ends) - margin, Math.max(...ends) + margin];
  const percent = (value) => (100 * (place(value) - low)) / (high - low);
  const plot = make("div", { class: "plot", "aria-hidden": "true" });
  if (band) plot.append(...drawBand(band, percent));
  plot.append(...values.map((value, n) => drawDot(value, n, band, percent, digits)));
  const unplace = place === Math.log ? Math.exp : (value) => value;
  plot.append(...roundSteps(unplace(low), unplace(high), 4).map((text) => placed("span", "tick", percent(Number(text)), text)));
  const summary = make("p", { class: "hint" }, describeStrip(values, band, digits));
  return make("div", { class: "strip" }, make("h4", {}, unit ? `${title}, ${unit}` : title), plot, summary);
}

function drawBand(band, percent) {
  const density = ({ low, high, mass }) => mass / Math.max(percent(high) - percent(low), 0.01);
  const most = Math.max(...band.pieces.map(density));
  const pieces = band.pieces.map((piece) => {
    const drawn = placed("i", "band", percent(piece.low));
    drawn.style.width = `${percent(piece.high) - percent(piece.low)}%`;
    drawn.style.opacity = 0.25 + (0.75 * density(piece)) / most;
    return drawn;
  });
  return band.median === null ? pieces : [...pieces, placed("i", "median", percent(band.median))];
}

function drawDot(value, n, band, percent, digits) {
  const dot = placed("i", band && !isInside(band, value) ? "dot outside" : "dot", percent(value));
  dot.style.top = `${8 + (n % LANES) * 7}px`;
  dot.title = value.toFixed(digits);
  return dot;
}

function placed(tag, name, left, ...children) {
  const made = make(tag, { class: name }, ...children);
  made.style.left = `${left}%`;
  return made;
}

function buildValues(quantities, indices, bands, unit) {
  const words = (band, value) => (band === null ? "not known" : isInside(band, value) ? "inside" : "outside");
  const rows = quantities.map((one, n) => {
    const values = MEASURES.map(({ name }) => one[name]);
    return makeRow(`${indices[n]}`, ...values.flatMap((value, at) => [value.toFixed(MEASURES[at].digits), words(bands[at], value)]));
  });
  const range = (band) => (band === null ? "range" : band.name);
  return makeTable(
    "What was measured of each slice shown, and whether it lies inside that range of the reference",
    ["Slice", `MC, ${unit}`, range(bands[0]), "LR", range(bands[1])],
    rows,
  );
}
