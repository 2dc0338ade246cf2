// What is searched for, as the page's address. An image from the user's device is not part of the
// address: it stays in this tab, under the key in `history.state`.

export const COMPARE = ["parts", "windows", "maps", "whole"];

export const EMPTY = Object.freeze({
  id: null, // of an indexed image
  url: null, // of an image that the server may fetch
  upload: null, // key of an image from this device
  box: null, // x0, y0, x1, y1 in pixels of the query image
  also: [], // more views of the thing: { id, box } of indexed images
  without: [], // what it is not, in the same way
  compare: COMPARE[0],
  expand: false,
  refine: false,
  filters: [], // such as "meta.city=Paris" or "width>=1000"
  hit: null, // id of the hit that is open
});

export function isSearch(state) {
  return state.id !== null || state.url !== null || state.upload !== null;
}

/** The state of an address's query string, and of `history.state` for an upload. */
export function readAddress(query, kept) {
  const given = new URLSearchParams(query);
  const compare = given.get("compare");
  return {
    ...EMPTY,
    id: given.get("id"),
    url: given.has("id") ? null : given.get("url"),
    upload: given.has("upload") && !given.has("id") ? kept?.upload ?? "lost" : null,
    box: readBox(given.get("box")),
    also: given.getAll("also").map(readExample),
    without: given.getAll("without").map(readExample),
    compare: COMPARE.includes(compare) ? compare : COMPARE[0],
    expand: given.has("expand"),
    refine: given.has("refine"),
    filters: given.getAll("filter"),
    hit: given.get("hit"),
  };
}

export function addressOf(state) {
  const said = new URLSearchParams();
  if (state.id !== null) said.set("id", state.id);
  else if (state.url !== null) said.set("url", state.url);
  else if (state.upload !== null) said.set("upload", "");
  if (state.box) said.set("box", state.box.join(","));
  for (const name of ["also", "without"]) {
    for (const { id, box } of state[name]) said.append(name, `${box?.join(",") ?? ""}@${id}`);
  }
  if (state.compare !== COMPARE[0]) said.set("compare", state.compare);
  for (const name of ["expand", "refine"]) if (state[name]) said.set(name, "");
  for (const filter of state.filters) said.append("filter", filter);
  if (state.hit !== null) said.set("hit", state.hit);
  const query = said.toString();
  return query ? `?${query}` : location.pathname;
}

/** Such as "10,20,30,40@cat-1", or "@cat-1" for a whole image. */
function readExample(text) {
  const end = text.indexOf("@");
  return { id: text.slice(end + 1), box: readBox(text.slice(0, Math.max(end, 0))) };
}

function readBox(text) {
  const box = (text ?? "").split(",").map(Number);
  const fits = box.length === 4 && box.every(v => Number.isFinite(v) && v >= 0);
  return fits && box[0] < box[2] && box[1] < box[3] ? box : null;
}
