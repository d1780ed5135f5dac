// The calls of the API. All times are in milliseconds.

const NAME = "surepass-passes";
// Where the script came from is where the API is.
const ORIGIN = new URL((document.currentScript && document.currentScript.src) || location.href, location.href).origin;

// The pause between two polls of a purchase.
const EVERY = 2000;
// The stream has a heartbeat every 15 s.
const SILENCE = 40000;
const LONGEST_EVENT = 65536;
const LONGEST_PAUSE = 30000;

const now = () => performance.now();

const wait = (pause, signal) =>
  new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, pause);
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
  });

/** The response's Retry-After; undefined: it has none. */
const retryAfter = (response) => {
  const header = response.headers.get("Retry-After");
  const seconds = Number(header);
  return header && seconds >= 0 ? Math.min(seconds, 600) * 1000 : undefined;
};

/** Reads server-sent events until `onEvent` returns true, or the stream ends. A heartbeat is an event without a name. */
const readEvents = async (body, onEvent) => {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += decoder.decode(value, { stream: true });
    const blocks = text.split(/\r?\n\r?\n/);
    text = blocks.pop();
    for (const block of blocks) {
      const event = { event: "", data: "", id: "" };
      block.split(/\r?\n/).forEach((line) => {
        const at = line.indexOf(":");
        const name = line.slice(0, Math.max(at, 0));
        if (name in event) event[name] = line.slice(at + 1).replace(/^ /, "");
      });
      if (onEvent(event)) {
        reader.cancel().catch(() => {});
        return;
      }
    }
    if (text.length > LONGEST_EVENT) throw new Error("an event without an end");
  }
};

/**
 * Calls for one tenant and one customer: with the shop's token, else with the cookie. `isAlone`: without the cookie, too, as
 * it is none or one that is refused; then a purchase's id is enough to learn whether that purchase is active.
 */
class Api {
  constructor(element, isPage, isAlone) {
    this.element = element;
    this.isPage = isPage;
    this.isAlone = isAlone;
    this.base = isPage ? "" : (element.getAttribute("api") || ORIGIN).replace(/\/+$/, "");
  }

  /** Fetches a response with its text. Throws if none came in time; all calls may be repeated. */
  async call(method, path, { body, patience = 10000, signal }) {
    const stop = new AbortController();
    const abort = () => stop.abort();
    const timer = setTimeout(abort, patience);
    signal.addEventListener("abort", abort);
    if (signal.aborted) abort();
    try {
      const response = await this.fetch(method, path, { body, stop });
      const text = await response.text();
      let json = null;
      try {
        json = JSON.parse(text);
      } catch (_) {
        // A page, or a proxy's own words.
      }
      return { status: response.status, body: json || {}, text, retryAfter: retryAfter(response) };
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
    }
  }

  /** The bare response. If a token is rejected, the shop's function is called for a fresh one, once. */
  async fetch(method, path, { body, headers, stop }) {
    const once = async (fresh) => {
      const token = await this.token(fresh, stop.signal);
      const all = Object.assign({ "x-tenant-slug": this.element.getAttribute("tenant") || "" }, headers);
      if (token) all.Authorization = `Bearer ${token}`;
      if (body) all["Content-Type"] = "application/json";
      return fetch(this.base + path, {
        method,
        headers: all,
        body: body && JSON.stringify(body),
        credentials: token || this.isAlone ? "omit" : this.isPage ? "same-origin" : "include",
        cache: "no-store",
        signal: stop.signal,
      });
    };
    const response = await once(false);
    return response.status === 401 && typeof this.element.token === "function" ? once(true) : response;
  }

  token(fresh, signal) {
    const { token } = this.element;
    if (typeof token !== "function") return token;
    // The shop's function may never answer.
    return new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(new Error("no token in time")));
      Promise.resolve(token({ fresh })).then(resolve, reject);
    });
  }

  /**
   * Follows the live stream of a purchase, reconnecting when it breaks, until it ends, is not available, or `signal` is
   * aborted. Polling goes on beside it, so a failure here does no harm.
   */
  async follow(session, onEvent, signal) {
    const path = `/api/user/subscription-status/stream?sessionId=${encodeURIComponent(session)}`;
    let last = "";
    let isOver = false;
    for (let pause = EVERY; !isOver && !signal.aborted; pause = Math.min(pause * 2, LONGEST_PAUSE)) {
      const stop = new AbortController();
      const abort = () => stop.abort();
      signal.addEventListener("abort", abort);
      let timer;
      const listen = () => {
        clearTimeout(timer);
        timer = setTimeout(abort, SILENCE);
      };
      let retry;
      try {
        listen();
        const headers = Object.assign({ Accept: "text/event-stream" }, last && { "Last-Event-ID": last });
        const response = await this.fetch("GET", path, { headers, stop });
        retry = retryAfter(response);
        if (response.ok) {
          const kind = response.headers.get("Content-Type") || "";
          if (!kind.startsWith("text/event-stream") || !response.body) return;
          await readEvents(response.body, (event) => {
            listen();
            last = event.id || last;
            isOver = event.event === "end";
            if (event.event === "status") {
              onEvent(JSON.parse(event.data));
              // It works: the next pause is the shortest again.
              pause = EVERY / 2;
            }
            return isOver;
          });
        } else if (response.status < 500 && response.status !== 429) {
          return;
        }
      } catch (_) {
        // Broken, silent or unreadable.
      } finally {
        clearTimeout(timer);
        signal.removeEventListener("abort", abort);
        stop.abort();
      }
      if (!isOver) await wait(Math.max(pause * (0.5 + Math.random()), retry || 0), signal);
    }
  }
}
