// The query panel: an image from this device or of the gallery, and the box on it.

import { mark, picture, readHit } from "./answers.js";
import { BoxEditor } from "./box.js";
import { imageBody } from "./searches.js";
import { ask } from "./server.js";
import { isSearch } from "./state.js";

const SIDE = 1024;
const at = id => document.getElementById(id);

export class QueryPanel {
  /** `chosen` gets the key of an image from this device, `boxed` a box or null, `failed` a sentence. */
  constructor(index, { chosen, boxed, failed }) {
    this.path = `/${encodeURIComponent(index)}/_search`;
    this.chosen = chosen;
    this.failed = failed;
    this.uploads = new Map(); // key → { data, name, url }
    this.shown = null; // { of, size, hit, url }: which query, and how it is shown
    this.editor = new BoxEditor(at("stage"), at("box"), boxed);
    at("add-box").addEventListener("click", () => this.editor.begin());
    at("remove-box").addEventListener("click", () => boxed(null));
    this.#listen();
  }

  /** The state is of a search with an image that this tab does not have. */
  isLost(state) {
    return state.upload !== null && !this.uploads.has(state.upload);
  }

  /** The uploaded image as a data URL; undefined for an indexed one. */
  dataOf(state) {
    return this.uploads.get(state.upload)?.data;
  }

  forget() {
    this.shown = null;
  }

  async show(state) {
    this.state = state;
    const asking = isSearch(state) && !this.isLost(state);
    at("drop").hidden = asking;
    at("asked").hidden = !asking;
    if (!asking) {
      this.shown = null;
      return;
    }
    const of = JSON.stringify([state.id, state.url, state.upload]);
    if (this.shown?.of !== of) {
      const shown = { of, size: null, hit: null, url: null };
      this.shown = shown;
      this.#words("");
      await this.#load(state, shown);
      if (shown !== this.shown) return;
    }
    this.#showBox();
  }

  /** The query as a picture of its own, with its box. */
  picture(state) {
    const { size, hit, url } = this.shown ?? {};
    if (!size) {
      const words = document.createElement("span");
      words.className = "soft";
      words.textContent = at("query-name").textContent;
      return words;
    }
    const frame = hit ? picture({ ...hit, box: null }, SIDE) : uploaded(url, size);
    if (state.box) frame.append(mark(state.box, size, "asked"));
    return frame;
  }

  #load(state, shown) {
    if (state.id !== null) return this.#loadIndexed(state.id, shown);
    if (state.upload !== null) return this.#loadUpload(this.uploads.get(state.upload), shown);
    this.#words(`An image from ${state.url}, which this page does not load.`);
    return null;
  }

  async #loadIndexed(id, shown) {
    const { found } = await ask(this.path, imageBody(id)).catch(() => ({ found: null }));
    const hit = found?.hits.hits[0];
    if (shown !== this.shown || !hit) return;
    shown.hit = readHit(hit, 0);
    shown.size = { width: shown.hit.width, height: shown.hit.height };
    this.#picture(picture({ ...shown.hit, box: null }, SIDE), shown.hit.name);
  }

  async #loadUpload({ url, name }, shown) {
    const img = new Image();
    img.src = url;
    const seen = await img.decode().then(() => true, () => false);
    if (shown !== this.shown) return;
    if (!seen) {
      this.#words(`This browser cannot show ${name}, so no box can be drawn on it.`);
      return;
    }
    shown.size = { width: img.naturalWidth, height: img.naturalHeight };
    shown.url = url;
    this.#picture(uploaded(url, shown.size), name);
  }

  #picture(frame, name) {
    at("stage").hidden = false;
    at("stage-picture").replaceChildren(frame);
    at("query-name").textContent = name;
  }

  #words(why) {
    at("stage").hidden = true;
    at("query-name").textContent = why;
  }

  #showBox() {
    const { size } = this.shown, { box } = this.state; // newer than what has been loaded for it
    this.editor.show(box, size);
    at("add-box").hidden = !size || box !== null;
    at("remove-box").hidden = box === null;
    at("box-help").hidden = !size;
  }

  async #take(file) {
    if (!file) return;
    if (file.type && !file.type.startsWith("image/")) {
      this.failed(`${file.name} is not an image: choose a JPEG, PNG, WebP or another image file.`);
      return;
    }
    const data = await dataUrl(file).catch(() => null);
    if (data === null) {
      this.failed(`${file.name} cannot be read: choose it again.`);
      return;
    }
    const key = `${Date.now()}-${this.uploads.size}`;
    this.uploads.set(key, { data, name: file.name || "the pasted image", url: URL.createObjectURL(file) });
    this.chosen(key);
  }

  #listen() {
    for (const id of ["file", "camera"]) {
      at(id).addEventListener("change", () => {
        this.#take(at(id).files[0]);
        at(id).value = "";
      });
    }
    for (const button of document.querySelectorAll("[data-opens]")) {
      button.addEventListener("click", () => at(button.dataset.opens).click());
    }
    document.addEventListener("paste", event => this.#take(event.clipboardData?.files[0]));
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
      this.#take(event.dataTransfer.files[0]);
    });
  }
}

function uploaded(url, size) {
  const frame = document.createElement("span"), img = new Image();
  img.src = url;
  img.alt = "";
  frame.className = `picture ${size.width >= size.height ? "wide" : "high"}`;
  frame.style.aspectRatio = `${size.width} / ${size.height}`;
  frame.append(img);
  return frame;
}

function dataUrl(file) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = failed;
    reader.readAsDataURL(file);
  });
}
