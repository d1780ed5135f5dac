// PassesController: what one <surepass-passes> element does while it is part of a page.

// How often a sync is requested again, and the longest wait before it.
const TRIES = 4;
const LONGEST_WAIT = 15000;
// The final states of a purchase.
const FINAL = ["active", "declined", "expired", "unmatched", "not_a_pass", "refunded"];
// The `data-state` of messages whose key is another word.
const STATES = {
  exchanged: "active",
  has_ended: "active",
  found: "synced",
  already: "synced",
  none: "synced",
  problem: "failed",
  problem_quoted: "failed",
  closed: "unmatched",
  too_many: "failed",
  under_way: "syncing",
};
const OF_WINDOW = ["online", "pagehide", "pageshow"];

/** The outcome of a sync, as the key of its message; `answer` is null if none came. */
const outcomeOf = (answer) => {
  const { status, body } = answer || { status: 0, body: {} };
  if (status === 429) return { kind: "too_many" };
  if (status !== 200) return { kind: "failed" };
  if (body.createdCount > 0) return { kind: "found", n: body.createdCount };
  if (body.processing) return { kind: "under_way" };
  if (!body.success || body.errorCount > 0) return { kind: "failed", isKnown: true };
  return { kind: body.skippedCount > 0 ? "already" : "none" };
};

/** An http(s) URL, never a script; null for anything else. */
const webAddress = (text) => {
  try {
    const { protocol, href } = new URL(text || "", location.href);
    return text && /^https?:$/.test(protocol) ? href : null;
  } catch (_) {
    return null;
  }
};

class PassesController {
  constructor(element) {
    this.element = element;
    this.isPage = element.querySelector("[data-message]") !== null;
    this.root = this.isPage ? element : element.shadowRoot || renderWidget(element);
    this.message = this.root.querySelector("[data-message]");
    this.form = this.root.querySelector("form[data-missing]");
    // Without a button nobody is signed in: only the purchase is requested.
    this.isAlone = this.form === null;
    if (!this.isAlone) {
      this.button = this.form.querySelector("button");
      this.form.addEventListener("submit", this);
    }
    document.addEventListener("visibilitychange", this);
    OF_WINDOW.forEach((name) => window.addEventListener(name, this));
  }

  leave() {
    this.stop();
    if (!this.isAlone) this.form.removeEventListener("submit", this);
    document.removeEventListener("visibilitychange", this);
    OF_WINDOW.forEach((name) => window.removeEventListener(name, this));
  }

  handleEvent(event) {
    if (event.type === "submit") {
      event.preventDefault();
      this.missing();
    } else if (event.type === "pagehide") {
      // A page with open requests cannot be kept for the back button.
      this.stop();
    } else if (event.type === "pageshow") {
      if (event.persisted) this.start();
    } else if (!document.hidden && this.confirmation) {
      this.confirmation.wake();
    }
  }

  start() {
    this.stop();
    this.stopping = new AbortController();
    this.isSignedOut = false;
    const { element } = this;
    const around = element.closest("[lang]");
    this.lang = languageTag((around && around.lang) || navigator.language || "en");
    this.say = sayIn(this.lang);
    this.api = new Api(element, this.isPage, this.isAlone);
    if (!this.isPage) this.button.textContent = this.say("missing_pass");
    // Clears the message of an earlier sign-in.
    if (!element.dataset.state || element.dataset.state === "signed_out") this.show("idle");
    this.listed = null;
    const session = element.getAttribute("session");
    if (session && session !== this.settled) this.confirm(session);
    this.visit();
  }

  stop() {
    if (this.stopping) this.stopping.abort();
    if (this.confirmation) this.confirmation.stop();
    this.confirmation = null;
    if (this.isBusy) {
      this.busy(false);
      this.show("idle");
    }
  }

  confirm(session) {
    const state = this.isPage ? this.element.dataset.state : "";
    if (FINAL.includes(state)) {
      this.end(session);
      return;
    }
    if (!this.begun || this.begun.session !== session) this.begun = { session, at: now() };
    this.confirmation = new Confirmation(this, session, this.begun.at, state);
    this.confirmation.start();
  }

  /** The list of a widget, and the quiet sync of a visit, which waits while a purchase is confirmed. */
  async visit() {
    const { signal } = this.stopping;
    if (!this.isPage) await this.refresh();
    if (!this.confirmation && !this.isSignedOut && !signal.aborted) await this.quietly();
  }

  async quietly() {
    if (this.isAlone) return;
    const { signal } = this.stopping;
    const outcome = await this.run({ quiet: true });
    if (!outcome || outcome.kind !== "found" || signal.aborted) return;
    // The list shows whether this visit found it, or one a moment ago.
    if ((await this.refresh()) && !this.isBusy) this.report(outcome);
  }

  /** The button. */
  async missing() {
    if (this.isBusy) return;
    if (this.confirmation) this.confirmation.isAside = true;
    const outcome = await this.sync();
    if (!outcome) return;
    this.report(outcome);
    this.refresh();
    if (this.confirmation) this.confirmation.wake();
  }

  /** Looks for missing passes, one request at a time, and shows that. Null: there is nothing to show. */
  async sync() {
    if (this.isBusy || this.isAlone) return null;
    this.busy(true);
    this.show("syncing");
    const outcome = await this.run();
    // A purchase that arrived meanwhile has replaced the message.
    if (!outcome || !this.isBusy) return null;
    this.busy(false);
    return outcome;
  }

  busy(isBusy) {
    if (isBusy) {
      this.label = this.button.textContent;
      this.hadFocus = this.button === this.button.getRootNode().activeElement;
    }
    this.isBusy = isBusy;
    this.button.disabled = isBusy;
    this.button.textContent = isBusy ? this.say("busy") : this.label;
    if (isBusy) this.button.setAttribute("aria-busy", "true");
    else this.button.removeAttribute("aria-busy");
    // Browsers take the focus from a disabled button. A customer who has moved it elsewhere keeps it there.
    const isNowhere = !document.activeElement || document.activeElement === document.body;
    if (!isBusy && this.hadFocus && isNowhere) this.button.focus({ preventScroll: true });
  }

  /** One sync, requested again while it goes on, and when the server says so: a new request joins the running one. */
  async run(body) {
    const { signal } = this.stopping;
    for (let tries = 1; ; tries++) {
      let answer = null;
      try {
        answer = await this.api.call("POST", "/api/user/sync-subscriptions", { body, patience: 20000, signal });
      } catch (_) {
        // Tried again below.
      }
      if (signal.aborted) return null;
      if (answer && answer.status === 401) {
        // A quiet sync replaces no message, such as that a purchase is active.
        if (!body) this.signedOut();
        return null;
      }
      const again = answer ? (answer.body.processing ? EVERY : answer.retryAfter) : 1000 * tries;
      if (again === undefined || again > LONGEST_WAIT || tries === TRIES) return outcomeOf(answer);
      await wait(again, signal);
    }
  }

  report(outcome) {
    this.show(outcome.kind, { n: outcome.n });
    this.synced(outcome);
  }

  synced(outcome) {
    this.emit("synced", { outcome: outcome.kind, found: outcome.n || 0 });
  }

  async fulfilled(session, subscription) {
    const { signal } = this.stopping;
    this.confirmation = null;
    if (this.isBusy) this.busy(false);
    const kind = subscription.isActive === false ? "exchanged" : subscription.isExpired ? "has_ended" : "active";
    this.show(kind);
    if (kind === "active") this.emit("active", { session, subscription });
    await this.refresh();
    if (signal.aborted) return;
    this.end(session);
    await this.quietly();
  }

  ended(session, kind, values) {
    this.show(kind, values);
    this.end(session);
    this.quietly();
  }

  /** The purchase has a final state: loading the page again must not show it again. */
  end(session) {
    this.settled = session;
    this.confirmation = null;
    if (this.isPage) history.replaceState(history.state, "", this.address());
  }

  /** The page's address without the purchase; a chosen language stays. */
  address() {
    return this.element.dataset.page || location.pathname;
  }

  signedOut() {
    if (this.isBusy) this.busy(false);
    if (this.element.dataset.state === "signed_out") return;
    this.isSignedOut = true;
    if (this.confirmation) this.confirmation.stop();
    this.confirmation = null;
    this.show("signed_out");
    // Our own page, loaded again, says where to sign in and keeps the purchase.
    const address = this.isPage ? location.href : webAddress(this.element.getAttribute("sign-in"));
    if (address) this.message.append(" ", make("a", { href: address }, this.say("sign_in")));
    this.emit("signin", {});
  }

  /** Updates the list in place. Returns whether it changed; false, too, if it could not be loaded. */
  async refresh() {
    if (this.isAlone) return false;
    const { signal } = this.stopping;
    const path = this.isPage ? this.address() : "/api/user/subscriptions";
    for (let tries = 0; tries < TRIES && !signal.aborted; tries++) {
      let pause;
      try {
        const answer = await this.api.call("GET", path, { signal });
        if (signal.aborted) return false;
        if (answer.status === 200) return this.isPage ? this.swap(answer.text) : this.list(answer);
        // The message of a purchase is not replaced.
        if (answer.status === 401 && !this.begun) this.signedOut();
        if (answer.status < 500 && answer.status !== 429) return false;
        pause = answer.retryAfter;
      } catch (_) {
        // A network error: tried again.
      }
      await wait(Math.max(1000 * 3 ** tries, pause || 0), signal);
    }
    return false;
  }

  swap(page) {
    const fresh = new DOMParser().parseFromString(page, "text/html").getElementById("passes");
    const old = document.getElementById("passes");
    if (!fresh || !old || fresh.textContent === old.textContent) return false;
    old.replaceWith(document.importNode(fresh, true));
    return true;
  }

  list(answer) {
    if (answer.text === this.listed) return false;
    fillIn(this.root.querySelector("[part=passes]"), renderLists(answer.body, this.lang, this.say));
    this.listed = answer.text;
    return true;
  }

  /** Shows a message, always as text. */
  show(kind, values) {
    const text = kind === "idle" ? "" : this.say(kind, values);
    if (this.shown === text) return;
    this.shown = text;
    const { message, element } = this;
    // A screen reader does not read the count again and again.
    const at = kind === "confirming" ? text.indexOf("(") : -1;
    const count = message.querySelector("[data-count]");
    if (at > 0 && count && element.dataset.state === kind) {
      count.textContent = text.slice(at);
    } else if (at > 0) {
      fillIn(message, [text.slice(0, at), make("span", { "aria-hidden": "true", "data-count": "" }, text.slice(at))]);
    } else {
      message.textContent = text;
    }
    element.dataset.state = STATES[kind] || kind;
  }

  emit(name, detail) {
    this.element.dispatchEvent(new CustomEvent(`surepass:${name}`, { bubbles: true, composed: true, detail }));
  }
}
