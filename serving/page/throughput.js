// Throughput now: slices a second over the last seconds, from the counters that Prometheus scrapes.

import { element } from "./dom.js";
import { ask } from "./service.js";

const WINDOW_SECONDS = 15;
const KEPT_SECONDS = 120;

/** Sum a metric over its series. */
export function sumMetric(text, name) {
  const line = new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)`, "gm");
  return [...text.matchAll(line)].reduce((sum, match) => sum + Number(match[1]), 0);
}

/** Keeps totals of a counter and tells their rates. */
export class RateHistory {
  #samples = []; // {seconds, total}
  rates = []; // {seconds, rate}

  /** Add the total at a time; return the rate over the last seconds, null after one sample alone. */
  add(seconds, total) {
    if (total < this.#samples.at(-1)?.total) this.#samples = []; // the service started again
    this.#samples = [...this.#samples.filter((one) => one.seconds >= seconds - WINDOW_SECONDS), { seconds, total }];
    const first = this.#samples[0];
    const rate = first.seconds < seconds ? (total - first.total) / (seconds - first.seconds) : null;
    if (rate !== null) this.rates = [...this.rates.filter((one) => one.seconds >= seconds - KEPT_SECONDS), { seconds, rate }];
    return rate;
  }
}

const history = new RateHistory();

/** Ask once and show it. */
export async function showThroughput() {
  const text = await (await ask("/metrics")).text();
  const seconds = performance.now() / 1000;
  const rate = history.add(seconds, sumMetric(text, "synspect_slices_generated_total"));
  element("rate").textContent = rate === null ? "–" : rate.toFixed(rate < 10 ? 1 : 0);
  element("rate-note").textContent = rate === null ? "measuring …" : `over the last ${WINDOW_SECONDS} s, all clients`;
  element("queue").textContent = `${sumMetric(text, "synspect_queue_slices")}`;
  drawHistory(seconds);
}

export function forgetThroughput(reason) {
  element("rate").textContent = "–";
  element("queue").textContent = "–";
  element("rate-note").textContent = reason;
}

function drawHistory(now) {
  const most = Math.max(1, ...history.rates.map(({ rate }) => rate));
  element("history-label").textContent = `Last two minutes, up to ${most.toFixed(most < 10 ? 1 : 0)} a second`;
  const points = history.rates.map(({ seconds, rate }) => {
    const across = KEPT_SECONDS - (now - seconds);
    return `${across.toFixed(1)},${(30 - (28 * rate) / most).toFixed(1)}`;
  });
  element("history").firstElementChild.setAttribute("points", points.join(" "));
}
