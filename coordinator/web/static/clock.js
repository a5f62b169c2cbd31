// The coordinator's clock as this page can know it: everything that counts up or down on the page reads it.
// It stands still while nothing is heard, so that a lost connection never looks like time passing normally.

export const STALE_MS = 5000; // two and a half of the server's "alive" beats

export class ServerClock {
  #offset = -Infinity;
  #heard = -Infinity; // performance.now() of the last word from the coordinator

  /** A message that the coordinator stamped `serverMs` has just arrived. The quickest message tells the offset best. */
  hear(serverMs) {
    const here = performance.now();
    // Let the estimate sink slowly, or two clocks that drift apart would never be corrected downwards.
    this.#offset = Math.max(serverMs - here, this.#offset - 0.2);
    this.#heard = here;
  }

  /** Forgets the offset: another run of the coordinator may sit on another machine. */
  forget() {
    this.#offset = -Infinity;
  }

  get silentMs() {
    return performance.now() - this.#heard;
  }

  get heardEver() {
    return this.#heard > -Infinity;
  }

  get stale() {
    return this.heardEver && this.silentMs > STALE_MS;
  }

  /** Milliseconds on the coordinator's clock. */
  now() {
    if (this.#offset === -Infinity) return 0;
    return this.#offset + Math.min(performance.now(), this.#heard + STALE_MS);
  }
}
