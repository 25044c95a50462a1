"use strict";
// The page of synspect: asks for slices, draws them in colours, and has the service measure what it draws.

const element = (id) => document.getElementById(id);
let absent = [];
let downloadUrl = null;
let shownModel = null;
let unit = "counts per pixel"; // until the model has told its own

function headers(extra = {}) {
  const token = element("token").value;
  return token ? { ...extra, Authorization: `Bearer ${token}` } : extra;
}

async function ask(path, options = {}) {
  const response = await fetch(path, { ...options, headers: headers(options.headers) });
  if (response.status === 401) element("token-label").hidden = false;
  if (!response.ok) {
    const problem = await response.json().catch(() => ({ detail: `the service answered ${response.status}` }));
    throw new Error(problem.detail);
  }
  return response;
}

function say(text, isProblem = false) {
  element("status").textContent = text;
  element("status").classList.toggle("problem", isProblem);
}

// --- reading an npz: a zip of stored .npy files ---------------------------------------------------------------------

function readArrays(buffer) {
  const view = new DataView(buffer);
  let end = buffer.byteLength - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end -= 1;
  if (end < 0) throw new Error("the answer is not an npz file");
  const arrays = {};
  let entry = view.getUint32(end + 16, true);
  for (let i = view.getUint16(end + 10, true); i > 0; i -= 1) {
    const nameLength = view.getUint16(entry + 28, true);
    const name = new TextDecoder().decode(new Uint8Array(buffer, entry + 46, nameLength));
    const local = view.getUint32(entry + 42, true);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    arrays[name.replace(/\.npy$/, "")] = readArray(buffer, start);
    entry += 46 + nameLength + view.getUint16(entry + 30, true) + view.getUint16(entry + 32, true);
  }
  return arrays;
}

function readArray(buffer, start) {
  const length = new DataView(buffer).getUint16(start + 8, true);
  const header = new TextDecoder().decode(new Uint8Array(buffer, start + 10, length));
  const type = /'descr': '([^']+)'/.exec(header)[1];
  const shape = [.../'shape': \(([^)]*)\)/.exec(header)[1].matchAll(/\d+/g)].map((match) => Number(match[0]));
  const size = shape.reduce((product, side) => product * side, 1);
  const first = start + 10 + length;
  const kinds = { "<f4": Float32Array, "<f8": Float64Array, "<i8": BigInt64Array };
  if (!(type in kinds)) return { type, shape };
  const bytes = buffer.slice(first, first + size * kinds[type].BYTES_PER_ELEMENT);
  return { type, shape, values: new kinds[type](bytes) };
}

// --- drawing -----------------------------------------------------------------------------------------------------------

// Perfusion colours, from none to most: black, blue, cyan, green, yellow, red, white.
const STOPS = [[0, 0, 0], [20, 20, 150], [0, 150, 200], [30, 170, 60], [240, 220, 40], [220, 40, 20], [255, 255, 255]];

function colour(share) {
  const position = share * (STOPS.length - 1);
  const below = Math.min(Math.floor(position), STOPS.length - 2);
  const weight = position - below;
  return STOPS[below].map((low, channel) => low + (STOPS[below + 1][channel] - low) * weight);
}

const COLOURS = Array.from({ length: 256 }, (_, i) => colour(i / 255));

function paint(canvas, width, height, shareAt) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  for (let i = 0; i < width * height; i += 1) {
    const [red, green, blue] = COLOURS[Math.round(Math.min(Math.max(shareAt(i), 0), 1) * 255)];
    pixels.data[4 * i] = red;
    pixels.data[4 * i + 1] = green;
    pixels.data[4 * i + 2] = blue;
    pixels.data[4 * i + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
}

function draw(arrays, seed) {
  const [slices, rows, columns] = arrays.counts.shape;
  const counts = arrays.counts.values;
  const top = counts.reduce((most, value) => Math.max(most, value), 0) || 1;
  paint(element("scale"), 256, 12, (i) => (i % 256) / 255);
  element("scale-top").textContent = top.toPrecision(3);
  const figures = [];
  for (let n = 0; n < slices; n += 1) {
    const figure = document.createElement("figure");
    const canvas = document.createElement("canvas");
    const caption = document.createElement("figcaption");
    const first = n * rows * columns;
    paint(canvas, columns, rows, (i) => counts[first + i] / top);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `synthetic slice ${arrays.index.values[n]} of seed ${seed}`);
    caption.textContent = `${arrays.index.values[n]}`;
    figure.append(canvas, caption);
    figures.push(figure);
  }
  element("slices").replaceChildren(...figures);
  element("result").hidden = false;
  return figures;
}

async function measure(file, figures) {
  const form = new FormData();
  form.append("file", file, "slices.npz");
  const answer = await (await ask("/v1/quantify", { method: "POST", body: form })).json();
  answer.slices.forEach((slice, n) => {
    const caption = figures[n].querySelector("figcaption");
    caption.textContent += `: MC ${slice.mean_counts.toFixed(1)} ${unit}, LR ${slice.left_right_ratio.toFixed(3)}`;
  });
}

async function generate(event) {
  event.preventDefault();
  element("generate").disabled = true;
  say("Generating …");
  try {
    const body = { level: element("level").value, pattern: element("pattern").value, count: Number(element("count").value) };
    if (element("seed").value !== "") body.seed = Number(element("seed").value);
    const response = await ask("/v1/slices", {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/x-npz" },
      body: JSON.stringify(body),
    });
    const seed = response.headers.get("X-Synspect-Seed");
    const buffer = await response.arrayBuffer();
    if (response.headers.get("X-Synspect-Model-Sha256") !== shownModel) await describe(); // swapped meanwhile
    const file = new Blob([buffer], { type: "application/x-npz" });
    const figures = draw(readArrays(buffer), seed);
    if (downloadUrl) URL.revokeObjectURL(downloadUrl);
    downloadUrl = URL.createObjectURL(file);
    element("download").href = downloadUrl;
    element("download").download = `synthetic-seed-${seed}.npz`;
    say(`${figures.length} synthetic slices, seed ${seed}, model ${response.headers.get("X-Synspect-Model-Version")}`);
    await measure(file, figures);
  } catch (error) {
    say(error.message, true);
  } finally {
    element("generate").disabled = false;
  }
}

// --- what answers, and what can be asked --------------------------------------------------------------------------------

function forbidAbsent() {
  const level = element("level").value;
  for (const option of element("pattern").options) {
    const reason = absent.find((pair) => pair.level === level && pair.pattern === option.value)?.reason;
    option.disabled = reason !== undefined;
    option.title = reason ?? "";
    option.textContent = reason ? `${option.value} (no data)` : option.value;
  }
  if (element("pattern").selectedOptions[0].disabled) element("pattern").value = "normal";
}

async function describe() {
  try {
    const model = await (await ask("/v1/model")).json();
    element("model-line").textContent =
      `${model.name} version ${model.version}, generator ${model.sha256.slice(0, 12)}, on ${model.provider}; ` +
      `learnt from ${model.reference_source} scans, ${model.matrix} × ${model.matrix} pixels of ${model.pixel_spacing_mm} mm.`;
    const how = {
      gates: "Promoted: every gate passed.",
      override: `Promoted against its gates: “${model.promotion_reason}” (${model.promoted_by}, ${model.promoted_at}).`,
      outside: "Made champion by hand, outside the gates.",
      none: "Not promoted by a registry.",
    };
    shownModel = model.sha256;
    unit = model.intensity_unit;
    element("scale-label").textContent = unit;
    element("promotion-line").textContent = how[model.promotion];
    element("promotion-line").classList.toggle("ungated", ["override", "outside"].includes(model.promotion));
    element("card").textContent = model.card;
    const known = await (await ask("/v1/conditions")).json();
    absent = known.absent;
    const rows = known.conditions.map((condition) => {
      const row = document.createElement("tr");
      for (const text of [condition.level, condition.pattern, condition.reference_slices, condition.reference_source]) {
        row.insertCell().textContent = text;
      }
      return row;
    });
    element("conditions").tBodies[0].replaceChildren(...rows);
    forbidAbsent();
  } catch (error) {
    element("model-line").textContent = error.message;
  }
}

element("request").addEventListener("submit", generate);
element("level").addEventListener("change", forbidAbsent);
element("token").addEventListener("change", describe);
describe();
