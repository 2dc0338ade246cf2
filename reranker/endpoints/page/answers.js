// The grid of images: answers of a search, or images of the gallery.

import { place } from "./box.js";
import { showThumbnail } from "./server.js";

const SIDE = 400;

/** One hit of `_search` as the page uses it. */
export function readHit(hit, rank) {
  const fields = hit.fields ?? {};
  return {
    _id: hit._id,
    _index: hit._index,
    score: hit._score,
    rank,
    firstRank: fields["camsearch.first_rank"]?.[0] ?? null,
    box: fields["camsearch.box"] ?? null,
    width: fields.width?.[0] ?? 0,
    height: fields.height?.[0] ?? 0,
    name: nameOf(fields.uri?.[0] ?? hit._id),
    uri: fields.uri?.[0] ?? hit._id,
  };
}

export function nameOf(uri) {
  return uri.split("/").filter(Boolean).pop() ?? uri;
}

/** A list item that leads to `address`; `open` is called instead of following it. */
export function card(hit, address, open, scored) {
  const item = document.createElement("li"), link = document.createElement("a");
  const tile = document.createElement("span"), caption = document.createElement("span");
  link.href = address;
  link.dataset.id = hit._id;
  link.title = hit.uri;
  link.addEventListener("click", event => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    open(hit);
  });
  tile.className = "tile";
  tile.append(picture(hit, SIDE));
  caption.className = "caption";
  if (scored) caption.append(ranks(hit));
  caption.append(textOf("name", hit.name));
  link.append(tile, caption);
  item.append(link);
  return item;
}

/** An indexed image in its proportions, with the box where the query was found. */
export function picture(hit, side) {
  const frame = document.createElement("span"), img = document.createElement("img");
  frame.className = "picture";
  img.alt = "";
  if (hit.width && hit.height) {
    img.width = hit.width;
    img.height = hit.height;
    frame.style.aspectRatio = `${hit.width} / ${hit.height}`;
    frame.classList.add(hit.width >= hit.height ? "wide" : "high");
  }
  showThumbnail(img, hit, side);
  frame.append(img);
  if (hit.box) frame.append(mark(hit.box, hit, "found"));
  return frame;
}

/** A box in pixels of an image. */
export function mark(box, size, kind) {
  const drawn = document.createElement("i");
  drawn.className = kind;
  place(drawn, [box[0] / size.width, box[1] / size.height, box[2] / size.width, box[3] / size.height]);
  return drawn;
}

function ranks(hit) {
  const line = document.createElement("span");
  line.className = "ranks";
  line.append(textOf("rank", `${hit.rank}`), textOf("score", hit.score.toFixed(3)));
  if (hit.firstRank !== null && hit.firstRank !== hit.rank) {
    const up = hit.firstRank > hit.rank;
    const change = textOf(up ? "up" : "down", `${up ? "▲" : "▼"} from ${hit.firstRank}`);
    change.title = `rank ${hit.firstRank} in the first search, ${hit.rank} after re-ranking`;
    line.append(change);
  }
  return line;
}

export function textOf(kind, text) {
  const said = document.createElement("span");
  said.className = kind;
  said.textContent = text;
  return said;
}
