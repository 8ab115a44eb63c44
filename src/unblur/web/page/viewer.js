// Two pictures of one size on top of each other, with a border between them that can be moved, and zoom.

const LARGEST = 16; // screen pixels per pixel of the photo
const STEP = 1.5; // factor of the zoom buttons and keys
const between = (value, low, high) => Math.min(Math.max(value, low), high);

export class Viewer {
  /** @param {HTMLElement} root has the two images, the divider and the zoom buttons. */
  constructor(root) {
    this.root = root;
    this.before = root.querySelector(".before");
    this.after = root.querySelector(".after");
    this.divider = root.querySelector(".divider");
    this.frame = root.querySelector(".region");
    this.region = null; // left, top, width, height in pixels of the picture
    this.picked = null; // called with a region that is being drawn
    this.split = 0.5; // where the border is, as a share of the width of the viewer
    this.fitted = true;
    [this.scale, this.x, this.y] = [1, 0, 0]; // of the picture in the viewer
    this.pointers = new Map();
    this.before.addEventListener("load", () => (this.fitted ? this.fit() : this.draw()));
    new ResizeObserver(() => (this.fitted ? this.fit() : this.draw())).observe(root);
    this.listen();
  }

  /** Show a photo; `after` may be null. `keep`: the same photo as before, so the zoom stays. */
  show(before, after, keep) {
    this.root.classList.toggle("single", !after);
    this.after.hidden = !after;
    if (!keep) this.fitted = true;
    if (this.before.getAttribute("src") !== before) this.before.src = before;
    if (after && this.after.getAttribute("src") !== after) this.after.src = after;
    this.draw();
  }

  set strength(share) {
    this.after.style.opacity = share;
  }

  get size() {
    return [this.before.naturalWidth, this.before.naturalHeight];
  }

  /** The scale at which the whole photo is shown; a small photo is not enlarged. */
  get whole() {
    const [width, height] = this.size;
    return Math.min(this.root.clientWidth / width, this.root.clientHeight / height, 1 / devicePixelRatio) || 1;
  }

  fit() {
    this.fitted = true;
    this.scale = this.whole;
    this.draw();
  }

  /** Zoom to a scale, so that the point (x, y) of the viewer stays where it is. */
  zoom(scale, x = this.root.clientWidth / 2, y = this.root.clientHeight / 2) {
    const before = this.scale;
    this.scale = between(scale, this.whole, Math.max(LARGEST / devicePixelRatio, this.whole));
    this.fitted = this.scale === this.whole;
    this.x = x - ((x - this.x) * this.scale) / before;
    this.y = y - ((y - this.y) * this.scale) / before;
    this.draw();
  }

  /** Move the border to a share of the viewer's width. */
  cut(split) {
    this.split = between(split, 0, 1);
    this.draw();
  }

  /** Let a region be drawn with the pointer; `picked` is called with it. */
  pick(picked) {
    this.picked = picked;
    this.draw();
  }

  /** The region between two points of the viewer, cut at the borders of the picture. */
  regionBetween(a, b) {
    const [width, height] = this.size;
    const x = [a[0], b[0]].map((each) => between(Math.round((each - this.x) / this.scale), 0, width));
    const y = [a[1], b[1]].map((each) => between(Math.round((each - this.y) / this.scale), 0, height));
    return [Math.min(...x), Math.min(...y), Math.abs(x[1] - x[0]), Math.abs(y[1] - y[0])];
  }

  drawRegion() {
    this.root.classList.toggle("picking", Boolean(this.picked));
    this.frame.hidden = !this.region;
    if (!this.region) return;
    const [left, top, width, height] = this.region.map((each) => each * this.scale);
    const style = { left: left + this.x, top: top + this.y, width, height };
    for (const [name, value] of Object.entries(style)) this.frame.style[name] = `${value}px`;
  }

  draw() {
    const [width, height] = this.size;
    const room = [this.root.clientWidth, this.root.clientHeight];
    const place = (offset, side, space) => (side <= space ? (space - side) / 2 : between(offset, space - side, 0));
    this.x = place(this.x, width * this.scale, room[0]);
    this.y = place(this.y, height * this.scale, room[1]);
    for (const image of [this.before, this.after]) {
      image.style.width = `${width}px`; // also for an `after` that has not been loaded yet
      image.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    }
    const edge = (this.split * room[0] - this.x) / this.scale;
    this.after.style.clipPath = `inset(0 0 0 ${between(edge, 0, width)}px)`;
    this.divider.style.left = `${this.split * 100}%`;
    this.divider.setAttribute("aria-valuenow", Math.round(this.split * 100));
    this.drawRegion();
    this.root.classList.toggle("zoomed", !this.fitted);
    this.root.classList.toggle("coarse", this.scale * devicePixelRatio >= 2);
    const full = Math.abs(this.scale * devicePixelRatio - 1) < 1e-6;
    this.root.querySelector("[data-zoom=fit]").setAttribute("aria-pressed", this.fitted);
    this.root.querySelector("[data-zoom=full]").setAttribute("aria-pressed", full);
  }

  listen() {
    const { root } = this;
    const inside = (event) => [event.clientX - root.getBoundingClientRect().x, event.clientY - root.getBoundingClientRect().y];
    root.addEventListener("pointerdown", (event) => {
      if (event.target.closest(".zoom") || event.button !== 0) return;
      this.cutting = this.fitted || this.divider.contains(event.target);
      if (this.pointers.size < 2) this.pointers.set(event.pointerId, inside(event));
      root.setPointerCapture(event.pointerId);
      this.corner = inside(event);
      if (this.picked) return;
      if (this.cutting && this.pointers.size === 1) this.cut(inside(event)[0] / root.clientWidth);
      this.divider.focus({ preventScroll: true });
    });
    root.addEventListener("pointermove", (event) => {
      const was = this.pointers.get(event.pointerId);
      if (!was) return;
      const now = inside(event);
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
      this.pointers.set(event.pointerId, now);
      if (this.picked) {
        this.region = this.regionBetween(this.corner, now);
        this.drawRegion();
      } else if (other) {
        const distance = ([x, y]) => Math.hypot(x - other[0], y - other[1]) || 1;
        this.zoom((this.scale * distance(now)) / distance(was), other[0], other[1]);
      } else if (this.cutting) {
        this.cut(now[0] / root.clientWidth);
      } else {
        this.x += now[0] - was[0];
        this.y += now[1] - was[1];
        this.draw();
      }
    });
    for (const end of ["pointerup", "pointercancel"]) {
      root.addEventListener(end, (event) => {
        if (this.picked && end === "pointerup" && this.pointers.has(event.pointerId)) {
          const { picked } = this;
          this.picked = null;
          picked(this.region);
        }
        this.pointers.delete(event.pointerId);
      });
    }
    root.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(this.scale * 2 ** (-event.deltaY / 300), ...inside(event));
    }, { passive: false });
    root.addEventListener("dblclick", (event) => {
      if (event.target.closest(".zoom")) return;
      if (this.fitted) this.zoom(1 / devicePixelRatio, ...inside(event));
      else this.fit();
    });
    root.querySelector(".zoom").addEventListener("click", (event) => this.step(event.target.dataset.zoom));
    this.divider.addEventListener("keydown", (event) => this.key(event));
  }

  step(kind) {
    if (kind === "fit") this.fit();
    if (kind === "full") this.zoom(1 / devicePixelRatio);
    if (kind === "in") this.zoom(this.scale * STEP);
    if (kind === "out") this.zoom(this.scale / STEP);
  }

  key(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1 }[event.key];
    const upright = event.key === "ArrowUp" || event.key === "ArrowDown";
    if (by && (event.shiftKey || (upright && !this.fitted))) {
      if (upright) this.y -= 40 * by;
      else this.x -= 40 * by;
      this.draw();
    } else if (by && !upright) this.cut(this.split + 0.02 * by);
    else if (event.key === "Home") this.cut(0);
    else if (event.key === "End") this.cut(1);
    else if (event.key === "+" || event.key === "=") this.step("in");
    else if (event.key === "-") this.step("out");
    else if (event.key === "0") this.step("fit");
    else if (event.key === "1") this.step("full");
    else return;
    event.preventDefault();
  }
}
