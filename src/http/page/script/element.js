// The element itself: everything it does is its desk's.

const desks = new WeakMap();
const tokens = new WeakMap();

const restart = (element) => {
  const desk = desks.get(element);
  if (desk) desk.start();
};

/** When the element's children are here, and the page's own deferred scripts have run, of which one may have its token. */
const whole = new Promise((resolve) => {
  const [navigation] = performance.getEntriesByType("navigation");
  const hasRun = !navigation || navigation.domContentLoadedEventStart > 0;
  if (document.readyState === "complete" || (document.readyState === "interactive" && hasRun)) resolve();
  document.addEventListener("DOMContentLoaded", resolve, { once: true });
  window.addEventListener("load", resolve, { once: true });
});

class SurepassPasses extends HTMLElement {
  static get observedAttributes() {
    return ["session", "tenant", "lang", "api"];
  }

  /** The customer's token, or a function that gets it; called with `{fresh: true}` where the last one was refused. */
  get token() {
    return tokens.get(this) || null;
  }

  set token(token) {
    const before = this.token;
    tokens.set(this, token);
    // Frameworks set a new function whenever they draw anew.
    const isSame = before === token || (typeof before === "function" && typeof token === "function");
    if (!isSame || this.dataset.state === "signed_out") restart(this);
  }

  connectedCallback() {
    whole.then(() => this.begin());
  }

  begin() {
    if (!this.isConnected || desks.has(this)) return;
    // Set before this script was here.
    if (Object.prototype.hasOwnProperty.call(this, "token")) {
      const { token } = this;
      delete this.token;
      this.token = token;
    }
    desks.set(this, new Desk(this));
    restart(this);
  }

  disconnectedCallback() {
    const desk = desks.get(this);
    desks.delete(this);
    if (desk) desk.leave();
  }

  attributeChangedCallback(_name, before, after) {
    if (before !== after) restart(this);
  }
}

// A page may load this twice, as ours and as the widget.
if (!customElements.get(NAME)) customElements.define(NAME, SurepassPasses);
