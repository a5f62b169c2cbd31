// Draws what changes seldom: walls, machines, zones in their shown states, names, slots. Redrawn only when something in
// it changed, so a floor of thousands of zones costs nothing between changes.

const NAME_SCALE = 15; // below this many pixels a cell, names would be noise
const FINE_SCALE = 11; // below this, rounded corners are not visible

export function drawGround(canvas, camera, plan, state, colours) {
  const ratio = canvas.width / camera.width;
  const c = canvas.getContext("2d");
  c.setTransform(1, 0, 0, 1, 0, 0);
  c.fillStyle = colours.back;
  c.fillRect(0, 0, canvas.width, canvas.height);
  c.setTransform(ratio * camera.scale, 0, 0, ratio * camera.scale, -camera.x * camera.scale * ratio, -camera.y * camera.scale * ratio);
  const pen = { c, camera, plan, state, colours, ratio, px: 1 / camera.scale };
  drawWalls(pen);
  drawMachines(pen);
  const shown = [...plan.zones.values()].filter((zone) => camera.seesBox(zone.box));
  for (const zone of shown) drawZone(pen, zone, state.zones.get(zone.name));
  if (camera.scale > 13) drawLanes(pen);
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  drawPlaces(pen);
  if (camera.scale >= NAME_SCALE) {
    for (const machine of plan.machines) drawMachineName(pen, machine);
    for (const zone of shown) drawZoneName(pen, zone);
  }
  if (camera.scale >= 14) for (const zone of shown) drawSlots(pen, zone, state.zones.get(zone.name));
}

function drawWalls({ c, plan, colours, px }) {
  c.lineWidth = px;
  c.fillStyle = colours.wall;
  c.strokeStyle = colours.wallLine;
  for (const path of plan.walls) {
    c.fill(path, "evenodd");
    c.stroke(path);
  }
}

function drawMachines({ c, plan, camera, colours, px }) {
  c.strokeStyle = colours.machineLine;
  c.lineWidth = 1.2 * px;
  for (const machine of plan.machines) {
    if (!camera.seesBox(machine.box)) continue;
    c.fillStyle = camera.scale > FINE_SCALE ? colours.machine : colours.machineLine;
    c.fill(machine.path, "evenodd");
    if (camera.scale > FINE_SCALE) {
      c.stroke(machine.path);
      c.fillStyle = colours.machineTop;
      c.fill(machine.top, "evenodd");
    }
  }
}

/** A free zone is quiet; a held one wears its holder's tint; the rest are hatched and framed, so that colour is never alone. */
function drawZone(pen, zone, known) {
  const { c, colours, camera, px, ratio, state: floor } = pen;
  const state = known?.state ?? "UNKNOWN";
  const fill = zoneFiller(c, zone, camera.scale);
  fill(colours.free);
  let line = colours.freeLine;
  let width = 1;
  if (state === "HELD") {
    const holders = known.view.occupants.filter((o) => o.agent_id);
    line = colours.tint(floor.agents.get(holders[0]?.agent_id));
    c.globalAlpha = colours.heldAlpha;
    fill(holders.length > 1 ? stripes(pen, zone, holders) : line);
    c.globalAlpha = 1;
    width = 1.6;
  } else if (state !== "FREE") {
    line = colours.ofState(state);
    // In a stopped area, who stands where is what people look for: the empty zones step back.
    const empty = state === "STOPPED" && known.view.occupants.length === 0;
    c.globalAlpha = state === "UNKNOWN" ? 0.07 : empty ? 0.08 : 0.32;
    fill(line);
    c.globalAlpha = state === "UNKNOWN" ? 0.75 : empty ? 0.34 : 0.8;
    const hatch = colours.hatch(c, state, ratio);
    hatch.setTransform(new DOMMatrix().scale(px / ratio));
    fill(hatch);
    c.globalAlpha = 1;
    width = state === "UNKNOWN" ? 1 : empty ? 1.2 : 2.2;
  }
  if (camera.scale < 8 && (state === "FREE" || state === "HELD")) return;
  c.strokeStyle = line;
  c.lineWidth = Math.min(width * px, 0.12);
  c.setLineDash(state === "UNKNOWN" ? [4 * px, 3 * px] : []);
  if (camera.scale < FINE_SCALE && zone.plain) c.strokeRect(zone.box.x + 0.05, zone.box.y + 0.05, zone.box.w - 0.1, zone.box.h - 0.1);
  else c.stroke(zone.path);
  c.setLineDash([]);
}

function zoneFiller(c, zone, scale) {
  const { x, y, w, h } = zone.box;
  const plain = scale < FINE_SCALE && zone.plain;
  return (style) => {
    c.fillStyle = style;
    if (plain) c.fillRect(x + 0.04, y + 0.04, w - 0.08, h - 0.08);
    else c.fill(zone.path, "evenodd");
  };
}

/** A zone with several holders shows all their tints, side by side. */
function stripes({ c, colours, state }, zone, holders) {
  const gradient = c.createLinearGradient(zone.box.x, 0, zone.box.x + zone.box.w, 0);
  holders.forEach((holder, i) => {
    const tint = colours.tint(state.agents.get(holder.agent_id));
    gradient.addColorStop(i / holders.length, tint);
    gradient.addColorStop((i + 1) / holders.length, tint);
  });
  return gradient;
}

function write({ c, colours }, text, x, y, { size, colour, weight = 500, turned = false, halo = true }) {
  c.save();
  c.translate(x, y);
  if (turned) c.rotate(-Math.PI / 2);
  c.font = `${weight} ${size}px ${colours.font}`;
  if (halo) {
    c.strokeStyle = colours.halo;
    c.globalAlpha = 0.7;
    c.lineWidth = 3;
    c.lineJoin = "round";
    c.strokeText(text, 0, 0);
    c.globalAlpha = 1;
  }
  c.fillStyle = colour;
  c.fillText(text, 0, 0);
  c.restore();
}

function fits(c, colours, text, size, weight, room) {
  c.font = `${weight} ${size}px ${colours.font}`;
  return c.measureText(text).width <= room;
}

/** In the corner where the zone begins, clear of the vehicles that drive along its middle. */
function drawZoneName(pen, zone) {
  const { c, camera, colours, state } = pen;
  const known = state.zones.get(zone.name);
  const size = Math.max(8.5, Math.min(13, camera.scale * 0.27));
  const calm = !known || known.state === "FREE" || known.state === "HELD" || known.state === "UNKNOWN";
  const { x, y, length, vertical } = zone.run;
  const across = fits(c, colours, zone.name, size, 550, (vertical ? 1 : length) * camera.scale - 8);
  if (!across && !(vertical && fits(c, colours, zone.name, size, 550, length * camera.scale - 8))) return;
  const [left, top] = camera.toScreen(x, y);
  c.textAlign = "left";
  c.textBaseline = "top";
  const style = { size, colour: calm ? colours.ink : colours.inkStrong, weight: calm ? 500 : 650, turned: !across };
  const inset = camera.scale * 0.05 + 3;
  if (across) write(pen, zone.name, left + inset + 1, top + inset, style);
  else write(pen, zone.name, left + inset, top + length * camera.scale - inset - 1, style);
}

function drawMachineName(pen, machine) {
  const { c, camera, colours } = pen;
  if (!machine.name || !camera.seesBox(machine.box)) return;
  const size = Math.max(10, Math.min(14, camera.scale * 0.3));
  const upright = machine.box.h > machine.box.w * 1.6;
  const room = (upright ? machine.box.h : machine.box.w) * camera.scale * 0.86;
  if (!fits(c, colours, machine.name, size, 600, room)) return;
  c.textAlign = "center";
  c.textBaseline = "middle";
  write(pen, machine.name, ...camera.toScreen(...machine.heart), { size, colour: colours.machineInk, weight: 600, turned: upright, halo: false });
}

/** One dot a slot, filled when taken. Zones for one say so by their state alone. */
function drawSlots({ c, camera, colours, state }, zone, known) {
  const capacity = zone.spec.capacity;
  if (capacity < 2 || !known) return;
  const r = Math.max(2.5, Math.min(5, camera.scale * 0.1));
  const step = r * 2.9;
  const { x, y, length, vertical } = zone.run; // the box's corner need not be part of the zone
  const [wide, high] = vertical ? [1, length] : [length, 1];
  const [right, bottom] = camera.toScreen(x + wide, y + high);
  const most = Math.max(1, Math.floor((wide * camera.scale - 8) / step));
  const shown = Math.min(capacity, most);
  const cy = bottom - r - camera.scale * 0.05 - 3;
  for (let i = 0; i < shown; i += 1) {
    const cx = right - (shown - i - 0.5) * step - camera.scale * 0.05 - 3;
    const occupant = known.view.occupants[i];
    c.beginPath();
    c.arc(cx, cy, r, 0, 7);
    c.lineWidth = 1.5;
    c.strokeStyle = colours.ink;
    c.fillStyle = colours.free;
    if (occupant) {
      const blocked = occupant.state !== "SLOT_STATE_HELD";
      c.fillStyle = c.strokeStyle = blocked ? colours.blocked : colours.tint(state.agents.get(occupant.agent_id));
    }
    c.fill();
    c.stroke();
  }
}

function drawLanes({ c, plan, colours, px }) {
  c.strokeStyle = colours.ink;
  c.globalAlpha = 0.4;
  c.lineWidth = 1.3 * px;
  c.lineCap = "round";
  c.stroke(plan.lanes);
  c.globalAlpha = 1;
  c.lineCap = "butt";
}

/** Stations and parking places: a small mark under whoever stands there. */
function drawPlaces({ c, camera, plan, colours }) {
  if (camera.scale < 14) return;
  c.textAlign = "center";
  c.textBaseline = "middle";
  c.strokeStyle = colours.ink;
  c.lineWidth = 1.2;
  const r = camera.scale * 0.2;
  for (const { at } of plan.stations) {
    const [x, y] = camera.toScreen(...at);
    c.globalAlpha = 0.55;
    c.beginPath();
    c.arc(x, y, r, 0, 7);
    c.moveTo(x - r * 0.45, y);
    c.lineTo(x + r * 0.45, y);
    c.moveTo(x, y - r * 0.45);
    c.lineTo(x, y + r * 0.45);
    c.stroke();
    c.globalAlpha = 1;
  }
  for (const { at } of plan.parking) {
    const [x, y] = camera.toScreen(...at);
    c.globalAlpha = 0.5;
    c.font = `700 ${camera.scale * 0.42}px ${colours.font}`;
    c.fillStyle = colours.ink;
    c.fillText("P", x, y + 1);
    c.globalAlpha = 1;
  }
}
