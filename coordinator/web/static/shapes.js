// The bodies: a vehicle with its heading, an arm at its base. Drawn in CSS pixels around the agent's own origin.

const FEW_PX = 13; // a vehicle shorter than this on screen is drawn simply
const AGV = { length_mm: 1000, width_mm: 700 };

/** How an agent's link is drawn, besides its colour. */
function bodyStyle(link, colours) {
  if (link === "GONE") return { fill: "transparent", edge: colours.gone, dash: [3, 3], ink: colours.gone };
  if (link === "SILENT") return { fill: colours.body, edge: colours.silent, dash: [4, 2.5], ink: colours.silent };
  return { fill: colours.body, edge: colours.bodyLine, dash: [], ink: colours.body };
}

/** The vehicle's footprint in pixels: never too small to see. */
export function footprint(kind, plan, scale) {
  const { length_mm: length, width_mm: width } = kind?.length_mm ? kind : AGV;
  const l = Math.max(9, (length / plan.cellMm) * scale * 0.92);
  return { l, w: Math.max(7, (width / plan.cellMm) * scale * 0.92) };
}

/** Too small for detail: the tint alone, with a nose. */
function drawSpeck(c, colours, link, l, tint) {
  c.beginPath();
  c.moveTo(l * 0.62, 0);
  c.lineTo(l * 0.1, -l * 0.46);
  c.lineTo(-l * 0.5, -l * 0.46);
  c.lineTo(-l * 0.5, l * 0.46);
  c.lineTo(l * 0.1, l * 0.46);
  c.closePath();
  c.fillStyle = link === "GONE" ? colours.halo : tint;
  c.fill();
  c.lineWidth = 1.2;
  c.strokeStyle = { CONNECTED: colours.bodyLine, SILENT: colours.silent }[link] ?? colours.gone;
  c.stroke();
}

/** A rounded rectangle whose nose carries the holder's tint and an arrow. */
export function drawVehicle(c, colours, agent, { l, w }, tint, heading) {
  const style = bodyStyle(agent.link, colours);
  const gone = agent.link === "GONE";
  c.rotate((heading * Math.PI) / 180);
  if (l < FEW_PX) {
    drawSpeck(c, colours, agent.link, l, tint);
    return;
  }
  c.beginPath();
  c.roundRect(-l / 2, -w / 2, l, w, Math.min(l, w) * 0.24);
  c.shadowColor = gone ? "transparent" : "rgb(0 0 0 / 45%)";
  c.shadowBlur = 6;
  c.fillStyle = gone ? colours.halo : style.fill;
  c.fill();
  c.shadowColor = "transparent";
  c.save();
  c.clip();
  c.globalAlpha = gone ? 0.35 : 1;
  c.fillStyle = tint;
  c.fillRect(-l / 2, -w / 2, l, w * 0.2);
  c.fillRect(-l / 2, w / 2 - w * 0.2, l, w * 0.2);
  c.restore();
  c.beginPath();
  const a = Math.min(w * 0.24, l * 0.22);
  c.moveTo(l * 0.38, 0);
  c.lineTo(l * 0.38 - a * 1.5, -a);
  c.lineTo(l * 0.38 - a * 0.95, 0);
  c.lineTo(l * 0.38 - a * 1.5, a);
  c.closePath();
  c.fillStyle = gone ? colours.gone : colours.bodyLine;
  c.fill();
  c.beginPath();
  c.roundRect(-l / 2, -w / 2, l, w, Math.min(l, w) * 0.24);
  c.setLineDash(style.dash);
  c.lineWidth = style.dash.length ? 2 : 1.5;
  c.strokeStyle = style.edge;
  c.stroke();
  c.setLineDash([]);
}

/** Base, two links and a gripper that points where it works; folded when idle. `reach` in pixels. */
export function drawArm(c, colours, agent, reach, scale, tint, target) {
  const style = bodyStyle(agent.link, colours);
  const r = Math.max(6, scale * 0.27);
  c.beginPath();
  c.arc(0, 0, reach, 0, 7);
  c.setLineDash([2, 5]);
  c.lineWidth = 1;
  c.strokeStyle = tint;
  c.globalAlpha = target.busy ? 0.75 : 0.22;
  c.stroke();
  c.setLineDash([]);
  c.globalAlpha = 1;
  const [elbow, hand] = joints(target, r, reach);
  for (const [width, colour] of [[r * 0.72, colours.bodyLine], [r * 0.5, agent.link === "GONE" ? colours.gone : colours.body]]) {
    c.beginPath();
    c.moveTo(0, 0);
    c.lineTo(...elbow);
    c.lineTo(...hand);
    c.lineWidth = width;
    c.lineCap = c.lineJoin = "round";
    c.strokeStyle = colour;
    c.stroke();
  }
  disc(c, hand, r * 0.42, tint, colours.bodyLine);
  disc(c, elbow, r * 0.26, colours.bodyLine, colours.bodyLine);
  disc(c, [0, 0], r, style.fill === "transparent" ? colours.halo : style.fill, style.edge, style.dash);
  disc(c, [0, 0], r * 0.5, tint, colours.bodyLine);
}

/** Elbow and hand for two equal links that reach to `target.distance` at `target.angle`. */
function joints({ angle, distance }, r, reach) {
  const link = Math.max(reach * 0.42, r * 1.3);
  const d = Math.min(distance, link * 2 - 0.01);
  const bend = Math.acos(d / (2 * link));
  const at = (turn, length) => [Math.cos(turn) * length, Math.sin(turn) * length];
  return [at(angle - bend, link), at(angle, d)];
}

function disc(c, [x, y], r, fill, edge, dash = []) {
  c.beginPath();
  c.arc(x, y, r, 0, 7);
  c.fillStyle = fill;
  c.fill();
  c.setLineDash(dash);
  c.lineWidth = 1.5;
  c.strokeStyle = edge;
  c.stroke();
  c.setLineDash([]);
}
