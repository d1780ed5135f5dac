// What the element renders on another site's page.

const STYLE = `
  :host { display: block; font: inherit; color: var(--surepass-ink, inherit); line-height: 1.5; }
  :host([hidden]) { display: none; }
  p, h2, ul { margin: 0; padding: 0; }
  [data-message]:not(:empty) { margin-bottom: .75rem; }
  [data-message] a { color: inherit; }
  button {
    min-height: 2.75rem; padding: .5rem 1.25rem; font: inherit; font-weight: 600; cursor: pointer;
    color: var(--surepass-accent, inherit); background: transparent;
    border: 1px solid currentColor; border-radius: var(--surepass-radius, .5rem);
  }
  button:disabled { cursor: progress; opacity: .75; }
  button:focus-visible { outline: 3px solid currentColor; outline-offset: 2px; }
  button[aria-busy]::before {
    content: ""; display: inline-block; width: .8em; height: .8em; margin-right: .5em; vertical-align: -.05em;
    border: 2px solid; border-right-color: transparent; border-radius: 50%; animation: turn .8s linear infinite;
  }
  @keyframes turn { to { transform: rotate(1turn); } }
  @media (prefers-reduced-motion: reduce) { button[aria-busy]::before { animation-duration: 4s; } }
  h2 { margin: 1rem 0 .25rem; font-size: 1em; }
  [part=none] { margin-top: 1rem; }
  li {
    list-style: none; padding: .6rem 0; overflow-wrap: anywhere;
    border-top: 1px solid var(--surepass-line, rgba(127, 127, 127, .35));
  }
  li > span { display: block; font-size: .9em; }
  [part=expired] { color: var(--surepass-soft, inherit); }
`;

/** The same markup as our page, and a place for the list, in a shadow root of the element. */
const renderWidget = (element) => {
  const root = element.attachShadow({ mode: "open" });
  root.append(
    make("p", { role: "status", "aria-live": "polite", "data-message": "", part: "message" }),
    make("form", { method: "post", "data-missing": "" }, make("button", { part: "button" })),
    make("div", { part: "passes" }),
  );
  // A strict Content-Security-Policy refuses <style>, but Safari before 16.4 knows nothing else.
  if ("adoptedStyleSheets" in root) {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
  } else {
    root.prepend(make("style", {}, STYLE));
  }
  return root;
};

/** The lists of a response of `GET /api/user/subscriptions`. */
const renderLists = ({ activeSubscriptions = [], expiredSubscriptions = [], timeZone }, lang, say) => {
  // In the shop's time zone: a pass that ends tonight in Oslo ends tonight wherever its customer is.
  const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium", timeZone });
  const describe = (pass) => {
    const end = new Date(pass.endDate);
    const time = clock.format(end);
    // Midnight is the end of the day before. An expired pass has no time.
    const isMidnight = time === "00:00:00";
    const timeStyle = isMidnight || time.startsWith("23:59") || pass.isExpired ? undefined : "short";
    const last = isMidnight ? new Date(end.getTime() - 1000) : end;
    const date = new Intl.DateTimeFormat(lang, { dateStyle: "long", timeStyle, timeZone }).format(last);
    if (pass.isExpired) return say("ended", { date });
    if (!pass.isActive) return say("switched_off");
    const clips = pass.remainingClips;
    const left = clips === undefined ? say("unlimited") : say("classes_left", { n: clips });
    return `${left} · ${say("valid_until", { date })}`;
  };
  const line = (pass) => make("li", {}, make("strong", {}, pass.passName || ""), make("span", {}, describe(pass)));
  const list = (part, passes) => [
    make("h2", { part: "heading" }, say(`${part}_heading`)),
    make("ul", { part, role: "list" }, ...passes.map(line)),
  ];
  const none = make("p", { part: "none" }, say("no_active"));
  const active = activeSubscriptions.length > 0 ? list("active", activeSubscriptions) : [none];
  return expiredSubscriptions.length > 0 ? active.concat(list("expired", expiredSubscriptions)) : active;
};
