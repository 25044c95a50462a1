// Finds and makes elements; text goes in as text, never as markup.

export const element = (id) => document.getElementById(id);

/** Make an element with attributes and children (elements or text). */
export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Make a table row: its first cell is the row's heading. */
export function makeRow(first, ...cells) {
  return make("tr", {}, make("th", { scope: "row" }, first), ...cells.map((cell) => make("td", {}, cell)));
}

export function makeTable(caption, headings, rows) {
  const head = make("tr", {}, ...headings.map((heading) => make("th", { scope: "col" }, heading)));
  return make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...rows));
}
