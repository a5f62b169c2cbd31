// Which part of the floor is on screen. Cells → CSS pixels: screen = (cell − origin) · scale.

const MARGIN = { left: 28, right: 66, top: 24, bottom: 62 };
const MOST_SCALE = 160;
const READABLE_SCALE = 15; // names show from here on

export class Camera {
  constructor(plan) {
    this.plan = plan;
    this.scale = 20;
    this.x = 0;
    this.y = 0;
    this.width = 1;
    this.height = 1;
    this.fitted = true; // follows resizes until the person moves the view
    this.version = 0;
  }

  resize(width, height) {
    if (width === this.width && height === this.height) return;
    this.width = width;
    this.height = height;
    if (this.fitted) this.fit();
    this.version += 1;
  }

  get fitScale() {
    const w = Math.max(50, this.width - MARGIN.left - MARGIN.right);
    const h = Math.max(50, this.height - MARGIN.top - MARGIN.bottom);
    return Math.min(w / this.plan.width, h / this.plan.height);
  }

  fit() {
    this.scale = this.fitScale;
    this.x = this.plan.width / 2 - (this.width + MARGIN.left - MARGIN.right) / 2 / this.scale;
    this.y = this.plan.height / 2 - (this.height + MARGIN.top - MARGIN.bottom) / 2 / this.scale;
    this.fitted = true;
    this.version += 1;
  }

  pan(dxPx, dyPx) {
    this.x -= dxPx / this.scale;
    this.y -= dyPx / this.scale;
    this.#moved();
  }

  /** Zooms about a point on screen, which stays where it is. */
  zoom(factor, xPx = this.width / 2, yPx = this.height / 2) {
    const [cx, cy] = this.toCell(xPx, yPx);
    this.scale = Math.min(MOST_SCALE, Math.max(this.fitScale * 0.5, this.scale * factor));
    this.x = cx - xPx / this.scale;
    this.y = cy - yPx / this.scale;
    this.#moved();
  }

  /** Brings a cell to the middle, close enough to read names there. */
  show(cx, cy) {
    if (this.sees(cx, cy) && this.scale >= READABLE_SCALE) return;
    this.scale = Math.max(this.scale, 2 * READABLE_SCALE);
    this.x = cx - this.width / 2 / this.scale;
    this.y = cy - this.height / 2 / this.scale;
    this.#moved();
  }

  sees(cx, cy, extra = 0) {
    const [sx, sy] = this.toScreen(cx, cy);
    return sx > -extra && sy > -extra && sx < this.width + extra && sy < this.height + extra;
  }

  /** Whether a box of cells touches the screen. */
  seesBox({ x, y, w, h }) {
    const [left, top] = this.toScreen(x, y);
    return left < this.width && top < this.height && left + w * this.scale > 0 && top + h * this.scale > 0;
  }

  toScreen(cx, cy) {
    return [(cx - this.x) * this.scale, (cy - this.y) * this.scale];
  }

  toCell(xPx, yPx) {
    return [xPx / this.scale + this.x, yPx / this.scale + this.y];
  }

  #moved() {
    // The floor's middle stays on screen: nobody gets lost in the void.
    this.x = Math.min(this.plan.width - 1, Math.max(1 - this.width / this.scale, this.x));
    this.y = Math.min(this.plan.height - 1, Math.max(1 - this.height / this.scale, this.y));
    this.fitted = false;
    this.version += 1;
  }
}
