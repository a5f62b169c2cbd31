// The side panel: totals, active stops with the command that ends them, waits and why, agents.

import { follow, say } from "./lists.js";
import { LINK_TEXT, STOP_CAUSE_TEXT, bare, el, plural, scopeText, shellWord, some, span } from "./text.js";

const MOST_WAITS = 200;
const MOST_AGENTS = 500;
const $ = (id) => document.getElementById(id);

export class Panel {
  constructor(state, colours, choose) {
    Object.assign(this, { state, colours, choose });
    this.tiles = Object.fromEntries(
      [["agents", "Agents"], ["live", "Live grants"], ["waiting", "Waiting"], ["stops", "Stops"]].map(([name, title]) => {
        const value = el("dd", { text: "–" });
        const tile = el("div", {}, el("dt", { text: title }), value);
        $("totals").append(tile);
        return [name, { tile, value }];
      }),
    );
    this.rate = el("dd", { text: "–" });
    this.spark = el("canvas", { "aria-hidden": "true" });
    this.granted = el("dd", { text: "–" });
    $("totals").append(
      el("div", { class: "wide" }, el("dt", { text: "Grants a second" }), this.rate, this.spark),
      el("div", { class: "wide" }, el("dt", { text: "Granted in all" }), this.granted),
    );
    this.#tabs();
  }

  #tabs() {
    const tabs = [$("tab-log"), $("tab-agents")];
    const open = (chosen) => {
      for (const tab of tabs) {
        tab.setAttribute("aria-selected", String(tab === chosen));
        tab.tabIndex = tab === chosen ? 0 : -1;
        $(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
      }
      chosen.focus();
      this.update();
    };
    for (const tab of tabs) {
      tab.addEventListener("click", () => open(tab));
      tab.addEventListener("keydown", (event) => {
        if (event.key === "ArrowLeft" || event.key === "ArrowRight") open(tabs[1 - tabs.indexOf(tab)]);
      });
    }
  }

  /** Several times a second: what counts up or down does so here. */
  update() {
    const { state } = this;
    this.#totals();
    const stops = [...state.stops.values()].sort((a, b) => a.since - b.since);
    $("stops-part").dataset.any = stops.length ? "yes" : "no";
    say($("stops-count"), String(stops.length));
    follow($("stops"), stops, (s) => s.view.stop_id, (s) => this.#makeStop(s), (e, s) => this.#updateStop(e, s), "No stop is active.");
    say($("waits-count"), String(state.waits.length));
    const waits = state.waits.slice(0, MOST_WAITS);
    follow($("waits"), waits, (w) => `${w.agent_id} ${w.request_id}`, (w) => this.#makeWait(w), (e, w) => this.#updateWait(e, w), "Nobody waits.");
    if (!$("agents-part").hidden) this.#agents();
  }

  #totals() {
    const { totals } = this.state;
    const { agents, live, waiting, stops } = this.tiles;
    const known = this.state.agents.size;
    say(agents.value, known > totals.connected_agents ? `${totals.connected_agents}/${known}` : String(totals.connected_agents));
    agents.tile.title = `${totals.connected_agents} with a stream, ${known} known`;
    say(live.value, totals.live_grants.toLocaleString("en"));
    say(waiting.value, totals.waiting.toLocaleString("en"));
    say(stops.value, String(this.state.stops.size));
    stops.tile.classList.toggle("alarm", this.state.stops.size > 0);
    const rate = this.state.grantsPerSecond();
    say(this.rate, rate < 9.95 ? rate.toFixed(1) : Math.round(rate).toLocaleString("en"));
    say(this.granted, Number(totals.grants).toLocaleString("en"));
    this.granted.parentElement.title = `${Number(totals.releases).toLocaleString("en")} released, epoch ${this.state.epoch}`;
    drawSpark(this.spark, this.state.rates, this.colours.tints[0]);
  }

  #makeStop({ view }) {
    const parts = {
      title: el("span"),
      age: el("time"),
      reason: el("p"),
      scope: el("p"),
      unsure: el("p", { class: "unsure" }),
      clear: command(),
      reset: command(),
    };
    const item = el("li", { class: "stop" }, el("h3", {}, parts.title, parts.age), parts.reason, parts.scope, parts.unsure, parts.clear, parts.reset);
    item.parts = parts;
    item.addEventListener("dblclick", () => this.choose({ kind: "zone", name: view.zones[0] }));
    return item;
  }

  #updateStop(item, { view, since }) {
    const { title, age, reason, scope, unsure, clear, reset } = item.parts;
    const cause = bare(view.cause, "STOP_CAUSE_");
    const who = cause === "OPERATOR" || cause === "AGENT" ? `, ${view.tripped_by}` : "";
    say(title, (STOP_CAUSE_TEXT[cause] ?? "Stop") + who);
    say(age, span(this.state.running(0, since)));
    say(reason, view.reason);
    const acked = view.acknowledged_by.length ? ` · standing: ${some(view.acknowledged_by)}` : "";
    const late = view.late?.length ? ` · no acknowledgement in time: ${some(view.late)}` : "";
    say(scope, `Stops ${scopeText(view)} (${plural(this.state.plan.covered(view).length, "zone")})${acked}${late}`);
    const waiting = view.unconfirmed.length > 0;
    unsure.hidden = clear.hidden = !waiting;
    if (waiting) {
      say(unsure, `${some(view.unconfirmed)} not confirmed standing. Wait for it, or look on the floor and clear:`);
      clear.say(`zonelock clear --agent ${shellWord(view.unconfirmed[0])} --reason "…"`);
    }
    reset.say(`zonelock reset ${shellWord(view.stop_id)} --reason "…"`);
  }

  #makeWait(wait) {
    const parts = { dot: el("i", { class: "dot" }), zones: el("span"), age: el("time"), why: el("p") };
    const name = el("button", { type: "button", text: wait.agent_id, onclick: () => this.choose({ kind: "agent", name: wait.agent_id }) });
    const item = el("li", { class: "wait" }, el("h3", {}, parts.dot, name, parts.zones, parts.age), parts.why);
    item.parts = parts;
    return item;
  }

  #updateWait(item, wait) {
    const { dot, zones, age, why } = item.parts;
    dot.style.background = this.colours.tint(this.state.agents.get(wait.agent_id));
    say(zones, `→ ${some(wait.zones, 3)}`);
    say(age, span(this.state.running(wait.waiting_ms, this.state.waitsAt)));
    const details = [...new Set(wait.blockers.map((b) => b.detail))];
    say(why, details.length ? some(details, 3) : "next in line");
  }

  #agents() {
    const agents = [...this.state.agents].sort(([a], [b]) => (a < b ? -1 : 1)).slice(0, MOST_AGENTS);
    const make = ([id]) => {
      const parts = { dot: el("i", { class: "dot" }), link: el("em"), text: el("p") };
      const name = el("button", { type: "button", text: id, onclick: () => this.choose({ kind: "agent", name: id }) });
      const item = el("li", { class: "agent" }, el("h3", {}, parts.dot, name, parts.link), parts.text);
      item.parts = parts;
      return item;
    };
    const update = (item, [, agent]) => {
      item.parts.dot.style.background = this.colours.tint(agent);
      say(item.parts.link, [agent.view.activity, LINK_TEXT[agent.link]].filter(Boolean).join(" · "));
      say(item.parts.text, agent.view.explanation);
    };
    follow($("agents"), agents, ([id]) => id, make, update, "No agent is known.");
  }
}

/** A shell command with a button that copies it. */
function command() {
  const code = el("code");
  const button = el("button", { type: "button", text: "Copy" });
  const box = el("div", { class: "command" }, code, button);
  box.say = (text) => {
    if (code.textContent === text) return;
    // Word by word, so that a line never breaks inside an option.
    code.replaceChildren(...text.split(" ").flatMap((word, i) => [...(i ? [" "] : []), el("span", { text: word })]));
    if (button.title !== text) button.setAttribute("aria-label", `Copy: ${text}`);
    button.title = text;
  };
  button.addEventListener("click", async () => {
    say(button, (await copied(code)) ? "Copied" : "Selected");
    setTimeout(() => say(button, "Copy"), 1500);
  });
  return box;
}

/** The clipboard exists only on https and localhost; elsewhere the text is selected for the person to copy. */
async function copied(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(element);
    return false;
  }
}

function drawSpark(canvas, rates, colour) {
  const [w, h, ratio] = [96, 34, devicePixelRatio];
  if (canvas.width !== w * ratio) [canvas.width, canvas.height] = [w * ratio, h * ratio];
  const c = canvas.getContext("2d");
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, w, h);
  if (rates.length < 2) return;
  const most = Math.max(1, ...rates);
  const points = rates.map((r, i) => [w - 2 - ((rates.length - 1 - i) * (w - 4)) / 59, h - 3 - (r / most) * (h - 8)]);
  c.beginPath();
  points.forEach((p) => c.lineTo(...p));
  c.strokeStyle = colour;
  c.lineWidth = 1.6;
  c.lineJoin = "round";
  c.stroke();
  c.lineTo(points.at(-1)[0], h);
  c.lineTo(points[0][0], h);
  c.globalAlpha = 0.15;
  c.fillStyle = colour;
  c.fill();
  c.globalAlpha = 1;
}
