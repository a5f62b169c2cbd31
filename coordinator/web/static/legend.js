// The legend, drawn with the same colours and hatchings as the map.

import { el } from "./text.js";

const ENTRIES = [
  ["FREE", "free"],
  ["HELD", "held, in its holder’s colour"],
  ["BLOCKED", "occupied without a grant"],
  ["STOPPED", "stopped"],
  ["UNKNOWN", "never confirmed empty"],
  ["CLOSED", "closed: grants nothing new"],
  ["WAIT", "waits for"],
];
const [WIDTH, HEIGHT] = [22, 16];

export function drawLegend(list, colours) {
  list.replaceChildren(...ENTRIES.map(([state, text]) => el("li", {}, swatch(state, colours), el("span", { text }))));
}

function swatch(state, colours) {
  const ratio = devicePixelRatio;
  const canvas = el("canvas", { width: WIDTH * ratio, height: HEIGHT * ratio, "aria-hidden": "true" });
  const c = canvas.getContext("2d");
  c.scale(ratio, ratio);
  if (state === "WAIT") {
    c.strokeStyle = c.fillStyle = colours.wait;
    c.lineWidth = 2;
    c.setLineDash([4, 3]);
    c.beginPath();
    c.moveTo(0, HEIGHT / 2);
    c.lineTo(15, HEIGHT / 2);
    c.stroke();
    c.beginPath();
    c.moveTo(22, HEIGHT / 2);
    c.lineTo(14, HEIGHT / 2 - 4);
    c.lineTo(14, HEIGHT / 2 + 4);
    c.fill();
    return canvas;
  }
  const box = new Path2D();
  box.roundRect(1, 1, WIDTH - 2, HEIGHT - 2, 3);
  c.fillStyle = colours.free;
  c.fill(box);
  c.strokeStyle = state === "HELD" ? colours.tints[1] : colours.ofState(state);
  c.fillStyle = c.strokeStyle;
  if (state !== "FREE") {
    c.globalAlpha = state === "HELD" ? colours.heldAlpha : 0.2;
    c.fill(box);
    c.globalAlpha = 0.7;
  }
  if (state !== "FREE" && state !== "HELD") {
    const hatch = colours.hatch(c, state, ratio);
    hatch.setTransform(new DOMMatrix().scale(1 / ratio));
    c.fillStyle = hatch;
    c.fill(box);
  }
  c.globalAlpha = 1;
  c.lineWidth = 1.5;
  c.setLineDash(state === "UNKNOWN" ? [3, 2] : []);
  c.stroke(box);
  return canvas;
}
