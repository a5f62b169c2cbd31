// Where an agent is drawn between the positions that it reported. Drawn a little in the past, so that there is a later
// report to move towards: nothing is ever drawn where nobody said that it was.

export const DELAY_MS = 280;
const KEEP = 8;
const PAUSE_MS = 450; // a longer gap between reports means that it stood still in between
const JUMP_CELLS = 4; // farther than any vehicle drives between two reports: it was carried or renamed

export class Track {
  #samples = [];

  push(t, x, y, heading) {
    const last = this.#samples.at(-1);
    if (last && last.x === x && last.y === y && last.heading === heading) return;
    if (last && t - last.t > PAUSE_MS) this.#samples.push({ ...last, t: t - PAUSE_MS / 3 });
    if (last && Math.hypot(x - last.x, y - last.y) > JUMP_CELLS) this.#samples = [];
    this.#samples.push({ t, x, y, heading });
    if (this.#samples.length > KEEP) this.#samples.shift();
  }

  /** {x, y, heading (degrees), moving} at time `t` on the coordinator's clock; undefined when never reported. */
  at(t, smooth = true) {
    const samples = this.#samples;
    const last = samples.at(-1);
    if (!last) return undefined;
    const next = smooth ? samples.findIndex((s) => s.t > t - DELAY_MS) : -1;
    if (next < 0) return { ...last, moving: false };
    if (next === 0) return { ...samples[0], moving: true };
    const a = samples[next - 1];
    const b = samples[next];
    const part = (t - DELAY_MS - a.t) / (b.t - a.t);
    const turn = ((b.heading - a.heading + 540) % 360) - 180;
    return { x: a.x + (b.x - a.x) * part, y: a.y + (b.y - a.y) * part, heading: a.heading + turn * part, moving: true };
  }
}
