// What the coordinator last said, and how it differs from what it said before. Owns no pixels and no DOM.

import { bare } from "./text.js";
import { Track } from "./tracks.js";

const RATE_WINDOW_MS = 10_000;
const RATE_POINTS = 60;

export class FloorState {
  #grantsSeen = [];
  #ratedAt = -Infinity;

  constructor(plan, clock) {
    this.plan = plan;
    this.clock = clock;
    this.zones = new Map(); // name → {state, view, at}
    this.agents = new Map(); // id → {view, link, track, tint}
    this.stops = new Map(); // id → {view, since}, active ones only
    this.waits = [];
    this.waitsAt = 0;
    this.totals = { grants: "0", releases: "0", stops: "0", live_grants: 0, connected_agents: 0, waiting: 0, commits: "0" };
    this.epoch = "0";
    this.version = 0; // rises whenever anything that is drawn on the ground changed
    this.rates = []; // grants a second, one number a second
    this.otherFloor = false;
  }

  /** Folds one update in; returns what changed in words: [{kind, ...}]. */
  apply(update) {
    const at = update.server_ms;
    const news = [];
    const first = this.epoch === "0" && this.zones.size === 0;
    this.otherFloor = update.floor_hash !== "" && update.floor_hash !== this.plan.floor.hash;
    this.epoch = update.epoch;
    if (update.snapshot) this.#startOver(update, news);
    for (const view of update.zones) this.#zone(view, at, news);
    for (const view of update.agents) this.#agent(view, at, news);
    for (const view of update.stops) this.#stop(view, at, news);
    if (update.snapshot || update.waits_changed) this.#wait(update.waits, at, news);
    if (update.totals) this.#count(update.totals, at);
    // The first picture is not news, except for the stops in it.
    return first ? news.filter((n) => n.kind === "stop") : news;
  }

  /** A whole picture may come from another coordinator: who is not in it is gone, and times are on its own clock. */
  #startOver(update, news) {
    const agents = new Set(update.agents.map((a) => a.agent_id));
    for (const [id, agent] of this.agents) {
      if (agents.has(id)) agent.track = new Track();
      else this.agents.delete(id);
    }
    this.#grantsSeen = [];
    this.#ratedAt = -Infinity;
    const stops = new Set(update.stops.filter((s) => s.active).map((s) => s.stop_id));
    for (const [id, { view }] of this.stops) {
      if (stops.has(id)) continue;
      this.stops.delete(id);
      news.push({ kind: "reset", stop: view });
    }
    this.version += 1;
  }

  #zone(view, at, news) {
    const before = this.zones.get(view.name);
    const state = bare(view.state, "ZONE_STATE_");
    const now = { state, view, at };
    this.zones.set(view.name, now);
    if (!before || looks(before) !== looks(now)) this.version += 1;
    if (before) news.push(...zoneNews(before, now));
  }

  #agent(view, at, news) {
    const id = view.agent_id;
    const before = this.agents.get(id);
    if (view.removed) {
      if (before) news.push({ kind: "left", agent: id });
      this.agents.delete(id);
      return;
    }
    const agent = before ?? { track: new Track(), tint: tintNumber(id) };
    const link = bare(view.link, "LINK_STATE_");
    if (!before) news.push({ kind: "joined", agent: id });
    else if (before.link !== link) news.push({ kind: "link", agent: id, link });
    agent.view = view;
    agent.link = link;
    if (view.has_position) {
      agent.track.push(at, ...this.plan.place(Number(view.x_mm), Number(view.y_mm)), view.heading_mdeg / 1000);
    }
    this.agents.set(id, agent);
  }

  #stop(view, at, news) {
    const known = this.stops.has(view.stop_id);
    if (view.active) {
      this.stops.set(view.stop_id, { view, since: at - Number(view.age_ms) });
      if (!known) news.push({ kind: "stop", stop: view });
    } else {
      this.stops.delete(view.stop_id);
      if (known) news.push({ kind: "reset", stop: view });
    }
    this.version += 1;
  }

  #wait(waits, at, news) {
    const asked = new Set(this.waits.map((w) => `${w.agent_id} ${w.request_id}`));
    for (const wait of waits) if (!asked.has(`${wait.agent_id} ${wait.request_id}`)) news.push({ kind: "wait", wait });
    this.waits = waits;
    this.waitsAt = at;
  }

  #count(totals, at) {
    this.totals = totals;
    const seen = this.#grantsSeen;
    seen.push({ t: at, grants: Number(totals.grants) });
    while (seen.length > 2 && at - seen[0].t > RATE_WINDOW_MS) seen.shift();
    if (at - this.#ratedAt < 1000) return;
    this.#ratedAt = at;
    this.rates.push(this.grantsPerSecond());
    if (this.rates.length > RATE_POINTS) this.rates.shift();
  }

  grantsPerSecond() {
    const seen = this.#grantsSeen;
    const [first, last] = [seen[0], seen.at(-1)];
    // A new leader counts from zero again: that is no negative rate.
    if (!first || last.t - first.t < 500 || last.grants < first.grants) return 0;
    return (1000 * (last.grants - first.grants)) / (last.t - first.t);
  }

  /** A duration field that counts up (or, with −1, down) since it was said at `at`. */
  running(ms, at, direction = 1) {
    return Number(ms) + direction * Math.max(0, this.clock.now() - at);
  }

  /** Who is in the way of a wait, without repeats. */
  blockersOf(wait) {
    return [...new Set(wait.blockers.map((b) => b.agent_id).filter(Boolean))];
  }

  waitOf(agentId) {
    return this.waits.find((w) => w.agent_id === agentId);
  }
}

/** What of a zone is visible on the ground. */
const looks = ({ state, view }) => `${state} ${view.occupants.map((o) => o.agent_id + o.state).join()} ${view.waiters}`;

function zoneNews(before, now) {
  const news = [];
  const zone = now.view.name;
  const tokens = (z) => new Map(z.view.occupants.filter((o) => o.state === "SLOT_STATE_HELD").map((o) => [o.token, o]));
  const had = tokens(before);
  const has = tokens(now);
  for (const [token, o] of has) if (!had.has(token)) news.push({ kind: "grant", zone, agent: o.agent_id, token });
  const staying = new Set(now.view.occupants.map((o) => o.agent_id));
  for (const [token, o] of had) if (!has.has(token) && !staying.has(o.agent_id)) news.push({ kind: "release", zone, agent: o.agent_id, token });
  for (const o of now.view.occupants) {
    if (o.state !== "SLOT_STATE_BLOCKED") continue;
    const was = before.view.occupants.find((b) => b.slot === o.slot);
    if (was?.state !== o.state || was.agent_id !== o.agent_id) news.push({ kind: "blocked", zone, agent: o.agent_id, cause: bare(o.cause, "BLOCK_CAUSE_") });
  }
  const kept = before.view.occupants.filter((o) => o.state !== "SLOT_STATE_HELD").length;
  if (kept && !now.view.occupants.length) news.push({ kind: "cleared", zone });
  return news;
}

/** A stable tint: agents that are numbered in a row get different ones. */
function tintNumber(id) {
  const number = /(\d+)\D*$/.exec(id);
  if (number) return Number(number[1]) % 997;
  return [...id].reduce((sum, c) => (sum * 31 + c.codePointAt(0)) % 997, 7);
}
