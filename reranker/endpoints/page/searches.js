// Bodies of `_search` for what the page shows.

import { filterQuery } from "./filters.js";

export const PAGE = 48;
const FIRST = 100; // hits that are re-ranked, and the most that are shown
const SHOWN = { _source: false, fields: ["uri", "width", "height"] };

/** The query's own image and box. */
export function firstOf(state, data) {
  const image = state.id !== null ? { id: state.id } : state.url !== null ? { url: state.url } : { data };
  return state.box ? { image, box: state.box } : { image };
}

/** All images of the query, as wherever the dialect takes an image. */
export function imagesOf(state, data) {
  const { image, ...box } = firstOf(state, data);
  const without = state.without.length ? { without: state.without.map(listed) } : {};
  if (!state.also.length) return { image, ...box, ...without };
  return { images: [{ ...image, ...box }, ...state.also.map(listed)], ...without };
}

function listed({ id, box }) {
  return box ? { id, box } : { id };
}

/** An image search. `data` is a data URL, for an image from this device. */
export function searchBody(state, data, from = 0) {
  const knn = {
    field: state.compare === "windows" ? "regions.vector" : "descriptor",
    k: FIRST,
    num_candidates: 4 * FIRST,
    query_vector_builder: { camsearch: imagesOf(state, data) },
  };
  const filter = filterQuery(state.filters);
  if (filter) knn.filter = filter;
  const rest = { ...(from ? { from } : {}), size: PAGE, ...SHOWN };
  if (["windows", "whole"].includes(state.compare) && !state.expand) return { ...rest, knn };
  return { ...rest, retriever: { camsearch: { retriever: { knn }, rank_window_size: FIRST, ...steps(state) } } };
}

function steps(state) {
  const said = {};
  if (state.compare === "maps") said.rerank = { by: "maps" };
  else if (state.compare !== "parts") said.rerank = false;
  else if (state.refine) said.rerank = { refine: true };
  if (state.expand) said.expand = { hits: 5 };
  return said;
}

/** Images of the gallery, without a query image. */
export function galleryBody(filters, from = 0) {
  return { from, size: PAGE, ...SHOWN, query: filterQuery(filters) ?? { match_all: {} } };
}

export function imageBody(id) {
  return { size: 1, ...SHOWN, query: { ids: { values: [id] } } };
}

/** The same search by any client of Elasticsearch itself; null stands for the vector. */
export function plainBody(state, windows) {
  const knn = { field: "descriptor", query_vector: null, k: FIRST, num_candidates: 4 * FIRST };
  if (windows) {
    knn.field = "regions.vector";
    knn.inner_hits = { size: 1, _source: ["regions.box"] };
  }
  const filter = filterQuery(state.filters);
  if (filter) knn.filter = filter;
  return { size: PAGE, ...SHOWN, knn };
}
