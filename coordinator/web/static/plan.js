// The floor's unchanging geometry, worked out once: where zones, machines, walls and arms are.

import { bounds, connected, heart, longestRun, shapePath } from "./geometry.js";

const ZONE_INSET = 0.05;
const ZONE_RADIUS = 0.16;
const MACHINE_INSET = 0.1;

export class Plan {
  constructor(floor) {
    this.floor = floor;
    this.width = floor.width;
    this.height = floor.height;
    this.cellMm = floor.cell_mm || 1000;
    this.zones = new Map(floor.zones.map((spec) => [spec.name, zoneShape(spec)]));
    this.zoneOf = new Map();
    for (const zone of this.zones.values()) for (const [x, y] of zone.cells) this.zoneOf.set(`${x},${y}`, zone);
    this.kinds = new Map(floor.agent_kinds.map((kind) => [kind.name, kind]));
    const drawing = floor.drawing ?? { machines: {}, arms: {}, stations: {}, parking: {}, lanes: [] };
    this.arms = new Map(Object.entries(drawing.arms).map(([name, arm]) => [name, this.#arm(centre(arm.base), arm.zones)]));
    this.stations = named(drawing.stations);
    this.parking = named(drawing.parking);
    this.lanes = lanePath(drawing.lanes);
    this.#build(Object.entries(drawing.machines));
  }

  /** `work` maps each of its zones to the cell nearest to its base, where it works; `reach` is to the farthest of them. */
  #arm(base, zones) {
    const far = ([x, y]) => Math.hypot(x + 0.5 - base[0], y + 0.5 - base[1]);
    const known = zones.filter((name) => this.zones.has(name));
    const nearest = (name) => this.zones.get(name).cells.reduce((a, b) => (far(b) < far(a) ? b : a));
    const work = new Map(known.map((name) => [name, centre(nearest(name))]));
    const reach = Math.max(0.9, ...[...work.values()].map(([x, y]) => Math.hypot(x - base[0], y - base[1]) + 0.5));
    return { base, zones, work, reach };
  }

  #build(machines) {
    const taken = new Set(machines.flatMap(([, cells]) => cells.map(String)));
    const bare = [];
    for (let y = 0; y < this.height; y += 1) {
      for (let x = 0; x < this.width; x += 1) {
        if (!this.zoneOf.has(`${x},${y}`) && !taken.has(`${x},${y}`)) bare.push([x, y]);
      }
    }
    const blocks = connected(bare);
    const edge = ({ x, y, w, h }) => x === 0 || y === 0 || x + w === this.width || y + h === this.height;
    // Where the floor names no machines, blocked islands stand for racks and machines; else they are just walls.
    const racks = machines.length ? [] : blocks.filter((block) => !edge(bounds(block)));
    const walls = blocks.filter((block) => !racks.includes(block));
    this.walls = walls.map((cells) => shapePath(cells, 0, 0.05));
    this.machines = [...machines, ...racks.map((cells) => ["", cells])].map(([name, cells]) => machineShape(name, cells));
  }

  /** The names of all zones that a stop covers: its groups' and those it names. */
  covered(stop) {
    if (stop.floor) return [...this.zones.keys()];
    const groups = new Set(stop.stop_groups);
    const named = new Set(stop.zones);
    return [...this.zones.values()].filter(({ name, spec }) => groups.has(spec.stop_group) || named.has(name)).map(({ name }) => name);
  }

  /** Millimetres on the floor → cells. */
  place(xMm, yMm) {
    return [xMm / this.cellMm, yMm / this.cellMm];
  }

  zoneAt(x, y) {
    return this.zoneOf.get(`${Math.floor(x)},${Math.floor(y)}`);
  }
}

const centre = ([x, y]) => [x + 0.5, y + 0.5];
const named = (places) => Object.entries(places).map(([name, cell]) => ({ name, at: centre(cell) }));

/** A small chevron in the middle of every one-way cell. */
function lanePath(lanes) {
  const path = new Path2D();
  const [long, wide] = [0.07, 0.1];
  for (const [x, y, dx, dy] of lanes) {
    const [cx, cy] = centre([x, y]);
    path.moveTo(cx - dx * long + dy * wide, cy - dy * long + dx * wide);
    path.lineTo(cx + dx * long, cy + dy * long);
    path.lineTo(cx - dx * long - dy * wide, cy - dy * long - dx * wide);
  }
  return path;
}

function zoneShape(spec) {
  const cells = spec.cells.map(({ x, y }) => [x, y]);
  const box = bounds(cells);
  return {
    name: spec.name,
    spec,
    cells,
    box,
    plain: box.w * box.h === cells.length, // a rectangle, which is quicker to fill
    path: shapePath(cells, ZONE_INSET, ZONE_RADIUS),
    run: longestRun(cells),
    heart: heart(cells),
  };
}

function machineShape(name, cells) {
  return {
    name,
    box: bounds(cells),
    path: shapePath(cells, MACHINE_INSET, 0.14),
    top: shapePath(cells, MACHINE_INSET + 0.14, 0.08),
    heart: heart(cells),
  };
}
