// Requests to the server, with the user's API key, and its errors as sentences.

/** The server refused; the message is its own sentence. */
export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** The server does not answer. */
export class Unreachable extends Error {}

const TOO_MANY = 429;
const UNAVAILABLE = new Set([502, 503, 504]);

let key = "";

export function useKey(value) {
  key = value.trim();
}

function headers(more) {
  return key ? { ...more, authorization: `ApiKey ${key}` } : more;
}

/** Send a JSON body, or GET without one; returns the decoded answer and its warning. */
export async function ask(path, body, signal) {
  const said = body === undefined
    ? { headers: headers({}), signal }
    : { method: "POST", headers: headers({ "content-type": "application/json" }), body: JSON.stringify(body), signal };
  const answer = await sent(path, said);
  const found = await answer.json().catch(() => null);
  if (!answer.ok) throw refused(answer, found);
  return { found, warning: warningOf(answer) };
}

async function sent(path, said) {
  try {
    return await fetch(path, said);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Unreachable("The server does not answer.");
  }
}

function refused(answer, found) {
  const reason = found?.error?.reason ?? (typeof found?.error === "string" ? found.error : null);
  if (UNAVAILABLE.has(answer.status)) return new Unreachable(reason ?? "The server is not ready.");
  if (answer.status === 401) return new Refused("The server asks who you are: enter an API key under Options.", 401);
  if (answer.status === 403) return new Refused("Your API key may not read this index: enter another one under Options.", 403);
  if (answer.status === TOO_MANY) {
    const wait = answer.headers.get("retry-after");
    return new Refused(`The server is busy. Try again ${wait ? `in ${wait} s` : "in a moment"}.`, TOO_MANY);
  }
  return new Refused(reason ?? `The server answered with the status ${answer.status}.`, answer.status);
}

/** The text of a `Warning` header: 299 agent "text". */
function warningOf(answer) {
  const quoted = /"((?:[^"\\]|\\.)*)"/.exec(answer.headers.get("warning") ?? "");
  return quoted ? quoted[1].replace(/\\(.)/g, "$1") : "";
}

/** Wait until the server answers again. */
export async function serverIsBack(signal) {
  for (;;) {
    await new Promise(done => setTimeout(done, 2000));
    if (signal.aborted) return false;
    const answer = await fetch("/_camsearch/health/ready", { cache: "no-store" }).catch(() => null);
    if (signal.aborted) return false;
    if (answer?.ok) return true;
  }
}

const waiting = new IntersectionObserver(entries => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    waiting.unobserve(entry.target);
    load(entry.target);
  }
}, { rootMargin: "400px" });

/** Show an indexed image in an <img>, once it is nearly visible. */
export function showThumbnail(img, hit, side) {
  const path = `/_camsearch/thumbnails/${encodeURIComponent(hit._id)}`
    + `?index=${encodeURIComponent(hit._index)}&size=${side}`;
  img.addEventListener("error", () => img.classList.add("missing"), { once: true });
  if (!key) {
    img.loading = "lazy";
    img.src = path;
    return;
  }
  // An <img> cannot send the key.
  img.dataset.path = path;
  waiting.observe(img);
}

async function load(img) {
  const answer = await fetch(img.dataset.path, { headers: headers({}) }).catch(() => null);
  if (!answer?.ok) {
    img.classList.add("missing");
    return;
  }
  const url = URL.createObjectURL(await answer.blob());
  img.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
  img.src = url;
}
