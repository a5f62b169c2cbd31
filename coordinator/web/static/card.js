// The details of the zone or agent that is selected, and the short tip under the pointer.

import { say } from "./lists.js";
import { CAUSE_TEXT, LINK_TEXT, bare, el, plural, scopeText, span, tokenText } from "./text.js";

export class Card {
  constructor(box, state, colours, choose) {
    Object.assign(this, { box, state, colours, choose });
    this.shown = "";
  }

  /** Rebuilt only when what it says changed; the running times in it are updated in place. */
  update(selected) {
    const known = selected && (selected.kind === "zone" ? this.state.plan.zones.has(selected.name) : this.state.agents.has(selected.name));
    this.box.hidden = !known;
    if (!known) {
      this.shown = "";
      return;
    }
    this.running = [];
    const body = selected.kind === "zone" ? this.#zone(selected.name) : this.#agent(selected.name);
    const says = body.map((part) => part.outerHTML).join("");
    if (says !== this.shown) {
      const focused = this.box.contains(document.activeElement) && document.activeElement.textContent;
      this.box.replaceChildren(...body);
      this.shown = says;
      this.live = this.running;
      if (focused) [...this.box.querySelectorAll("button")].find((b) => b.textContent === focused)?.focus();
    }
    for (const tick of this.live) tick();
  }

  #head(name, badge, colour) {
    const dot = el("i", { class: "dot" });
    dot.style.background = colour;
    const close = el("button", { class: "close", type: "button", text: "×", "aria-label": "Close details", onclick: () => this.choose(undefined) });
    return el("header", {}, dot, el("h3", { text: name }), el("span", { text: badge }), close);
  }

  #zone(name) {
    const { spec } = this.state.plan.zones.get(name);
    const known = this.state.zones.get(name);
    if (!known) return [this.#head(name, "not heard of yet", this.colours.unknown)];
    const { view, state, at } = known;
    const taken = view.occupants.length;
    const facts = el("dl", {}, ...pairs([
      ["Slots", `${taken} of ${view.capacity} taken`],
      ["Stop group", view.stop_group],
      ["Longest hold", span(Number(spec.hold_max_ms))],
      ["Waiting", view.waiters ? this.#waitersOf(name) : ""],
    ]));
    const stops = view.stop_ids.map((id) => el("p", { class: "who", text: `Stopped by ${id}${this.#stopReason(id)}` }));
    const colour = state === "HELD" ? this.colours.tint(this.state.agents.get(view.occupants[0]?.agent_id)) : this.colours.ofState(state);
    return [this.#head(name, state, colour), facts, ...stops, ...view.occupants.map((o) => this.#occupant(o, at))];
  }

  #stopReason(id) {
    const stop = this.state.stops.get(id)?.view;
    return stop ? ` (${scopeText(stop)}): ${stop.reason}` : "";
  }

  #waitersOf(zone) {
    return this.state.waits.filter((w) => w.zones.includes(zone)).map((w) => w.agent_id).join(", ");
  }

  #occupant(o, at) {
    const slot = bare(o.state, "SLOT_STATE_");
    if (slot === "UNKNOWN") return el("div", { class: "who" }, el("span", { text: "Never confirmed empty since the ledger began." }), el("small", { text: "Walk the floor, then: zonelock clear" }));
    const who = el("button", { type: "button", text: o.agent_id, onclick: () => this.choose({ kind: "agent", name: o.agent_id }) });
    const token = el("small", { text: `token ${o.token} (${tokenText(o.token)}), slot ${o.slot}` });
    if (slot !== "HELD") {
      const why = CAUSE_TEXT[bare(o.cause, "BLOCK_CAUSE_")];
      const since = el("span");
      this.running.push(() => say(since, `, for ${span(this.state.running(o.since_ms, at))}`));
      return el("div", { class: "who" }, who, ` without a live grant${why ? `: ${why}` : ""}`, since, token);
    }
    const left = el("span");
    const bar = el("i");
    const meter = el("div", { class: "meter" }, bar);
    const whole = Number(o.remaining_ms) + Number(o.since_ms);
    if (whole) this.running.push(() => {
      const ms = this.state.running(o.remaining_ms, at, -1);
      say(left, ms < 0 ? ` overdue by ${span(-ms)}` : ` has ${span(ms)} left`);
      bar.style.width = `${Math.max(0, Math.min(100, (100 * ms) / whole))}%`;
      meter.classList.toggle("low", ms < whole * 0.2);
    });
    else left.textContent = " holds it";
    return el("div", { class: "who" }, who, left, o.orphaned ? " · stream gone" : "", token, meter);
  }

  #agent(id) {
    const agent = this.state.agents.get(id);
    const { view } = agent;
    const wait = this.state.waitOf(id);
    const waited = el("dd");
    if (wait) this.running.push(() => say(waited, `${wait.zones.join(", ")}, ${span(this.state.running(wait.waiting_ms, this.state.waitsAt))}`));
    const facts = el("dl", {}, ...pairs([
      ["Kind", view.kind],
      ["Doing", view.activity],
      ["Holds", view.held_zones.join(", ")],
      ["Inside", view.inside_zones.join(", ")],
      ["Position", view.has_position ? `${(view.x_mm / 1000).toFixed(1)}, ${(view.y_mm / 1000).toFixed(1)} m` : "not reported"],
      ["Stopped by", view.stop_ids.join(", ")],
    ]), ...(wait ? [el("dt", { text: "Waits for" }), waited] : []));
    // The position runs along; it must not rebuild the card ten times a second.
    const position = [...facts.children].find((e) => e.textContent === "Position").nextElementSibling;
    const said = position.textContent;
    position.textContent = "";
    this.running.push(() => say(position, this.#position(id) ?? said));
    const held = view.held_zones.flatMap((zone) => this.#ownSlot(zone, id));
    return [this.#head(id, LINK_TEXT[agent.link] ?? agent.link, this.colours.tint(agent)), el("p", { text: view.explanation }), facts, ...held];
  }

  #position(id) {
    const view = this.state.agents.get(id)?.view;
    return view?.has_position ? `${(view.x_mm / 1000).toFixed(1)}, ${(view.y_mm / 1000).toFixed(1)} m` : undefined;
  }

  #ownSlot(zone, id) {
    const known = this.state.zones.get(zone);
    const mine = known?.view.occupants.find((o) => o.agent_id === id);
    if (!mine) return [];
    const slot = this.#occupant(mine, known.at);
    const link = slot.querySelector("button");
    if (link) link.replaceWith(el("button", { type: "button", text: zone, onclick: () => this.choose({ kind: "zone", name: zone }) }));
    return [slot];
  }
}

const pairs = (rows) => rows.filter(([, value]) => value).flatMap(([name, value]) => [el("dt", { text: name }), el("dd", { text: value })]);

/** One or two lines about what is under the pointer. */
export function tipText(state, { kind, name }) {
  if (kind === "agent") return [name, state.agents.get(name)?.view.explanation ?? ""];
  const known = state.zones.get(name);
  if (!known) return [name, ""];
  const who = known.view.occupants.map((o) => o.agent_id).filter(Boolean).join(", ");
  const waiting = known.view.waiters ? `, ${plural(known.view.waiters, "agent")} waiting` : "";
  return [name, `${known.state}${who ? ` by ${who}` : ""}${waiting}`];
}
