// The drift board: what the last complete window of each condition was judged, and how far the next one is.

import { element, make, makeRow, makeTable } from "./dom.js";
import { askJson } from "./service.js";

const WORDS = {
  ok: "✓ ok",
  drift: "▲ drift",
  not_enough_data: "… not enough data",
  not_comparable: "≠ not comparable",
};
const boards = new Map(); // condition -> its details element: it stays open or closed while its content changes
let shown = "";

/** The mark of a verdict; one that this page does not know looks like none of the others. */
export function describeVerdict(verdict) {
  return { name: verdict in WORDS ? verdict : "unknown", words: WORDS[verdict] ?? `? ${verdict}` };
}

function makeVerdict(verdict) {
  const { name, words } = describeVerdict(verdict);
  return make("span", { class: `verdict ${name}` }, words);
}

/** Ask once and show it. */
export async function showDrift() {
  const report = await askJson("/v1/drift");
  const text = JSON.stringify(report);
  if (text === shown) return; // nothing new: leave what is being read alone
  shown = text;
  const sampled = report.sample_every === 1 ? "every slice served" : `one slice in ${report.sample_every} served`;
  element("drift-verdict").replaceChildren(makeVerdict(report.verdict));
  element("drift-line").textContent =
    `Windows of ${report.window_slices} slices; ${sampled} is measured. Shift: against the model's own output at release. ` +
    `Distance: against the ${report.reference_source} reference.`;
  element("drift-problem").textContent = report.problem ?? "";
  element("drift-problem").hidden = !report.problem;
  element("drift").replaceChildren(...report.conditions.map((one) => showCondition(one, report.window_slices)));
}

export function forgetDrift(reason) {
  shown = "";
  element("drift-verdict").replaceChildren();
  element("drift-line").textContent = `Not known: ${reason}`;
  element("drift").replaceChildren();
}

function showCondition(condition, windowSlices) {
  const name = `${condition.level} ${condition.pattern}`;
  if (!boards.has(name)) boards.set(name, make("details", {}, make("summary"), make("div")));
  const board = boards.get(name);
  const gathered = `${condition.gathered} of ${windowSlices} toward the next window`;
  board.firstElementChild.replaceChildren(make("b", {}, name), makeVerdict(condition.verdict), make("small", {}, gathered));
  board.lastElementChild.replaceChildren(...describeWindow(condition.window, name));
  return board;
}

function describeWindow(window, name) {
  if (window === null) return [make("p", { class: "hint" }, "No window is complete yet; nothing was judged.")];
  const when = `Window ${window.number}: ${window.slices} slices, complete at ${window.completed_at}.`;
  const rows = window.judgements.map((one) =>
    makeRow(one.feature.replaceAll("_", " "), makeVerdict(one.verdict), one.test, words(one.score), words(one.threshold), describeEffect(one)));
  const headings = ["Feature", "Verdict", "Test", "Score", "Threshold", "Effect"];
  const scroll = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Judgements of ${name}` });
  scroll.append(makeTable(`${name}, feature by feature`, headings, rows));
  return [make("p", { class: "hint" }, when), scroll];
}

const words = (value) => (value === undefined || value === null ? "–" : `${Number(value.toPrecision(3))}`);

function describeEffect({ effect, note }) {
  if (!effect) return note ?? "";
  const margin = `${words(effect.margin_low)} to ${words(effect.margin_high)}`;
  return `${words(effect.value)} (${words(effect.low)} to ${words(effect.high)}); margin ${margin}`;
}
