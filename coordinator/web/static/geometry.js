// Shapes made of grid cells. All lengths are in cells; x grows to the right, y downwards.

const key = (x, y) => x * 1e6 + y;

/** Corner loops around a set of cells, clockwise around the outside, straight runs joined. */
export function outline(cells) {
  const inside = new Set(cells.map(([x, y]) => key(x, y)));
  const edges = new Map(); // start corner → [{to, direction}]
  const edge = (x, y, dx, dy) => {
    const from = key(x, y);
    if (!edges.has(from)) edges.set(from, []);
    edges.get(from).push({ x, y, dx, dy });
  };
  for (const [x, y] of cells) {
    if (!inside.has(key(x, y - 1))) edge(x, y, 1, 0);
    if (!inside.has(key(x + 1, y))) edge(x + 1, y, 0, 1);
    if (!inside.has(key(x, y + 1))) edge(x + 1, y + 1, -1, 0);
    if (!inside.has(key(x - 1, y))) edge(x, y + 1, 0, -1);
  }
  const loops = [];
  for (const starts of edges.values()) {
    while (starts.length) loops.push(walk(edges, starts[0]));
  }
  return loops;
}

/** Follows edges from `first` back to it, taking each off the map; returns the corners passed. */
function walk(edges, first) {
  const corners = [];
  let here = first;
  do {
    const x = here.x + here.dx;
    const y = here.y + here.dy;
    const onward = edges.get(key(x, y));
    // Two cells that touch at a corner only are two shapes: turn right, staying with this one.
    const right = onward.findIndex((e) => e.dx === -here.dy && e.dy === here.dx);
    const [next] = onward.splice(Math.max(right, 0), 1);
    if (next.dx !== here.dx || next.dy !== here.dy) corners.push({ x, y, before: here, after: next });
    here = next;
  } while (here !== first);
  return corners;
}

/** The outline as a path, drawn `inset` cells inside its edge (outside when negative) with rounded corners. */
export function shapePath(cells, inset, radius) {
  const path = new Path2D();
  for (const loop of outline(cells)) {
    const points = loop.map(({ x, y, before, after }) => [
      x + inset * (-before.dy - after.dy),
      y + inset * (before.dx + after.dx),
    ]);
    const n = points.length;
    const middle = (a, b) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
    path.moveTo(...middle(points[n - 1], points[0]));
    for (let i = 0; i < n; i += 1) path.arcTo(...points[i], ...middle(points[i], points[(i + 1) % n]), radius);
    path.closePath();
  }
  return path;
}

/** {x, y, w, h} around the cells. */
export function bounds(cells) {
  const xs = cells.map((c) => c[0]);
  const ys = cells.map((c) => c[1]);
  const x = xs.reduce((a, b) => Math.min(a, b));
  const y = ys.reduce((a, b) => Math.min(a, b));
  return { x, y, w: xs.reduce((a, b) => Math.max(a, b)) - x + 1, h: ys.reduce((a, b) => Math.max(a, b)) - y + 1 };
}

/** The longest straight run of cells, for a label: {x, y, length, vertical}. Horizontal when equal. */
export function longestRun(cells) {
  const inside = new Set(cells.map(([x, y]) => key(x, y)));
  let best = { x: cells[0][0], y: cells[0][1], length: 1, vertical: false };
  for (const [dx, dy] of [[1, 0], [0, 1]]) {
    for (const [x, y] of cells) {
      if (inside.has(key(x - dx, y - dy))) continue;
      let length = 1;
      while (inside.has(key(x + dx * length, y + dy * length))) length += 1;
      if (length > best.length) best = { x, y, length, vertical: dy === 1 };
    }
  }
  return best;
}

/** A point inside the shape: the centre of the cell nearest to the middle of all. */
export function heart(cells) {
  const mx = cells.reduce((sum, c) => sum + c[0], 0) / cells.length;
  const my = cells.reduce((sum, c) => sum + c[1], 0) / cells.length;
  const { w, h } = bounds(cells);
  if (w * h === cells.length) return [mx + 0.5, my + 0.5];
  const far = (c) => (c[0] - mx) ** 2 + (c[1] - my) ** 2;
  const nearest = cells.reduce((best, c) => (far(c) < far(best) ? c : best));
  return [nearest[0] + 0.5, nearest[1] + 0.5];
}

/** Groups of cells that touch along an edge. */
export function connected(cells) {
  const left = new Map(cells.map((c) => [key(c[0], c[1]), c]));
  const groups = [];
  for (const [start, cell] of left) {
    if (!left.delete(start)) continue;
    const group = [cell];
    for (const [x, y] of group) {
      for (const next of [key(x + 1, y), key(x - 1, y), key(x, y + 1), key(x, y - 1)]) {
        if (left.has(next)) {
          group.push(left.get(next));
          left.delete(next);
        }
      }
    }
    groups.push(group);
  }
  return groups;
}
