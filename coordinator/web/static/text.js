// Words and numbers as people read them. No state, no DOM beyond `el`.

/** Makes an element: el("p", {class: "x", text: "…"}, child, …). Text is never parsed as HTML. */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** "0.4 s", "12 s", "3:05", "2 h 07". */
export function span(ms) {
  const late = ms < 0;
  const s = Math.abs(ms) / 1000;
  const said = s < 9.95 ? `${s.toFixed(1)} s` : s < 60 ? `${Math.round(s)} s` : s < 3600 ? minutes(s) : hours(s);
  return late ? `−${said}` : said;
}

const two = (n) => String(Math.floor(n)).padStart(2, "0");
const minutes = (s) => `${Math.floor(s / 60)}:${two(s % 60)}`;
const hours = (s) => `${Math.floor(s / 3600)} h ${two((s % 3600) / 60)}`;

export const clockTime = (date) => `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;

/** A token for people: incarnation·counter. Tokens are strings: they do not fit a double. */
export function tokenText(token) {
  const number = BigInt(token || 0);
  return `${number >> 40n}·${number & ((1n << 40n) - 1n)}`;
}

/** "ZONE_STATE_HELD" → "HELD". */
export const bare = (name, prefix) => (name.startsWith(prefix) ? name.slice(prefix.length) : name);

export const plural = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

/** The first few of a list, and how many more. */
export function some(names, most = 4) {
  const more = names.length - most;
  return more > 1 ? `${names.slice(0, most).join(", ")} and ${more} more` : names.join(", ");
}

const SAFE = /^[A-Za-z0-9_@%+=:,./-]+$/;
/** One word of a POSIX shell command line. */
export const shellWord = (text) => (SAFE.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

export const CAUSE_TEXT = {
  OVERDUE: "overdue",
  ABANDONED: "gave up its grant inside",
  PARKED: "parked",
  STOPPED: "stopped inside",
  DECLARED: "declared that it stands here",
  UNCERTAIN: "may have entered on a lost grant",
  UNSPECIFIED: "",
};

export const STOP_CAUSE_TEXT = { OVERDUE: "Overdue hold", OPERATOR: "Operator’s stop", AGENT: "Agent’s stop", LEDGER: "Ledger older than its agents", UNSPECIFIED: "Stop" };

export const LINK_TEXT = { CONNECTED: "connected", SILENT: "silent", GONE: "gone", UNSPECIFIED: "unknown" };

export const scopeText = (stop) => (stop.floor ? "whole floor" : some(stop.stop_groups.length ? stop.stop_groups : stop.zones));
