// The map's colours, read from theme.css so that light and dark live in one place, and the hatchings that make states
// differ without colour.

const NAMES = [
  "back", "wall", "wall-line", "machine", "machine-top", "machine-line", "machine-ink", "free", "free-line", "ink", "ink-strong",
  "halo", "blocked", "stopped", "unknown", "wait", "body", "body-line", "silent", "gone",
];
const HATCH_PX = 8;

export const STATES = ["FREE", "HELD", "BLOCKED", "STOPPED", "UNKNOWN", "CLOSED"];

export class Colours {
  constructor() {
    this.read();
    for (const query of ["(prefers-color-scheme: dark)", "(prefers-contrast: more)"]) {
      matchMedia(query).addEventListener("change", () => {
        this.read();
        this.onchange?.();
      });
    }
  }

  read() {
    const style = getComputedStyle(document.documentElement);
    const value = (name) => style.getPropertyValue(`--map-${name}`).trim();
    for (const name of NAMES) this[name.replaceAll(/-(.)/g, (_, c) => c.toUpperCase())] = value(name);
    this.tints = value("tints").split(/\s+/);
    this.heldAlpha = Number(value("held-alpha"));
    this.font = style.getPropertyValue("--font").trim();
    this.hatches = new Map();
  }

  tint(agent) {
    return agent ? this.tints[agent.tint % this.tints.length] : this.unknown;
  }

  ofState(state) {
    return { BLOCKED: this.blocked, STOPPED: this.stopped, UNKNOWN: this.unknown, CLOSED: this.wait }[state] ?? this.freeLine;
  }

  /** A repeating pattern for a state: stripes for BLOCKED and CLOSED, a lattice for STOPPED, dots for UNKNOWN. In device pixels. */
  hatch(context, state, ratio) {
    const name = `${state} ${ratio}`;
    if (!this.hatches.has(name)) this.hatches.set(name, context.createPattern(this.#tile(state, ratio), "repeat"));
    return this.hatches.get(name);
  }

  #tile(state, ratio) {
    const size = Math.round(HATCH_PX * ratio);
    const tile = new OffscreenCanvas(size, size);
    const c = tile.getContext("2d");
    c.strokeStyle = c.fillStyle = this.ofState(state);
    c.lineWidth = size * 0.2;
    c.beginPath();
    if (state === "UNKNOWN") {
      c.arc(size / 2, size / 2, size * 0.14, 0, 7);
      c.fill();
      return tile;
    }
    for (const shift of [-size, 0, size]) {
      c.moveTo(shift - 1, size + 1);
      c.lineTo(shift + size + 1, -1);
      if (state === "STOPPED") {
        c.moveTo(shift - 1, -1);
        c.lineTo(shift + size + 1, size + 1);
      }
    }
    c.lineWidth = state === "STOPPED" ? size * 0.15 : size * 0.22;
    c.stroke();
    return tile;
  }
}
