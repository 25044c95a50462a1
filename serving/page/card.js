// Shows a model card: the headings, paragraphs, lists, tables and code of Markdown that cards are written in.
// Its pictures stay in the bundle; their titles are shown.

import { make } from "./dom.js";

export function renderCard(markdown) {
  const lines = markdown.split("\n");
  const blocks = [];
  while (lines.length > 0) {
    const block = takeBlock(lines);
    if (block !== null) blocks.push(block);
  }
  return blocks;
}

function takeBlock(lines) {
  const line = lines[0];
  if (line.trim() === "") {
    lines.shift();
    return null;
  }
  const heading = /^(#{1,4}) (.*)/.exec(line);
  if (heading) {
    lines.shift();
    return make(`h${Math.min(heading[1].length + 2, 6)}`, {}, ...inline(heading[2]));
  }
  if (line.startsWith("```")) return takeCode(lines);
  if (line.startsWith("|")) return takeTable(takeWhile(lines, (next) => next.startsWith("|")));
  if (line.startsWith("* ")) {
    const items = takeWhile(lines, (next) => next.startsWith("* "));
    return make("ul", {}, ...items.map((item) => make("li", {}, ...inline(item.slice(2)))));
  }
  const isText = (next) => next.trim() !== "" && !/^(#{1,4} |```|\||\* )/.test(next);
  const text = takeWhile(lines, isText);
  return make("p", {}, ...inline(text.length > 0 ? text.join(" ") : lines.shift()));
}

function takeWhile(lines, isWanted) {
  const end = lines.findIndex((line) => !isWanted(line));
  return lines.splice(0, end < 0 ? lines.length : end);
}

function takeCode(lines) {
  lines.shift();
  const code = takeWhile(lines, (line) => !line.startsWith("```"));
  lines.shift();
  return make("pre", { tabindex: "0" }, code.join("\n"));
}

function takeTable(lines) {
  const cells = lines.map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));
  const [head, , ...rows] = cells;
  const table = make("table");
  if (head.some((cell) => cell !== "")) {
    table.append(make("thead", {}, make("tr", {}, ...head.map((cell) => make("th", { scope: "col" }, ...inline(cell))))));
  }
  table.append(make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, ...inline(cell)))))));
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of the model card" }, table);
}

function inline(text) {
  return text.split(/(\*\*[^*]+\*\*|`[^`]+`|!\[[^\]]*\]\([^)]*\))/).map((piece) => {
    if (piece.startsWith("**")) return make("strong", {}, piece.slice(2, -2));
    if (piece.startsWith("`")) return make("code", {}, piece.slice(1, -1));
    if (piece.startsWith("![")) return make("em", {}, `Figure in the bundle: ${piece.slice(2, piece.indexOf("]"))}`);
    return piece;
  });
}
