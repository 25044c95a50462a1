// Counts to colours: maps whose lightness rises evenly with the counts, so that no edge is seen that is not there.

const STOPS = {
  // matplotlib's inferno at 17 even steps, CC0.
  inferno: [
    "000004", "0b0724", "210c4a", "3d0965", "57106e", "71196e", "8a226a", "a32c61", "bc3754",
    "d04545", "e35933", "f1711f", "f98c0a", "fcaa0f", "f9c932", "f2e865", "fcffa4",
  ],
  grey: ["000000", "ffffff"],
};

const channels = (stop) => [0, 2, 4].map((at) => parseInt(stop.slice(at, at + 2), 16));

function buildTable(stops) {
  const colours = stops.map(channels);
  const table = new Uint8ClampedArray(4 * 256);
  for (let i = 0; i < 256; i += 1) {
    const position = (i / 255) * (colours.length - 1);
    const below = Math.min(Math.floor(position), colours.length - 2);
    const mixed = colours[below].map((low, at) => low + (colours[below + 1][at] - low) * (position - below));
    table.set([...mixed, 255], 4 * i);
  }
  return table;
}

export const COLOUR_TABLES = Object.fromEntries(Object.entries(STOPS).map(([name, stops]) => [name, buildTable(stops)]));

/** Paint counts (rows x columns) on a canvas; `top` gets the last colour. */
export function paint(canvas, counts, { rows, columns, top, colours }) {
  const table = COLOUR_TABLES[colours];
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  for (let i = 0; i < rows * columns; i += 1) {
    const step = Math.round(255 * Math.min(Math.max(counts[i] / top, 0), 1));
    image.data.set(table.subarray(4 * step, 4 * step + 4), 4 * i);
  }
  context.putImageData(image, 0, 0);
}

/** Round numbers from `low` to `high`, about as many as `wanted`. */
export function roundSteps(low, high, wanted) {
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const decimals = Math.max(0, -Math.floor(Math.log10(step * 1.001)));
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => ((first + i) * step).toFixed(decimals));
}

/** The end of the colour bar: the first round number that no count passes. */
export function roundUp(most) {
  if (!(most > 0)) return 1;
  const step = 10 ** Math.floor(Math.log10(most)) / 2;
  return Math.ceil(most / step) * step;
}
