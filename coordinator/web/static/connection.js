// The stream from the coordinator. The browser reconnects a broken stream by itself; this also notices a silent one
// (a frozen coordinator, a cut cable) and a refused one, which the browser would leave alone for ever.

import { STALE_MS } from "./clock.js";

const RETRY_MS = 2000;
const DEAF_MS = 3 * STALE_MS; // an open stream without a word for this long is opened anew

export class Connection extends EventTarget {
  #clock;
  #source;
  #opened = 0;
  #run = "";
  #pictured = false;
  problem = "";
  leading = true;

  constructor(clock) {
    super();
    this.#clock = clock;
  }

  open() {
    this.#source?.close();
    this.#opened = performance.now();
    const source = new EventSource("/api/watch");
    this.#source = source;
    source.addEventListener("message", (event) => {
      const run = event.lastEventId.split("-")[0];
      if (run !== this.#run) this.#clock.forget();
      this.#run = run;
      const update = JSON.parse(event.data);
      this.#heard(update);
      this.#pictured = true;
      this.dispatchEvent(new CustomEvent("update", { detail: update }));
    });
    source.addEventListener("alive", (event) => this.#heard(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      this.dispatchEvent(new Event("lost"));
      if (source.readyState === EventSource.CLOSED) this.#refused();
    });
  }

  /** "connecting", "live", "idle" (the coordinator cannot grant now) or "stale". */
  get state() {
    if (!this.#clock.heardEver) return "connecting";
    if (this.#source.readyState !== EventSource.OPEN || this.#clock.stale) return "stale";
    if (!this.leading) return "idle";
    return this.#pictured ? "live" : "connecting";
  }

  /** Called now and then: reopens a stream that is open and deaf. */
  check() {
    const deaf = Math.min(this.#clock.silentMs, performance.now() - this.#opened);
    if (this.#source.readyState === EventSource.OPEN && deaf > DEAF_MS) this.open();
  }

  #heard(said) {
    this.#clock.hear(said.server_ms);
    this.leading = said.leading;
    this.problem = "";
  }

  async #refused() {
    this.problem = await whyRefused();
    setTimeout(() => this.open(), RETRY_MS);
  }
}

async function whyRefused() {
  try {
    const health = await (await fetch("/healthz", { cache: "no-store" })).json();
    if (health.watchers >= health.watchers_max) return `${health.watchers} browsers watch already; close one`;
  } catch {
    return "";
  }
  return "";
}
