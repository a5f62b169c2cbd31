// What changed, newest first, and the few words that a screen reader must hear at once.

import { CAUSE_TEXT, clockTime, el, plural, scopeText, span, tokenText } from "./text.js";

const MOST_LINES = 300;
const MOST_GRANTS_AT_ONCE = 6; // more in one update are told as a number

/** A page that opens late must not date an old stop as new. */
const earlier = (stop) => (Number(stop.age_ms) > 2000 ? ` (${span(Number(stop.age_ms))} ago)` : "");

const LINES = {
  stop: (n) => ["stop-line", "■", `Stop in ${scopeText(n.stop)}: ${n.stop.reason || n.stop.stop_id}${earlier(n.stop)}`],
  reset: (n) => ["good", "▶", n.stop.reset_by ? `${n.stop.reset_by} reset ${n.stop.stop_id}: ${n.stop.reset_reason}` : `${n.stop.stop_id} was reset`],
  blocked: (n) => ["warn", "▨", `${n.zone} blocked by ${n.agent}${CAUSE_TEXT[n.cause] ? `: ${CAUSE_TEXT[n.cause]}` : ""}`],
  cleared: (n) => ["good", "▢", `${n.zone} is clear`],
  wait: (n) => ["", "…", `${n.wait.agent_id} waits for ${n.wait.zones.join(", ")}`],
  link: (n) => [n.link === "CONNECTED" ? "good" : "warn", "⇄", `${n.agent} ${{ CONNECTED: "is back", SILENT: "is silent", GONE: "lost its stream" }[n.link] ?? n.link}`],
  joined: (n) => ["", "+", `${n.agent} joined`],
  left: (n) => ["", "−", `${n.agent} left`],
  grant: (n) => ["grant", "●", `${n.zone} granted to ${n.agent} (${tokenText(n.token)})`],
  release: (n) => ["release", "○", `${n.zone} released by ${n.agent}`],
  grants: (n) => ["grant", "●", `${plural(n.count, "zone")} granted`],
  releases: (n) => ["release", "○", `${plural(n.count, "zone")} released`],
  lost: () => ["warn", "⇄", "Connection to the coordinator lost"],
  found: () => ["good", "⇄", "Connected to the coordinator"],
};

export class EventLog {
  constructor(list, spoken, filter) {
    this.list = list;
    this.spoken = spoken;
    filter.addEventListener("change", () => list.classList.toggle("no-grants", !filter.checked));
  }

  add(news) {
    const lines = [];
    for (const [one, many] of [["grant", "grants"], ["release", "releases"]]) {
      const count = news.filter((n) => n.kind === one).length;
      if (count > MOST_GRANTS_AT_ONCE) {
        news = news.filter((n) => n.kind !== one);
        lines.push({ kind: many, count });
      }
    }
    const time = clockTime(new Date());
    for (const item of [...news, ...lines]) this.list.prepend(line(time, ...LINES[item.kind](item)));
    while (this.list.childElementCount > MOST_LINES) this.list.lastElementChild.remove();
    for (const item of news) this.#speak(item);
  }

  #speak(item) {
    const loud = item.kind === "stop" || item.kind === "reset" || item.kind === "lost" || item.kind === "found";
    if (loud) this.spoken.textContent = LINES[item.kind](item)[2];
  }
}

const line = (time, name, sign, text) =>
  el("li", { class: name }, el("time", { text: time }), el("i", { text: sign, "aria-hidden": "true" }), el("span", { text }));
