// The search page: keeps what is shown in step with the address.

import { card, readHit, textOf } from "./answers.js";
import { facetBody, facetFields, readFilter, showFacets } from "./filters.js";
import { HitDialog } from "./hit.js";
import { LANGUAGES, programOf } from "./programs.js";
import { QueryPanel } from "./query.js";
import { galleryBody, searchBody } from "./searches.js";
import { ask, Refused, serverIsBack, showThumbnail, Unreachable, useKey } from "./server.js";
import { addressOf, EMPTY, isSearch, readAddress } from "./state.js";

const SLOW = 3000; // ms after which the page says that it is still waiting
const at = id => document.getElementById(id);
const INDEX = document.documentElement.dataset.index;

let state = EMPTY;
let hits = [];
let windows = false;
let fields = [];
let running = new AbortController();
let searched = null; // the address without `hit` of what is shown

const query = new QueryPanel(INDEX, {
  chosen: upload => go({
    ...(query.isLost(state) ? {} : { box: null, also: [], without: [] }),
    id: null, url: null, upload, hit: null,
  }),
  boxed: box => go({ box, hit: null }),
  failed: complain,
});
const dialog = new HitDialog({
  search: change => go({ ...EMPTY, compare: state.compare, expand: state.expand, refine: state.refine, filters: state.filters, ...change }),
  refine: (kind, hit) => go({ [kind]: [...state[kind], exampleOf(hit)], hit: null }),
  step: by => {
    const next = hits[hits.findIndex(hit => hit._id === state.hit) + by];
    if (next) go({ hit: next._id }, true);
  },
  closed: () => { if (state.hit !== null) go({ hit: null }); },
});

/** Change the state, and the address with it. */
function go(change, replace = false) {
  state = { ...state, ...change };
  const kept = { upload: state.upload };
  history[replace ? "replaceState" : "pushState"](kept, "", addressOf(state));
  show();
}

function followAddress() {
  state = readAddress(location.search, history.state);
  show();
}

function show() {
  const wanted = addressOf({ ...state, hit: null }) + (state.upload ?? "");
  showOptions();
  if (wanted === searched) {
    showHit();
    return;
  }
  searched = wanted;
  if (state.hit === null) dialog.close();
  query.show(state);
  showChips();
  run();
}

// Answers

async function run() {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  hits = [];
  at("more").hidden = true;
  at("show-request").hidden = !isSearch(state) || query.isLost(state);
  if (query.isLost(state)) {
    at("grid").replaceChildren();
    complain("This address belongs to a search with an image from a device, which an address cannot hold. Choose the image again.");
    return;
  }
  at("grid").classList.add("stale");
  await answer(signal, 0);
  if (!signal.aborted) countFacets(signal);
}

async function answer(signal, from) {
  say(isSearch(state) ? "Searching…" : "Loading…");
  const slow = setTimeout(() => say("Still waiting for the server…", true), SLOW);
  try {
    const path = `/${encodeURIComponent(INDEX)}/_search`;
    const body = isSearch(state)
      ? searchBody(state, query.dataOf(state), from)
      : galleryBody(state.filters, from);
    const started = performance.now();
    const { found, warning } = await ask(path, body, signal);
    if (signal.aborted) return;
    showHits(found, from);
    say(summary(found, performance.now() - started) + (warning ? ` ${warning}` : ""));
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") return;
    at("grid").replaceChildren();
    complain(error.message);
    if (error instanceof Unreachable) waitForServer(signal, error.message);
  } finally {
    clearTimeout(slow);
    if (!signal.aborted) at("grid").classList.remove("stale");
  }
}

async function waitForServer(signal, reason) {
  complain(`${reason} Check that camsearch serve runs; this page asks again every 2 seconds.`);
  if (await serverIsBack(signal)) {
    searched = null;
    query.forget();
    show();
  }
}

function showHits(found, from) {
  const page = found.hits.hits.map((hit, i) => readHit(hit, from + i + 1));
  hits = from ? [...hits, ...page] : page;
  const cards = page.map(hit => isSearch(state)
    ? card(hit, addressOf({ ...state, hit: hit._id }), one => go({ hit: one._id }), true)
    : card(hit, addressOf({ ...state, id: hit._id }), one => go({ id: one._id }), false));
  if (from) at("grid").append(...cards);
  else at("grid").replaceChildren(...cards);
  at("more").hidden = hits.length >= found.hits.total.value || !page.length;
  showHit();
}

function summary(found, ms) {
  const total = found.hits.total.value.toLocaleString("en");
  if (!isSearch(state)) return `${total} images${state.filters.length ? " match the filters" : ""}. Choose one to search with it.`;
  if (!hits.length) return state.filters.length ? "Nothing found: take a filter off." : "Nothing found.";
  return `${hits.length} images in ${Math.round(ms)} ms.`;
}

function showHit() {
  const where = hits.findIndex(hit => hit._id === state.hit);
  if (where < 0) {
    dialog.close();
    return;
  }
  if (dialog.openId === state.hit) return;
  const ends = { before: where > 0, after: where < hits.length - 1 };
  dialog.open(hits[where], state, query.dataOf(state), query.picture(state), ends);
}

function say(text, stoppable = false) {
  at("said").textContent = text;
  at("said").classList.remove("wrong");
  at("stop").hidden = !stoppable;
}

function complain(text) {
  say(text);
  at("said").classList.add("wrong");
}

// Filters and options

function setFilter(text, wanted) {
  const others = state.filters.filter(one => one !== text);
  go({ filters: wanted ? [...others, text] : others, hit: null });
}

/** With a box around the thing, only the part of a hit that was found is an example. */
function exampleOf(hit) {
  return { id: hit._id, box: state.box && hit.box ? hit.box.map(Math.round) : null };
}

function exampleChips(kind, word) {
  return state[kind].map(one => {
    const img = document.createElement("img");
    img.alt = "";
    showThumbnail(img, { _id: one.id, _index: INDEX }, 64);
    const made = chip(`${word} ${one.id}`, [img, word], () => go({ [kind]: state[kind].filter(other => other !== one), hit: null }));
    made.classList.add(kind);
    return made;
  });
}

function showChips() {
  const filters = state.filters.map(text =>
    chip(`the filter ${text}`, [text.replace(/^meta\.|^classes\.name=/, "")], () => setFilter(text, false)));
  const examples = isSearch(state) ? [...exampleChips("also", "this too"), ...exampleChips("without", "not this")] : [];
  at("chips").replaceChildren(...examples, ...filters);
}

function chip(what, shown, off) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "chip";
  button.setAttribute("aria-label", `Take off ${what}`);
  button.append(...shown, textOf("off", "×"));
  button.addEventListener("click", off);
  return button;
}

function showOptions() {
  at("compare").value = state.compare;
  at("expand").checked = state.expand;
  at("refine").checked = state.refine;
  at("refine").disabled = !windows || state.compare !== "parts";
}

async function readMapping() {
  const { found } = await ask(`/${encodeURIComponent(INDEX)}/_mapping`).catch(() => ({ found: {} }));
  const properties = Object.values(found)[0]?.mappings?.properties ?? {};
  windows = "regions" in properties;
  fields = facetFields(properties);
  at("compare").querySelector("[value=windows]").disabled = !windows;
}

/** A gallery in a folder cannot count values: then there are no facets. */
async function countFacets(signal) {
  if (!fields.length) return;
  try {
    const { found } = await ask(`/${encodeURIComponent(INDEX)}/_search`, facetBody(fields, state.filters), signal);
    if (signal.aborted) return;
    showFacets(at("facets"), fields, found.aggregations ?? {}, state.filters, setFilter);
  } catch (error) {
    if (signal.aborted) return;
    at("facets").replaceChildren();
    if (error instanceof Refused) fields = [];
  }
}

// The request

function showRequest() {
  const where = { origin: location.origin, index: INDEX, windows };
  at("program").textContent = programOf(at("language").value, state, where, at("plain").checked);
  at("copied").textContent = "";
}

async function copyRequest() {
  const text = at("program").textContent;
  try {
    await navigator.clipboard.writeText(text);
    at("copied").textContent = "Copied.";
  } catch { // only pages from https or localhost may write to the clipboard
    getSelection().selectAllChildren(at("program"));
    at("copied").textContent = "Selected: copy it with Ctrl+C.";
  }
}

// Events

at("new").addEventListener("click", () => go({ ...EMPTY, filters: state.filters }));
at("more").addEventListener("click", () => answer(running.signal, hits.length));
at("stop").addEventListener("click", () => {
  running.abort();
  searched = null;
  at("grid").classList.remove("stale");
  say("Stopped.");
});
at("compare").addEventListener("change", () => go({ compare: at("compare").value, hit: null }));
for (const id of ["expand", "refine"]) at(id).addEventListener("change", () => go({ [id]: at(id).checked, hit: null }));
at("key").addEventListener("change", () => {
  useKey(at("key").value);
  searched = null;
  query.forget();
  readMapping().then(show);
});
at("filter-form").addEventListener("submit", event => {
  event.preventDefault();
  const text = at("filter").value.trim();
  if (!readFilter(text)) {
    complain("A filter is a field, =, <, <=, > or >=, and a value: meta.city=Paris, width>=1000.");
    return;
  }
  at("filter").value = "";
  setFilter(text, true);
});
at("show-request").addEventListener("click", () => {
  showRequest();
  at("request").showModal();
});
at("language").append(...LANGUAGES.map(name => new Option(name)));
at("language").addEventListener("change", showRequest);
at("plain").addEventListener("change", showRequest);
at("copy").addEventListener("click", copyRequest);
at("request-close").addEventListener("click", () => at("request").close());
addEventListener("popstate", followAddress);

at("filters").open = !matchMedia("(max-width: 48rem)").matches;
await readMapping();
followAddress();
