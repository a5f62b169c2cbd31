// Mouse, touch and keyboard on the map: pan, zoom, hover, select.

const CLICK_PX = 5;
const KEY_PAN_PX = 60;
const KEY_ZOOM = 1.25;

export class Pointer {
  #down = new Map(); // pointer id → {x, y}
  #travel = 0;
  #pinch = 0;

  constructor(canvas, camera, pick, { hover, choose, step }) {
    Object.assign(this, { canvas, camera, pick, hover, choose, step });
    canvas.addEventListener("pointerdown", (e) => this.#press(e));
    canvas.addEventListener("pointermove", (e) => this.#move(e));
    canvas.addEventListener("pointerup", (e) => this.#lift(e));
    canvas.addEventListener("pointercancel", (e) => this.#forget(e));
    canvas.addEventListener("pointerleave", () => hover(undefined));
    canvas.addEventListener("wheel", (e) => this.#wheel(e), { passive: false });
    canvas.addEventListener("dblclick", (e) => camera.zoom(1.8, e.offsetX, e.offsetY));
    canvas.addEventListener("keydown", (e) => this.#key(e));
  }

  #press(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.#down.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    this.#travel = 0;
    this.#pinch = this.#spread();
  }

  #spread() {
    const [a, b] = this.#down.values();
    return b ? Math.hypot(a.x - b.x, a.y - b.y) : 0;
  }

  #move(event) {
    const { offsetX: x, offsetY: y } = event;
    const from = this.#down.get(event.pointerId);
    if (!from) {
      const found = this.pick(x, y);
      this.canvas.classList.toggle("over", found !== undefined);
      this.hover(found, x, y);
      return;
    }
    this.#travel += Math.hypot(x - from.x, y - from.y);
    this.#down.set(event.pointerId, { x, y });
    if (this.#down.size === 2) {
      const spread = this.#spread();
      const [a, b] = this.#down.values();
      if (this.#pinch > 0 && spread > 0) this.camera.zoom(spread / this.#pinch, (a.x + b.x) / 2, (a.y + b.y) / 2);
      this.#pinch = spread;
    } else if (this.#travel > CLICK_PX) {
      this.canvas.classList.add("dragging");
      this.hover(undefined);
      this.camera.pan(x - from.x, y - from.y);
    }
  }

  #lift(event) {
    const clicked = this.#down.size === 1 && this.#travel <= CLICK_PX;
    this.#forget(event);
    if (clicked) this.choose(this.pick(event.offsetX, event.offsetY));
  }

  #forget(event) {
    this.#down.delete(event.pointerId);
    this.#pinch = this.#spread();
    this.canvas.classList.remove("dragging");
  }

  #wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    this.camera.zoom(Math.exp(-event.deltaY * lines * 0.0016), event.offsetX, event.offsetY);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const back = event.shiftKey ? -1 : 1;
    const actions = {
      ArrowLeft: () => this.camera.pan(KEY_PAN_PX, 0),
      ArrowRight: () => this.camera.pan(-KEY_PAN_PX, 0),
      ArrowUp: () => this.camera.pan(0, KEY_PAN_PX),
      ArrowDown: () => this.camera.pan(0, -KEY_PAN_PX),
      "+": () => this.camera.zoom(KEY_ZOOM),
      "=": () => this.camera.zoom(KEY_ZOOM),
      "-": () => this.camera.zoom(1 / KEY_ZOOM),
      f: () => this.camera.fit(),
      a: () => this.step("agent", back),
      z: () => this.step("zone", back),
      Escape: () => this.choose(undefined),
    };
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }
}
