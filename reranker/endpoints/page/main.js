// The search page: keeps what is shown in step with the address.

import { card, mark, picture, readHit, textOf } from "./answers.js";
import { BoxEditor } from "./box.js";
import { facetBody, facetFields, readFilter, showFacets } from "./filters.js";
import { HitDialog } from "./hit.js";
import { LANGUAGES, programOf } from "./programs.js";
import { galleryBody, imageBody, searchBody } from "./searches.js";
import { ask, Refused, serverIsBack, Unreachable, useKey } from "./server.js";
import { addressOf, EMPTY, isSearch, readAddress } from "./state.js";

const SLOW = 3000; // ms after which the page says that it is still waiting
const SHOWN_SIDE = 1024;
const at = id => document.getElementById(id);
const INDEX = document.documentElement.dataset.index;

const uploads = new Map(); // key → { data, name, url }
let state = EMPTY;
let hits = [];
let query = null; // { size, hit, url }: how the query image is shown
let windows = false;
let fields = [];
let running = new AbortController();
let searched = null; // the address without `hit` of what is shown

const editor = new BoxEditor(at("stage"), at("box"), box => go({ box }));
const dialog = new HitDialog({
  search: change => go({ ...EMPTY, compare: state.compare, expand: state.expand, refine: state.refine, filters: state.filters, ...change }),
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
  showQuery();
  showChips();
  run();
}

// The query

async function showQuery() {
  const asking = isSearch(state);
  document.body.classList.toggle("searching", asking);
  at("drop").hidden = asking;
  at("asked").hidden = !asking;
  document.title = asking ? `camsearch: ${INDEX}, search` : `camsearch: ${INDEX}`;
  if (!asking) {
    query = null;
    return;
  }
  const same = query && query.of === queryKey();
  if (!same) query = { of: queryKey(), size: null, hit: null, url: null };
  const mine = query;
  if (state.id !== null && !same) await showIndexedQuery(mine);
  else if (state.upload !== null && !same) await showUpload(mine);
  else if (state.url !== null) showNoPicture(`An image from ${state.url}, which this page does not load.`);
  if (mine === query) showBox();
}

function queryKey() {
  return JSON.stringify([state.id, state.url, state.upload]);
}

function showBox() {
  editor.show(state.box, query.size);
  at("add-box").hidden = !query.size || state.box !== null;
  at("remove-box").hidden = state.box === null;
  at("box-help").hidden = !query.size;
}

async function showIndexedQuery(mine) {
  const id = state.id;
  showNoPicture("");
  const { found } = await ask(`/${encodeURIComponent(INDEX)}/_search`, imageBody(id)).catch(() => ({ found: null }));
  const hit = found?.hits.hits[0];
  if (mine !== query || !hit) return;
  mine.hit = readHit(hit, 0);
  mine.size = { width: mine.hit.width, height: mine.hit.height };
  showPicture(picture({ ...mine.hit, box: null }, SHOWN_SIDE), mine.hit.name);
}

async function showUpload(mine) {
  const upload = uploads.get(state.upload);
  if (!upload) {
    showNoPicture("This search was made with an image from a device, which is not part of the address.");
    return;
  }
  const img = new Image();
  img.src = upload.url;
  const seen = await img.decode().then(() => true, () => false);
  if (mine !== query) return;
  if (!seen) {
    showNoPicture(`This browser cannot show ${upload.name}, so no box can be drawn on it.`);
    return;
  }
  mine.size = { width: img.naturalWidth, height: img.naturalHeight };
  mine.url = upload.url;
  const frame = document.createElement("span");
  frame.className = "picture";
  img.alt = "";
  frame.append(img);
  showPicture(frame, upload.name);
}

function showPicture(frame, name) {
  at("stage").hidden = false;
  at("stage-picture").replaceChildren(frame);
  at("query-name").textContent = name;
}

function showNoPicture(why) {
  at("stage").hidden = true;
  at("query-name").textContent = why;
}

/** The query as a picture of its own, for beside a hit. */
function queryPicture() {
  const frame = document.createElement("span");
  if (!query?.size) {
    frame.className = "soft";
    frame.textContent = at("query-name").textContent;
    return frame;
  }
  if (query.hit) {
    const shown = picture({ ...query.hit, box: null }, SHOWN_SIDE);
    if (state.box) shown.append(mark(state.box, query.size, "asked"));
    return shown;
  }
  const img = new Image();
  img.src = query.url;
  img.alt = "";
  frame.className = "picture";
  frame.style.aspectRatio = `${query.size.width} / ${query.size.height}`;
  frame.append(img);
  if (state.box) frame.append(mark(state.box, query.size, "asked"));
  return frame;
}

async function take(file) {
  if (!file) return;
  if (file.type && !file.type.startsWith("image/")) {
    complain(`${file.name} is not an image: choose a JPEG, PNG, WebP or another image file.`);
    return;
  }
  const key = `${Date.now()}-${uploads.size}`;
  const data = await dataUrl(file).catch(() => null);
  if (data === null) {
    complain(`${file.name} cannot be read: choose it again.`);
    return;
  }
  uploads.set(key, { data, name: file.name || "the pasted image", url: URL.createObjectURL(file) });
  go({ id: null, url: null, upload: key, box: null, hit: null });
}

function dataUrl(file) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = failed;
    reader.readAsDataURL(file);
  });
}

// Answers

async function run() {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  hits = [];
  at("more").hidden = true;
  at("show-request").hidden = !isSearch(state);
  if (state.upload !== null && !uploads.has(state.upload)) {
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
      ? searchBody(state, uploads.get(state.upload)?.data, from)
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
    searched = query = null;
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
  dialog.open(hits[where], state, uploads.get(state.upload)?.data, queryPicture(), ends);
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

function showChips() {
  const chips = state.filters.map(text => chip(text, () => go({ filters: state.filters.filter(one => one !== text) })));
  at("chips").replaceChildren(...chips);
}

function chip(text, off) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "chip";
  button.setAttribute("aria-label", `Take off the filter ${text}`);
  button.append(textOf("", text.replace(/^meta\.|^classes\.name=/, "")), textOf("off", "×"));
  button.addEventListener("click", off);
  return button;
}

function showOptions() {
  at("compare").value = state.compare;
  at("expand").checked = state.expand;
  at("refine").checked = state.refine;
  at("refine").disabled = state.compare !== "parts";
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
    showFacets(at("facets"), fields, found.aggregations ?? {}, state.filters, filters => go({ filters, hit: null }));
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

for (const id of ["file", "camera"]) {
  at(id).addEventListener("change", () => {
    take(at(id).files[0]);
    at(id).value = "";
  });
}
for (const button of document.querySelectorAll("[data-opens]")) {
  button.addEventListener("click", () => at(button.dataset.opens).click());
}
at("new").addEventListener("click", () => go({ ...EMPTY, filters: state.filters }));
at("add-box").addEventListener("click", () => editor.begin());
at("remove-box").addEventListener("click", () => go({ box: null }));
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
  searched = query = null;
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
  if (!state.filters.includes(text)) go({ filters: [...state.filters, text], hit: null });
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
document.addEventListener("paste", event => {
  const file = [...(event.clipboardData?.files ?? [])][0];
  if (file) take(file);
});
document.addEventListener("dragover", event => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", event => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
document.addEventListener("drop", event => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  take(event.dataTransfer.files[0]);
});
addEventListener("popstate", followAddress);

at("filters").open = !matchMedia("(max-width: 48rem)").matches;
await readMapping();
followAddress();
