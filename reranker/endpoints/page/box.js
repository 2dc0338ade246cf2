// A box over an image, drawn by mouse, touch or keys. It is kept in fractions of the image.

const EDGE = 14; // CSS pixels within which an edge is moved, and not the whole box
const SMALLEST = 8; // CSS pixels; anything smaller is a click
const STEP = 0.02;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const KEYS_REST = 500; // ms without a key after which the box is used

export class BoxEditor {
  /** `released` gets the box, or null, when the user is done with it. */
  constructor(stage, frame, released) {
    this.stage = stage;
    this.frame = frame;
    this.released = released;
    this.box = null;
    this.size = null;
    stage.addEventListener("pointerdown", event => this.#press(event));
    stage.addEventListener("pointermove", event => this.#move(event));
    stage.addEventListener("pointerup", () => this.#release());
    stage.addEventListener("pointercancel", () => this.show(this.before, this.size));
    frame.addEventListener("keydown", event => this.#key(event));
    frame.addEventListener("blur", () => this.#rest());
  }

  /** Show a box in pixels of an image of this size. */
  show(pixels, size) {
    this.drag = null;
    this.before = pixels;
    this.size = size;
    this.box = pixels && size
      ? [pixels[0] / size.width, pixels[1] / size.height, pixels[2] / size.width, pixels[3] / size.height].map(clip)
      : null;
    this.#paint();
  }

  /** Start with a box in the middle, for those who use keys. */
  begin() {
    this.box = [0.25, 0.25, 0.75, 0.75];
    this.#paint();
    this.frame.focus();
    this.released(this.#pixels());
  }

  #point(event) {
    const seen = this.stage.getBoundingClientRect();
    return [clip((event.clientX - seen.left) / seen.width), clip((event.clientY - seen.top) / seen.height)];
  }

  #press(event) {
    if (!this.size || event.button !== 0) return;
    event.preventDefault();
    this.stage.setPointerCapture(event.pointerId);
    const at = this.#point(event);
    this.drag = { at, box: this.box, edges: this.#edges(at) };
    this.frame.focus({ preventScroll: true });
  }

  /** Which sides a press holds: left, top, right, bottom; null for a new box. */
  #edges(at) {
    if (!this.box) return null;
    const seen = this.stage.getBoundingClientRect();
    const near = [EDGE / seen.width, EDGE / seen.height];
    const beyond = [0, 1].some(i => at[i] < this.box[i] - near[i] || at[i] > this.box[i + 2] + near[i]);
    if (beyond) return null;
    const held = this.box.map((side, i) => Math.abs(at[i % 2] - side) <= near[i % 2]);
    return held.some(Boolean) ? held : [true, true, true, true];
  }

  #move(event) {
    if (!this.drag) return;
    const { at, box, edges } = this.drag, to = this.#point(event);
    if (!edges) this.box = ordered([...at, ...to]);
    else if (edges.every(Boolean)) this.box = moved(box, to[0] - at[0], to[1] - at[1]);
    else this.box = ordered(box.map((side, i) => (edges[i] ? clip(side + to[i % 2] - at[i % 2]) : side)));
    this.#paint();
  }

  #release() {
    if (!this.drag) return;
    const before = this.drag.box;
    this.drag = null;
    const seen = this.stage.getBoundingClientRect(), box = this.box;
    if (box && ((box[2] - box[0]) * seen.width < SMALLEST || (box[3] - box[1]) * seen.height < SMALLEST)) {
      this.box = before;
      this.#paint();
    }
    if (this.box !== before) this.released(this.#pixels());
  }

  #key(event) {
    if (event.key === "Delete" || event.key === "Backspace") {
      event.preventDefault();
      this.released(null);
      return;
    }
    const way = ARROWS[event.key];
    if (!way || !this.box) return;
    event.preventDefault();
    const [x, y] = way.map(one => one * STEP);
    this.box = event.shiftKey
      ? ordered([...this.box.slice(0, 2), Math.max(clip(this.box[2] + x), this.box[0] + STEP), Math.max(clip(this.box[3] + y), this.box[1] + STEP)])
      : moved(this.box, x, y);
    this.#paint();
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.#rest(), KEYS_REST);
  }

  #rest() {
    if (this.resting === undefined) return;
    clearTimeout(this.resting);
    this.resting = undefined;
    this.released(this.#pixels());
  }

  #pixels() {
    const { width, height } = this.size;
    const [x0, y0, x1, y1] = this.box;
    return [Math.floor(x0 * width), Math.floor(y0 * height), Math.ceil(x1 * width), Math.ceil(y1 * height)];
  }

  #paint() {
    this.frame.hidden = !this.box;
    if (!this.box) return;
    place(this.frame, this.box);
    this.frame.setAttribute("aria-label", `Box: ${this.#pixels().join(", ")} pixels`);
  }
}

/** Put an element over its parent; the box is in fractions. */
export function place(element, [x0, y0, x1, y1]) {
  element.style.left = `${x0 * 100}%`;
  element.style.top = `${y0 * 100}%`;
  element.style.width = `${(x1 - x0) * 100}%`;
  element.style.height = `${(y1 - y0) * 100}%`;
}

function clip(value) {
  return Math.min(Math.max(value, 0), 1);
}

function ordered([x0, y0, x1, y1]) {
  return [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
}

function moved([x0, y0, x1, y1], x, y) {
  const across = Math.min(Math.max(x, -x0), 1 - x1), down = Math.min(Math.max(y, -y0), 1 - y1);
  return [x0 + across, y0 + down, x1 + across, y1 + down];
}
