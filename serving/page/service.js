// Asks the service: with the token, where one was given; what it refuses is said in its own words.

const PATIENCE_SECONDS = 30;
let token = "";

/** What the service said instead of an answer. */
export class Problem extends Error {
  constructor(detail, { status = 0, retryAfterSeconds = null } = {}) {
    super(detail);
    this.status = status;
    this.retryAfterSeconds = retryAfterSeconds;
  }

  get wantsToken() {
    return this.status === 401;
  }
}

/** Keep a token in this page alone: it is gone when the page is. */
export function setToken(text) {
  token = text.trim();
}

async function send(path, options) {
  const headers = token ? { ...options.headers, Authorization: `Bearer ${token}` } : options.headers;
  try {
    return await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("the service does not answer; see whether it runs, then ask again");
  }
}

export async function ask(path, options = {}) {
  const response = await send(path, options);
  if (response.ok) return response;
  const { detail } = await response.json().catch(() => ({}));
  const seconds = Number(response.headers.get("Retry-After") ?? NaN);
  throw new Problem(detail ?? `the service answered ${response.status}`, {
    status: response.status,
    retryAfterSeconds: Number.isFinite(seconds) ? seconds : null,
  });
}

/** Ask again while the service says when to, for half a minute at most. */
export async function askPatiently(path, options = {}) {
  const until = performance.now() + 1000 * PATIENCE_SECONDS;
  for (;;) {
    try {
      return await ask(path, options);
    } catch (error) {
      const wait = 1000 * (error.retryAfterSeconds ?? NaN);
      if (!(performance.now() + wait < until)) throw error;
      await new Promise((resolve) => setTimeout(resolve, Math.max(wait, 200)));
      options.signal?.throwIfAborted();
    }
  }
}

export async function askJson(path) {
  return (await askPatiently(path)).json();
}

/** Ask for slices as the service would answer anybody: a body, and for pictures a layout. */
export function askForSlices(order, { format, signal } = {}) {
  const [name, layout] = format.split("-");
  return askPatiently(layout ? `/v1/slices?layout=${layout}` : "/v1/slices", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...order, format: name }),
    signal,
  });
}

/** Have the slices of an npz measured by the same code that measured the reference. */
export async function askForQuantities(file, signal) {
  const form = new FormData();
  form.append("file", file, "slices.npz");
  const answer = await askPatiently("/v1/quantify", { method: "POST", body: form, signal });
  return (await answer.json()).slices;
}
