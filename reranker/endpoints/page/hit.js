// One hit beside the query: heat map, regions, classes, metadata, and where to go from there.

import { mark, picture } from "./answers.js";
import { ask } from "./server.js";
import { firstOf } from "./searches.js";

const SIDE = 1024;
const at = id => document.getElementById(id);

export class HitDialog {
  /**
   * `search` gets the image to search with; `refine` "also" or "without", and the hit; `step` says
   * which hit to go to; `closed` is called when it is.
   */
  constructor({ search, refine, step, closed }) {
    this.dialog = at("hit");
    this.closed = closed;
    this.running = new AbortController();
    this.dialog.addEventListener("close", () => {
      this.running.abort();
      this.hit = null;
      closed();
    });
    at("hit-close").addEventListener("click", () => this.dialog.close());
    at("hit-search").addEventListener("click", () => search({ id: this.hit._id, box: null }));
    at("hit-search-part").addEventListener("click", () => search({ id: this.hit._id, box: this.hit.box.map(Math.round) }));
    at("hit-also").addEventListener("click", () => refine("also", this.hit));
    at("hit-without").addEventListener("click", () => refine("without", this.hit));
    at("hit-before").addEventListener("click", () => step(-1));
    at("hit-after").addEventListener("click", () => step(1));
    at("heat").addEventListener("input", () => this.#paintHeat());
    at("regions").addEventListener("change", () => this.#paintRegions());
    this.dialog.addEventListener("keydown", event => {
      if (event.target.id === "heat") return;
      if (event.key === "ArrowLeft") step(-1);
      if (event.key === "ArrowRight") step(1);
    });
  }

  get openId() {
    return this.hit?._id ?? null;
  }

  /** `query` is a picture of the query; `ends` says whether there is a hit before and after. */
  open(hit, state, data, query, ends) {
    this.running.abort();
    this.running = new AbortController();
    this.hit = hit;
    this.explained = null;
    at("hit-title").textContent = `${hit.rank}. ${hit.name}`;
    at("hit-score").textContent = scoreLine(hit);
    at("hit-query").replaceChildren(query);
    this.frame = picture(hit, SIDE);
    at("hit-image").replaceChildren(this.frame);
    at("hit-search-part").hidden = !hit.box;
    at("hit-before").disabled = !ends.before;
    at("hit-after").disabled = !ends.after;
    for (const id of ["hit-classes", "hit-meta"]) at(id).replaceChildren();
    at("hit-said").textContent = "Computing the heat map…";
    at("heat").disabled = at("regions").disabled = true;
    if (!this.dialog.open) this.dialog.showModal();
    this.#explain(hit, state, data, this.running.signal);
    this.#describe(hit, this.running.signal);
  }

  close() {
    if (this.dialog.open) this.dialog.close();
  }

  async #explain(hit, state, data, signal) {
    try {
      const body = { id: hit._id, index: hit._index, overlay: true, ...firstOf(state, data) };
      const { found } = await ask("/_camsearch/explain", body, signal);
      if (signal.aborted) return;
      this.explained = found;
      at("hit-said").textContent = "";
      at("heat").disabled = at("regions").disabled = false;
      const heat = document.createElement("img");
      heat.className = "heat";
      heat.alt = "Heat map of the query's classes";
      heat.src = `data:image/png;base64,${found.heat_map}`;
      this.frame.querySelector("img").after(heat);
      this.#paintHeat();
      this.#paintRegions();
      at("hit-classes").replaceChildren(...found.classes.map(classRow));
    } catch (error) {
      if (error.name !== "AbortError") at("hit-said").textContent = `There is no heat map. ${error.message}`;
    }
  }

  async #describe(hit, signal) {
    try {
      const path = `/${encodeURIComponent(hit._index)}/_search`;
      const body = {
        size: 1,
        query: { ids: { values: [hit._id] } },
        _source: ["uri", "width", "height", "indexed_at", "meta"],
      };
      const { found } = await ask(path, body, signal);
      const source = found.hits.hits[0]?._source;
      if (source) at("hit-meta").replaceChildren(...metadata(source));
    } catch (error) {
      if (error.name !== "AbortError") at("hit-meta").textContent = error.message;
    }
  }

  #paintHeat() {
    const heat = this.frame?.querySelector(".heat");
    if (heat) heat.style.opacity = at("heat").value / 100;
    at("heat-value").textContent = `${at("heat").value} %`;
  }

  #paintRegions() {
    this.frame?.querySelectorAll(".tried").forEach(one => one.remove());
    if (!this.explained || !at("regions").checked) return;
    this.frame.append(...this.explained.regions.map(one => mark(one.box, this.hit, "tried")));
    const best = this.explained.regions.length;
    at("hit-said").textContent = best ? `${best} regions of the maps were compared.` : "No region was large enough.";
  }
}

function scoreLine(hit) {
  const change = hit.firstRank !== null && hit.firstRank !== hit.rank ? `, rank ${hit.firstRank} → ${hit.rank}` : "";
  return `score ${hit.score.toFixed(4)}${change}`;
}

function classRow(one) {
  const row = document.createElement("tr"), name = document.createElement("th"), share = document.createElement("td");
  name.scope = "row";
  name.textContent = one.name ?? `class ${one.number}`;
  share.textContent = `${(100 * one.probability_in_hit).toFixed(1)} %`;
  if (one.patches) { // of a learned class, which has no label
    const img = document.createElement("img");
    img.alt = "";
    img.className = "patches";
    img.src = `data:image/jpeg;base64,${one.patches}`;
    name.append(img);
  }
  row.append(name, share);
  return row;
}

/** Terms and values; metadata may be nested. */
function metadata({ meta = {}, ...rest }) {
  const said = { file: rest.uri, size: `${rest.width} × ${rest.height} pixels`, indexed: rest.indexed_at, ...meta };
  return Object.entries(said).flatMap(([name, value]) => {
    if (value === undefined || value === null) return [];
    const term = document.createElement("dt"), about = document.createElement("dd");
    term.textContent = name;
    about.textContent = typeof value === "object" ? JSON.stringify(value) : String(value);
    return [term, about];
  });
}
