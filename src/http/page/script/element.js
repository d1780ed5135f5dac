// The custom element. Its work is done by its PassesController.

const controllers = new WeakMap();
const tokens = new WeakMap();

const restart = (element) => {
  const controller = controllers.get(element);
  if (controller) controller.start();
};

/** Resolves when the element's children are parsed and the page's deferred scripts have run: one of them may set its token. */
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

  /** The customer's token, or a function that returns it; called with `{fresh: true}` if the last one was rejected. */
  get token() {
    return tokens.get(this) || null;
  }

  set token(token) {
    const before = this.token;
    tokens.set(this, token);
    // Frameworks set a new function at every render.
    const isSame = before === token || (typeof before === "function" && typeof token === "function");
    if (!isSame || this.dataset.state === "signed_out") restart(this);
  }

  connectedCallback() {
    whole.then(() => this.begin());
  }

  begin() {
    if (!this.isConnected || controllers.has(this)) return;
    // Set before this script was loaded.
    if (Object.prototype.hasOwnProperty.call(this, "token")) {
      const { token } = this;
      delete this.token;
      this.token = token;
    }
    controllers.set(this, new PassesController(this));
    restart(this);
  }

  disconnectedCallback() {
    const controller = controllers.get(this);
    controllers.delete(this);
    if (controller) controller.leave();
  }

  attributeChangedCallback(_name, before, after) {
    if (before !== after) restart(this);
  }
}

// A page may load this twice, as ours and as the widget.
if (!customElements.get(NAME)) customElements.define(NAME, SurepassPasses);
