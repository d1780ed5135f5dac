// One purchase, from the payment to the pass.

const ATTEMPTS = 15;
// After the attempts, and while nobody looks.
const SLOWLY = 10000;
const GIVE_UP = 600000;

const whomToAsk = ({ reference, contact }) => ({ reference, contact });

/** Waits for a purchase: asks every two seconds for half a minute, then seldom, and listens to the stream beside it. */
class Confirmation {
  /** `begun`: when it began to be waited for. `kind`: what the server has said so far. */
  constructor(desk, session, begun, kind) {
    this.desk = desk;
    this.session = session;
    this.begun = begun;
    this.kind = kind === "pending" || kind === "unpaid" ? kind : "confirming";
    this.notBefore = 0;
    this.stopping = new AbortController();
    // A failure for which no sync was asked stays on the page.
    this.hasSynced = kind === "failed";
    // Once the customer has been told of something else, such as what the button came to, only what is final is told.
    this.isAside = this.hasSynced;
    this.isFailed = kind === "syncing";
    // Whom to ask, once a failure has said so.
    this.support = null;
  }

  get isOver() {
    return this.stopping.signal.aborted;
  }

  start() {
    if (this.isFailed) this.sync();
    this.tell();
    // Oftener than the count changes, as timers come late.
    this.ticker = setInterval(() => this.tell(), EVERY / 4);
    this.follow();
    this.poll();
  }

  stop() {
    clearInterval(this.ticker);
    this.stopping.abort();
    this.goOn();
  }

  follow() {
    this.desk.api.follow(this.session, (status) => this.heard(status), this.stopping.signal);
  }

  goOn() {
    if (this.resume) this.resume();
  }

  /** Looks at once: the page is shown again, or the network is back. */
  wake() {
    if (now() < this.notBefore) return;
    // What was under way when the phone fell asleep may never end.
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
      answer = await this.desk.api.call("POST", "/api/user/subscription-status", call);
    } catch (_) {
      // A network that is away comes back.
      return;
    } finally {
      this.looking = null;
      signal.removeEventListener("abort", abort);
    }
    if (this.isOver) return;
    const { status, body } = answer;
    if (status === 200) this.heard(body);
    else if (status === 401) this.desk.signedOut();
    else if (status === 429 || status >= 500) this.notBefore = now() + (answer.retryAfter || 0);
    else {
      console.error(`${NAME}: ${status} ${body.error || ""}`);
      this.stop();
      this.desk.show("idle");
    }
  }

  heard(status) {
    if (this.isOver) return;
    const { state } = status;
    if (status.found) {
      this.stop();
      this.desk.fulfilled(this.session, status.subscription || {});
    } else if (state === "declined" || state === "expired") {
      this.stop();
      this.desk.ended(this.session, state);
    } else if (state === "unmatched" || state === "not_a_pass" || state === "refunded") {
      // Paid, and no waiting helps: the page says whom to ask.
      this.stop();
      this.desk.ended(this.session, status.closed ? "closed" : state, whomToAsk(status));
    } else if (status.webhookError) {
      this.support = whomToAsk(status);
      if (!this.hasSynced) this.sync();
      else if (this.isProblem) this.problem();
    } else {
      this.kind = state === "pending" || state === "unpaid" ? state : "confirming";
      this.tell();
    }
  }

  /** Its job failed. The sync that the server has begun by itself is joined, and its outcome told. */
  async sync() {
    this.hasSynced = true;
    this.isAside = true;
    const outcome = await this.desk.sync();
    if (!outcome || this.isOver) return;
    // What only a person can mend is not mended by pressing the button again.
    this.isProblem = outcome.isKnown;
    if (this.isProblem) this.problem();
    else this.desk.show(outcome.kind, { n: outcome.n });
    this.desk.synced(this.isProblem ? { kind: "problem" } : outcome);
    this.desk.refresh();
    // The stream has ended with the failure.
    this.follow();
    this.wake();
  }

  /** The sync has not helped. Until a status has said whom to ask, it waits for that. */
  problem() {
    if (this.support) this.desk.show(this.support.reference ? "problem_quoted" : "problem", this.support);
  }

  tell() {
    const passed = now() - this.begun;
    if (passed >= EVERY * ATTEMPTS) clearInterval(this.ticker);
    if (this.isAside || this.isOver) return;
    if (this.kind !== "confirming") this.desk.show(this.kind);
    else if (passed >= EVERY * ATTEMPTS) this.desk.show("late");
    else this.desk.show("confirming", { n: Math.floor(passed / EVERY) + 1, of: ATTEMPTS });
  }
}
