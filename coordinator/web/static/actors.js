// Draws what moves: agents, who waits for whom, the frames of stopped areas, what is selected. Once a frame.

import { outline, shapePath } from "./geometry.js";
import { drawArm, drawVehicle, footprint } from "./shapes.js";

const LABEL_SCALE = 20;
const MANY_WAITS = 60; // beyond this only the selected agent's wait is drawn: a web of lines says nothing
const TURN_MS = 260; // how quickly an arm swings to its work

export class Actors {
  #swings = new Map(); // arm id → {angle, distance}, eased
  #frames = new Map(); // stop id → the path around its zones
  #last = 0;

  constructor(plan, state, camera, colours) {
    Object.assign(this, { plan, state, camera, colours });
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
  }

  /** Where an agent is drawn, in cells: {x, y, heading, sure}; undefined when nobody knows. */
  whereIs(id, agent) {
    const arm = this.plan.arms.get(id);
    if (arm) return { x: arm.base[0], y: arm.base[1], heading: 0, sure: true };
    const seen = agent.track.at(this.state.clock.now(), !this.still.matches);
    if (seen) return { ...seen, sure: true };
    const zone = this.plan.zones.get(agent.view.inside_zones[0] ?? agent.view.held_zones[0]);
    return zone && { x: zone.heart[0], y: zone.heart[1], heading: 0, sure: false };
  }

  draw(canvas, { hovered, selected }) {
    const { camera } = this;
    const ratio = canvas.width / camera.width;
    const c = canvas.getContext("2d");
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, canvas.width, canvas.height);
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    const now = performance.now();
    this.seconds = this.still.matches ? 0 : now / 1000;
    this.step = Math.min(100, now - this.#last);
    this.#last = now;
    this.places = new Map();
    for (const [id, agent] of this.state.agents) {
      const place = this.whereIs(id, agent);
      if (place) this.places.set(id, place);
    }
    for (const { view } of this.state.stops.values()) this.#stopFrame(c, view);
    for (const one of [hovered, selected]) if (one) this.#mark(c, one, one === selected);
    this.#waits(c, hovered, selected);
    const order = [...this.places.keys()].sort();
    for (const id of order) this.#agent(c, id, ratio);
    if (camera.scale >= LABEL_SCALE || order.length <= 40) for (const id of order) this.#label(c, id);
  }

  #inCells(c, paint) {
    const { x, y, scale } = this.camera;
    c.save();
    c.translate(-x * scale, -y * scale);
    c.scale(scale, scale);
    paint(1 / scale);
    c.restore();
  }

  /** A frame around the whole stopped area that flashes, and says whose stop it is. */
  #stopFrame(c, stop) {
    if (!this.#frames.has(stop.stop_id)) {
      if (this.#frames.size > 100) this.#frames.clear();
      const cells = this.plan.covered(stop).flatMap((name) => this.plan.zones.get(name).cells);
      if (!cells.length) return;
      this.#frames.set(stop.stop_id, { path: shapePath(cells, -0.06, 0.2), corner: topCorner(cells) });
    }
    const { path, corner } = this.#frames.get(stop.stop_id);
    const bright = 0.62 + 0.38 * Math.cos(this.seconds * Math.PI * 2 * 0.9);
    this.#inCells(c, (px) => {
      c.globalAlpha = 0.35 + 0.65 * bright;
      c.lineWidth = (2 + 2.5 * bright) * px;
      c.strokeStyle = this.colours.stopped;
      c.stroke(path);
    });
    const [x, y] = this.camera.toScreen(...corner);
    const text = `STOP ${stop.floor ? "floor" : stop.stop_groups.join(", ")}`;
    c.font = `700 11.5px ${this.colours.font}`;
    const width = c.measureText(text).width + 12;
    c.fillStyle = this.colours.stopped;
    c.beginPath();
    c.roundRect(x - 3, y - 19, width, 17, 4);
    c.fill();
    c.fillStyle = this.colours.back;
    c.textAlign = "left";
    c.textBaseline = "middle";
    c.fillText(text, x + 3, y - 10);
  }

  /** What is hovered or selected: a zone's frame, or an agent with every zone it holds. */
  #mark(c, { kind, name }, strong) {
    const agent = kind === "agent" ? this.state.agents.get(name) : undefined;
    const zones = agent ? agent.view.held_zones : kind === "zone" ? [name] : [];
    const place = this.places.get(name);
    this.#inCells(c, (px) => {
      c.strokeStyle = agent ? this.colours.tint(agent) : this.colours.inkStrong;
      c.lineWidth = (strong ? 3 : 2) * px;
      for (const zone of zones.map((z) => this.plan.zones.get(z)).filter(Boolean)) {
        c.stroke(zone.path);
        if (!place) continue;
        c.globalAlpha = 0.6;
        c.beginPath();
        c.moveTo(place.x, place.y);
        c.lineTo(...zone.heart);
        c.stroke();
        c.globalAlpha = 1;
      }
      if (agent && place) {
        c.beginPath();
        c.arc(place.x, place.y, 0.78, 0, 7);
        c.stroke();
      }
    });
  }

  #waits(c, hovered, selected) {
    const chosen = [hovered, selected].filter((one) => one?.kind === "agent").map((one) => one.name);
    const all = this.state.waits.length <= MANY_WAITS;
    for (const wait of this.state.waits) {
      if (!all && !chosen.includes(wait.agent_id)) continue;
      const from = this.places.get(wait.agent_id);
      if (!from) continue;
      const blockers = this.state.blockersOf(wait).map((id) => this.places.get(id)).filter(Boolean);
      const zone = this.plan.zones.get(wait.zones[0]);
      const targets = blockers.length ? blockers : zone ? [{ x: zone.heart[0], y: zone.heart[1] }] : [];
      for (const to of targets) this.#arrow(c, from, to, chosen.includes(wait.agent_id));
    }
  }

  /** A bowed dashed line from who waits to who is waited for; the dashes run that way. */
  #arrow(c, from, to, strong) {
    const [x0, y0] = this.camera.toScreen(from.x, from.y);
    const [x1, y1] = this.camera.toScreen(to.x, to.y);
    const d = Math.hypot(x1 - x0, y1 - y0);
    const gap = Math.min(this.camera.scale * 0.62, d * 0.4);
    if (d < 4) return;
    const bow = Math.min(60, Math.max(14, d * 0.18));
    const [mx, my] = [(x0 + x1) / 2 + ((y1 - y0) / d) * bow, (y0 + y1) / 2 - ((x1 - x0) / d) * bow];
    const [ax, ay] = towards(x0, y0, mx, my, gap * 0.6);
    const [bx, by] = towards(x1, y1, mx, my, gap);
    c.save();
    c.lineCap = "round";
    for (const [colour, width, dash] of [[this.colours.halo, 5, []], [this.colours.wait, strong ? 3 : 2.2, [7, 6]]]) {
      c.strokeStyle = colour;
      c.lineWidth = width;
      c.globalAlpha = dash.length ? 1 : 0.55;
      c.setLineDash(dash);
      c.lineDashOffset = -this.seconds * 16;
      c.beginPath();
      c.moveTo(ax, ay);
      c.quadraticCurveTo(mx, my, bx, by);
      c.stroke();
    }
    c.setLineDash([]);
    c.translate(bx, by);
    c.rotate(Math.atan2(by - my, bx - mx));
    c.fillStyle = this.colours.wait;
    c.beginPath();
    c.moveTo(5, 0);
    c.lineTo(-6, -5.5);
    c.lineTo(-6, 5.5);
    c.fill();
    c.restore();
  }

  #agent(c, id) {
    const agent = this.state.agents.get(id);
    const place = this.places.get(id);
    const { camera, colours, plan } = this;
    if (!camera.sees(place.x, place.y, 120)) return;
    const tint = colours.tint(agent);
    const kind = plan.kinds.get(agent.view.kind);
    c.save();
    c.translate(...camera.toScreen(place.x, place.y));
    if (this.isArm(id, agent)) {
      const reach = this.#reach(id, kind);
      drawArm(c, colours, agent, reach * camera.scale, camera.scale, tint, this.#swing(id, agent, place, reach));
    } else {
      const size = footprint(kind, plan, camera.scale);
      if (!place.sure) c.globalAlpha = 0.6;
      if (agent.view.stop_ids.length) this.#halo(c, size);
      drawVehicle(c, colours, agent, size, tint, place.heading);
    }
    c.restore();
  }

  isArm(id, agent) {
    return this.plan.arms.has(id) || agent.view.kind.includes("arm");
  }

  #halo(c, { l, w }) {
    c.beginPath();
    c.arc(0, 0, Math.max(l, w) * 0.72, 0, 7);
    c.fillStyle = this.colours.stopped;
    c.globalAlpha *= 0.35;
    c.fill();
    c.globalAlpha /= 0.35;
  }

  /** In cells: what the floor says, or its kind's length. */
  #reach(id, kind) {
    return this.plan.arms.get(id)?.reach ?? Math.max(0.9, (kind?.length_mm ?? 1200) / this.plan.cellMm);
  }

  #swing(id, agent, { x, y }, reach) {
    const { scale } = this.camera;
    const busy = agent.view.held_zones.length > 0;
    const arm = this.plan.arms.get(id);
    const name = agent.view.held_zones[0] ?? arm?.zones[0];
    const [tx, ty] = arm?.work.get(name) ?? this.plan.zones.get(name)?.heart ?? [x + 1, y];
    // Folded, it points away from its zone: an idle arm is plainly outside.
    const want = { angle: Math.atan2(ty - y, tx - x) + (busy ? 0 : Math.PI * 0.8), distance: busy ? Math.hypot(tx - x, ty - y) : reach * 0.4 };
    const swing = this.#swings.get(id) ?? { ...want };
    const part = this.still.matches ? 1 : 1 - Math.exp(-this.step / TURN_MS);
    const turn = Math.atan2(Math.sin(want.angle - swing.angle), Math.cos(want.angle - swing.angle));
    swing.angle += turn * part;
    swing.distance += (want.distance - swing.distance) * part;
    this.#swings.set(id, swing);
    return { angle: swing.angle, distance: swing.distance * scale, busy };
  }

  #label(c, id) {
    const agent = this.state.agents.get(id);
    const { x, y } = this.places.get(id);
    if (!this.camera.sees(x, y, 20)) return;
    const [sx, sy] = this.camera.toScreen(x, y);
    const mark = { GONE: " ✕", SILENT: " ?" }[agent.link] ?? "";
    const text = id + mark;
    c.font = `650 ${this.camera.scale < 26 ? 10 : 11}px ${this.colours.font}`;
    const width = c.measureText(text).width + 8;
    const size = footprint(this.plan.kinds.get(agent.view.kind), this.plan, this.camera.scale);
    const drop = (this.isArm(id, agent) ? Math.max(6, this.camera.scale * 0.27) : Math.max(size.l, size.w) / 2) + 11;
    c.fillStyle = this.colours.halo;
    c.globalAlpha = 0.82;
    c.beginPath();
    c.roundRect(sx - width / 2, sy + drop - 8, width, 16, 5);
    c.fill();
    c.globalAlpha = 1;
    c.fillStyle = agent.link === "CONNECTED" ? this.colours.inkStrong : agent.link === "SILENT" ? this.colours.silent : this.colours.gone;
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.fillText(text, sx, sy + drop + 0.5);
  }
}

function towards(x, y, tx, ty, by) {
  const d = Math.hypot(tx - x, ty - y) || 1;
  return [x + ((tx - x) / d) * by, y + ((ty - y) / d) * by];
}

/** The leftmost of the topmost corners of the shape. */
function topCorner(cells) {
  const corners = outline(cells).flat();
  const best = corners.reduce((a, b) => (b.y < a.y || (b.y === a.y && b.x < a.x) ? b : a));
  return [best.x, best.y];
}
