// The page of synspect: what its controls do, and what it asks for by itself.

import { element } from "./dom.js";
import { forgetDrift, showDrift } from "./drift.js";
import { showModel } from "./model.js";
import { readArrays } from "./npz.js";
import { drawReference, sayUnmeasured } from "./reference.js";
import { Problem, askForQuantities, askForSlices, setToken } from "./service.js";
import { captionSlices, drawSlices } from "./slices.js";
import { forgetThroughput, showThroughput } from "./throughput.js";

const FIELDS = ["level", "pattern", "count", "start", "seed"];
const NUMBERS = ["count", "start", "seed"];
const SETTLE_MS = 150; // a selection that is walked through by keyboard asks for its end alone
let model = null;
let shown = null; // { arrays, file, order, sha256, quantities }
let asking = new AbortController();
let settling = 0;

// --- what is said ---

function say(text) {
  element("status").textContent = text;
  element("problem").textContent = "";
  element("download-status").textContent = ""; // of what was shown before
}

function sayProblem(error) {
  element("status").textContent = "";
  element("problem").textContent = error.message;
  element("download-status").textContent = "";
  if (error.wantsToken) element("token-label").hidden = false;
}

// --- the order, in the form and in the address ---

function readOrder() {
  for (const name of NUMBERS) {
    const field = element(name);
    if (!field.checkValidity()) throw new Problem(`${field.labels[0].firstChild.textContent.trim()}: ${field.validationMessage}`);
  }
  return Object.fromEntries(FIELDS.map((name) => [name, NUMBERS.includes(name) ? Number(element(name).value) : element(name).value]));
}

function fillFromAddress() {
  const asked = new URLSearchParams(location.search);
  for (const name of [...FIELDS, "colours"]) {
    if (asked.has(name)) element(name).value = asked.get(name);
    if (element(name).value === "") element(name).value = element(name).querySelector("option")?.value ?? element(name).defaultValue;
  }
}

function keepInAddress(order) {
  const kept = new URLSearchParams({ ...order, colours: element("colours").value });
  history.replaceState(null, "", `?${kept}`);
}

// --- slices ---

async function generate() {
  clearTimeout(settling);
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  element("result").setAttribute("aria-busy", "true");
  try {
    const order = readOrder();
    say("Generating …");
    await showOrder(order, signal);
    keepInAddress(order);
    await measure(signal);
  } catch (error) {
    if (signal.aborted) return; // another order took this one's place
    element("result").hidden = true; // what the form says now could not be shown
    shown = null;
    sayProblem(error);
  } finally {
    if (!signal.aborted) element("result").removeAttribute("aria-busy");
  }
}

async function showOrder(order, signal) {
  const response = await askForSlices(order, { format: "npz", signal });
  const buffer = await response.arrayBuffer();
  const sha256 = response.headers.get("X-Synspect-Model-Sha256");
  if (sha256 !== model?.sha256) model = await showModel(); // another one answers now
  signal.throwIfAborted();
  shown = { arrays: readArrays(buffer), file: new Blob([buffer]), order, sha256, quantities: null };
  draw();
  element("result").hidden = false;
  const slices = order.count === 1 ? "1 synthetic slice" : `${order.count} synthetic slices`;
  say(`${slices} by model version ${response.headers.get("X-Synspect-Model-Version")}.`);
}

function draw() {
  drawSlices({ ...shown, unit: model.intensity_unit, colours: element("colours").value });
  if (shown.quantities === null) sayUnmeasured("Measuring …");
  else drawMeasured();
}

function drawMeasured() {
  const { order, arrays, quantities } = shown;
  const unit = model.intensity_unit;
  captionSlices(quantities, unit);
  const condition = model.conditions.get(`${order.level}/${order.pattern}`);
  drawReference({ quantities, indices: arrays.index.values, condition, unit });
}

async function measure(signal) {
  try {
    shown.quantities = await askForQuantities(shown.file, signal);
    drawMeasured();
  } catch (error) {
    if (signal.aborted || !(error instanceof Problem)) throw error;
    sayUnmeasured(`Not measured: ${error.message}`);
  }
}

async function download(event) {
  event.preventDefault();
  const { order, sha256 } = shown;
  element("download-status").textContent = "Preparing …";
  try {
    const response = await askForSlices(order, { format: element("format").value });
    const content = await response.blob();
    if (response.headers.get("X-Synspect-Model-Sha256") !== sha256) {
      throw new Problem("another model answers since these slices were shown; generate them again");
    }
    const name = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition"))[1];
    save(content, name);
    element("download-status").textContent = `Saved ${name}.`;
  } catch (error) {
    element("download-status").textContent = `Not saved: ${error.message}`;
  }
}

function save(content, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// --- what the page asks for by itself ---

function settle() {
  clearTimeout(settling);
  settling = setTimeout(generate, SETTLE_MS);
}

/** Show something again and again while the page is looked at; what fails is said, and tried again. */
function keepShowing(show, forget, everySeconds) {
  let lacksToken = false; // without one every answer is the same
  const once = async () => {
    try {
      await show();
      lacksToken = false;
    } catch (error) {
      forget(error.message);
      lacksToken = error.wantsToken;
    }
  };
  setInterval(() => document.hidden || lacksToken || once(), 1000 * everySeconds);
  return once;
}

function newSeed() {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  element("seed").value = `${(high % 2 ** 21) * 2 ** 32 + low}`;
  return generate();
}

function markAbsent() {
  const absent = model?.absent.filter(({ level }) => level === element("level").value) ?? [];
  for (const option of element("pattern").options) {
    const isAbsent = absent.some(({ pattern }) => pattern === option.value);
    option.disabled = isAbsent;
    option.textContent = isAbsent ? `${option.value} (no data)` : option.value;
  }
}

async function showEverything() {
  try {
    model = await showModel();
    markAbsent();
  } catch (error) {
    element("model-line").textContent = "Which model answers is not known.";
    return sayProblem(error);
  }
  await generate();
}

const throughput = keepShowing(showThroughput, forgetThroughput, 5);
const drift = keepShowing(showDrift, forgetDrift, 15);

element("request").addEventListener("submit", (event) => {
  event.preventDefault();
  generate();
});
for (const name of FIELDS) element(name).addEventListener("change", settle);
element("level").addEventListener("change", markAbsent);
element("new-seed").addEventListener("click", newSeed);
element("colours").addEventListener("change", () => {
  if (shown === null) return;
  element("download-status").textContent = "";
  draw();
  keepInAddress(shown.order);
});
element("download").addEventListener("submit", download);
element("token").addEventListener("change", (event) => {
  setToken(event.target.value);
  showEverything();
  throughput();
  drift();
});
fillFromAddress();
showEverything();
throughput();
drift();
