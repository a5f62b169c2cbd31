// Puts the page together: fetch the floor, open the stream, keep drawing.

import { Actors } from "./actors.js";
import { Camera } from "./camera.js";
import { Card, tipText } from "./card.js";
import { ServerClock } from "./clock.js";
import { Colours } from "./colours.js";
import { Connection } from "./connection.js";
import { drawGround } from "./ground.js";
import { drawLegend } from "./legend.js";
import { say } from "./lists.js";
import { EventLog } from "./log.js";
import { Panel } from "./panel.js";
import { Plan } from "./plan.js";
import { Pointer } from "./pointer.js";
import { FloorState } from "./state.js";
import { el, plural, span } from "./text.js";

const PANEL_MS = 250;
const FLOOR_RETRY_MS = 2000;
const MOST_NAMES = 2000; // offered while typing
const $ = (id) => document.getElementById(id);

async function fetchFloor() {
  for (;;) {
    try {
      const answer = await fetch("/api/floor");
      if (answer.ok) return await answer.json();
    } catch {
      // Not reachable: said on the page, tried again.
    }
    showLink("stale", "no coordinator · retrying");
    await new Promise((resolve) => setTimeout(resolve, FLOOR_RETRY_MS));
  }
}

function showLink(kind, text) {
  $("link").dataset.state = kind;
  say($("link").querySelector("span"), text);
}

class Page {
  constructor(floor) {
    this.floor = floor;
    this.clock = new ServerClock();
    this.plan = new Plan(floor);
    this.state = new FloorState(this.plan, this.clock);
    this.colours = new Colours();
    this.camera = new Camera(this.plan);
    this.actors = new Actors(this.plan, this.state, this.camera, this.colours);
    this.choose = this.choose.bind(this);
    this.panel = new Panel(this.state, this.colours, (one) => this.choose(one, true));
    this.card = new Card($("card"), this.state, this.colours, this.choose);
    this.log = new EventLog($("log"), $("spoken"), $("log-grants"));
    this.connection = new Connection(this.clock);
    this.pointer = new Pointer($("live"), this.camera, (x, y) => this.pick(x, y), {
      hover: (one, x, y) => this.hover(one, x, y),
      choose: this.choose,
      step: (kind, by) => this.stepThrough(kind, by),
    });
    this.drawn = "";
    this.linkState = "connecting";
  }

  start() {
    const { floor, colours, camera } = this;
    $("site").replaceChildren(el("b", { text: floor.site }), ` · floor v${floor.version} · ${plural(floor.zones.length, "zone")}`);
    colours.onchange = () => {
      this.drawn = "";
      drawLegend($("legend"), colours);
    };
    drawLegend($("legend"), colours);
    new ResizeObserver(() => this.resize()).observe($("map"));
    this.resize();
    $("zoom-in").addEventListener("click", () => camera.zoom(1.4));
    $("zoom-out").addEventListener("click", () => camera.zoom(1 / 1.4));
    $("fit").addEventListener("click", () => camera.fit());
    this.#finder();
    this.connection.addEventListener("update", ({ detail }) => this.log.add(this.state.apply(detail)));
    this.connection.open();
    setInterval(() => this.refresh(), PANEL_MS);
    const frame = () => {
      this.draw();
      requestAnimationFrame(frame);
    };
    frame();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = $("map");
    this.camera.resize(width, height);
    for (const canvas of [$("ground"), $("live")]) {
      canvas.width = Math.round(width * devicePixelRatio);
      canvas.height = Math.round(height * devicePixelRatio);
    }
    this.drawn = "";
    this.draw();
  }

  draw() {
    const needed = `${this.state.version} ${this.camera.version} ${devicePixelRatio} ${this.#tints()}`;
    if (needed !== this.drawn) {
      this.drawn = needed;
      drawGround($("ground"), this.camera, this.plan, this.state, this.colours);
    }
    this.actors.draw($("live"), { hovered: this.hovered, selected: this.selected });
  }

  /** Zones are tinted by their holder: a holder that just became known changes the ground. */
  #tints() {
    return this.state.agents.size;
  }

  /** The texts that count, four times a second. */
  refresh() {
    this.connection.check();
    const now = this.connection.state;
    const age = span(this.clock.silentMs);
    const texts = { connecting: "connecting", live: "live", idle: "live · not granting", stale: `reconnecting · data ${age} old` };
    showLink(now, texts[now]);
    if (now !== this.linkState) {
      if (now === "stale") this.log.add([{ kind: "lost" }]);
      if (now === "live" && this.linkState !== "idle") this.log.add([{ kind: "found" }]);
      this.linkState = now;
    }
    document.body.classList.toggle("stale", now === "stale");
    this.#banner(now, age);
    this.panel.update();
    this.card.update(this.selected);
    const stops = this.state.stops.size;
    const title = `${now === "stale" ? "⚠ no contact · " : stops ? `■ ${plural(stops, "stop")} · ` : ""}${this.floor.site} · zonelock`;
    if (document.title !== title) document.title = title;
    if (this.hovered) this.#tip();
  }

  #banner(now, age) {
    const { problem } = this.connection;
    let text = "";
    if (now === "stale") text = `No contact for ${age}. This is what was seen last${problem ? `; ${problem}` : ""}.`;
    else if (now === "connecting" && problem) text = `Refused: ${problem}.`;
    else if (this.state.otherFloor) text = "The coordinator runs another version of the floor. Reload this page.";
    else if (now === "idle") text = "The coordinator cannot grant now (store or leadership lost). What is held stays held; stops still go out.";
    $("banner").hidden = !text;
    $("banner").dataset.kind = now;
    say($("banner"), text);
  }

  /** The agent or zone at a point on screen. */
  pick(px, py) {
    const [x, y] = this.camera.toCell(px, py);
    const reach = Math.max(0.55, 9 / this.camera.scale);
    let best;
    for (const [id, place] of this.actors.places ?? []) {
      const d = Math.hypot(place.x - x, place.y - y);
      if (d < reach && (!best || d < best.d)) best = { d, id };
    }
    if (best) return { kind: "agent", name: best.id };
    const zone = this.plan.zoneAt(x, y);
    return zone && { kind: "zone", name: zone.name };
  }

  hover(one, x, y) {
    this.hovered = one;
    $("tip").hidden = !one;
    if (!one) return;
    this.#tip();
    const left = Math.min(x + 16, this.camera.width - 250);
    $("tip").style.transform = `translate(${left}px, ${y + (y > this.camera.height - 90 ? -70 : 18)}px)`;
  }

  #tip() {
    const [name, text] = tipText(this.state, this.hovered);
    $("tip").replaceChildren(el("b", { text: name }), ` ${text}`);
  }

  /** Selects an agent or zone (or nothing); `show` also brings it into view. */
  choose(one, show = false) {
    this.selected = one;
    if (one && show) {
      const at = this.whereIs(one);
      if (at) this.camera.show(...at);
    }
    this.#placeCard();
    this.card.update(this.selected);
  }

  /** The middle of an agent or zone in cells; undefined when nobody knows. */
  whereIs({ kind, name }) {
    if (kind === "zone") return this.plan.zones.get(name)?.heart;
    const agent = this.state.agents.get(name);
    const place = agent && this.actors.whereIs(name, agent);
    return place && [place.x, place.y];
  }

  /** On the side of the map where it does not cover what it is about. */
  #placeCard() {
    const at = this.selected && this.whereIs(this.selected);
    const left = at ? this.camera.toScreen(...at)[0] < this.camera.width / 2 : false;
    $("card").classList.toggle("right", left);
  }

  stepThrough(kind, by) {
    const names = [...(kind === "agent" ? this.state.agents : this.plan.zones).keys()].sort();
    if (!names.length) return;
    const at = this.selected?.kind === kind ? names.indexOf(this.selected.name) : by > 0 ? -1 : 0;
    this.choose({ kind, name: names[(at + by + names.length) % names.length] }, true);
    say($("spoken"), tipText(this.state, this.selected).join(": "));
  }

  #finder() {
    const input = $("find-text");
    const find = () => {
      const text = input.value.trim().toLowerCase();
      const named = (names) => [...names].find((n) => n.toLowerCase() === text) ?? [...names].find((n) => n.toLowerCase().startsWith(text));
      if (!text) return;
      const agent = named(this.state.agents.keys());
      const zone = named(this.plan.zones.keys());
      if (agent && (!zone || agent.toLowerCase() === text)) this.choose({ kind: "agent", name: agent }, true);
      else if (zone) this.choose({ kind: "zone", name: zone }, true);
      input.setCustomValidity(agent || zone ? "" : "no zone or agent of that name");
      input.reportValidity();
    };
    input.addEventListener("focus", () => {
      const names = [...this.state.agents.keys(), ...this.plan.zones.keys()].slice(0, MOST_NAMES);
      $("find-names").replaceChildren(...names.map((value) => el("option", { value })));
    });
    input.addEventListener("input", () => input.setCustomValidity(""));
    $("find").addEventListener("submit", (event) => {
      event.preventDefault();
      find();
    });
    addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.target instanceof HTMLInputElement) return;
      event.preventDefault();
      input.select();
    });
  }
}

const page = new Page(await fetchFloor());
page.start();
globalThis.zonelock = page; // for the console, and for the test that drives this page
