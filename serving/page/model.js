// Which model answers, how it was promoted, its card, and what it was learnt from.

import { renderCard } from "./card.js";
import { element, make, makeRow } from "./dom.js";
import { askJson } from "./service.js";

/** Say how a model was promoted; what did not pass the gates stands out. */
export function describePromotion({ promotion, promotion_reason: reason, promoted_by: who, promoted_at: when }) {
  const words = {
    gates: "Promoted: every gate passed.",
    override: `Promoted against its gates: “${reason}” (${who}, ${when}).`,
    outside: "Made champion by hand, outside the gates.",
    none: "Not promoted by a registry.",
  };
  return { text: words[promotion] ?? `Promotion: ${promotion}.`, isUngated: ["override", "outside"].includes(promotion) };
}

/** Ask which model answers and show it; return it with the conditions it serves, by "level/pattern". */
export async function showModel() {
  const [model, known] = await Promise.all([askJson("/v1/model"), askJson("/v1/conditions")]);
  const { text, isUngated } = describePromotion(model);
  element("model-line").textContent = `${model.name}, version ${model.version}, learnt from ${model.reference_source} scans.`;
  element("promotion-line").textContent = text;
  element("promotion-line").className = isUngated ? "warning" : "";
  element("model").replaceChildren(...describeFacts(model).flatMap(([term, fact]) => make("div", {}, make("dt", {}, term), make("dd", {}, fact))));
  element("card").replaceChildren(...renderCard(model.card));
  element("conditions").replaceChildren(
    ...known.conditions.map((one) => makeRow(one.level, one.pattern, `${one.reference_slices}`, one.reference_source)));
  element("absent").textContent = known.absent.map(({ level, pattern, reason }) => `${level} × ${pattern}: ${reason}`).join(" ");
  const conditions = new Map(known.conditions.map((one) => [`${one.level}/${one.pattern}`, one]));
  return { ...model, conditions, absent: known.absent };
}

function describeFacts(model) {
  return [
    ["Name", model.name],
    ["Version", model.version],
    ["Generator, sha256", model.sha256.slice(0, 12)],
    ["Learnt from", `${model.reference_source} scans`],
    ["Slices", `${model.matrix} × ${model.matrix} pixels of ${model.pixel_spacing_mm} mm, ${model.intensity_unit}`],
    ["Runs on", model.provider.replace("ExecutionProvider", "")],
  ];
}
