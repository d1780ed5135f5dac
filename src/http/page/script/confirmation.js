// One purchase, from the payment to the pass.

const ATTEMPTS = 15;
// After the attempts, and while nobody looks.
const SLOWLY = 10000;
const GIVE_UP = 600000;

const whomToAsk = ({ reference, contact }) => ({ reference, contact });

/** Waits for a purchase: polls every two seconds for half a minute, then less often, and follows the stream beside it. */
class Confirmation {
  /** `begun`: when the waiting began. `kind`: the state in the server's page. */
  constructor(controller, session, begun, kind) {
    this.controller = controller;
    this.session = session;
    this.begun = begun;
    this.kind = kind === "pending" || kind === "unpaid" ? kind : "confirming";
    this.notBefore = 0;
    this.stopping = new AbortController();
    // A failure without a sync stays on the page.
    this.hasSynced = kind === "failed";
    // Once the page shows another message, such as the button's result, only a final state replaces it.
    this.isAside = this.hasSynced;
    this.isFailed = kind === "syncing";
    // The contact and reference of a failure.
    this.support = null;
  }

  get isOver() {
    return this.stopping.signal.aborted;
  }

  start() {
    if (this.isFailed) this.sync();
    this.showProgress();
    // More often than the count changes, because timers are late.
    this.ticker = setInterval(() => this.showProgress(), EVERY / 4);
    this.follow();
    this.poll();
  }

  stop() {
    clearInterval(this.ticker);
    this.stopping.abort();
    this.goOn();
  }

  follow() {
    this.controller.api.follow(this.session, (status) => this.receive(status), this.stopping.signal);
  }

  goOn() {
    if (this.resume) this.resume();
  }

  /** Polls at once: the page is visible again, or the network is back. */
  wake() {
    if (now() < this.notBefore) return;
    // A request from before the phone slept may never end.
    if (this.looking && now() - this.looking.since > 3000) this.looking.stop.abort();
    this.goOn();
  }

  async poll() {
    while (!this.isOver) {
      await this.look();
      const passed = now() - this.begun;
      const isQuick = passed < EVERY * ATTEMPTS && !document.hidden;
      const pause = Math.max(isQuick ? EVERY - (passed % EVERY) : SLOWLY, this.notBefore - now());
      await new Promise((resolve) => {
        this.resume = resolve;
        if (this.isOver) resolve();
        else if (passed < GIVE_UP) setTimeout(resolve, pause);
      });
      this.resume = null;
    }
  }

  async look() {
    const stop = new AbortController();
    const abort = () => stop.abort();
    const { signal } = this.stopping;
    signal.addEventListener("abort", abort);
    this.looking = { stop, since: now() };
    let answer;
    try {
      const call = { body: { sessionId: this.session }, patience: 12000, signal: stop.signal };
      answer = await this.controller.api.call("POST", "/api/user/subscription-status", call);
    } catch (_) {
      // The network is down; the next poll tries again.
      return;
    } finally {
      this.looking = null;
      signal.removeEventListener("abort", abort);
    }
    if (this.isOver) return;
    const { status, body } = answer;
    if (status === 200) this.receive(body);
    else if (status === 401) this.controller.signedOut();
    else if (status === 429 || status >= 500) this.notBefore = now() + (answer.retryAfter || 0);
    else {
      console.error(`${NAME}: ${status} ${body.error || ""}`);
      this.stop();
      this.controller.show("idle");
    }
  }

  receive(status) {
    if (this.isOver) return;
    const { state } = status;
    if (status.found) {
      this.stop();
      this.controller.fulfilled(this.session, status.subscription || {});
    } else if (state === "declined" || state === "expired") {
      this.stop();
      this.controller.ended(this.session, state);
    } else if (state === "unmatched" || state === "not_a_pass" || state === "refunded") {
      // Final: the page shows the contact.
      this.stop();
      this.controller.ended(this.session, status.closed ? "closed" : state, whomToAsk(status));
    } else if (status.webhookError) {
      this.support = whomToAsk(status);
      if (!this.hasSynced) this.sync();
      else if (this.isProblem) this.problem();
    } else {
      this.kind = state === "pending" || state === "unpaid" ? state : "confirming";
      this.showProgress();
    }
  }

  /** Its job failed: joins the sync that the server started, and shows its outcome. */
  async sync() {
    this.hasSynced = true;
    this.isAside = true;
    const outcome = await this.controller.sync();
    if (!outcome || this.isOver) return;
    // Only a person can fix it: pressing the button again does not help.
    this.isProblem = outcome.isKnown;
    if (this.isProblem) this.problem();
    else this.controller.show(outcome.kind, { n: outcome.n });
    this.controller.synced(this.isProblem ? { kind: "problem" } : outcome);
    this.controller.refresh();
    // The stream ended with the failure.
    this.follow();
    this.wake();
  }

  /** The sync has not helped: shows the contact, as soon as a status has named it. */
  problem() {
    if (this.support) this.controller.show(this.support.reference ? "problem_quoted" : "problem", this.support);
  }

  showProgress() {
    const passed = now() - this.begun;
    if (passed >= EVERY * ATTEMPTS) clearInterval(this.ticker);
    if (this.isAside || this.isOver) return;
    if (this.kind !== "confirming") this.controller.show(this.kind);
    else if (passed >= EVERY * ATTEMPTS) this.controller.show("late");
    else this.controller.show("confirming", { n: Math.floor(passed / EVERY) + 1, of: ATTEMPTS });
  }
}
