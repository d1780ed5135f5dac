// <surepass-passes>: confirms a purchase, looks for passes that are missing, and keeps the list of passes up to date.
//
// On our own page it takes over what the server has rendered; on another site's page, where it has no children, it
// renders its own. The server joins the files of this folder to one function, so that a page gets nothing but the
// element, and puts `const WORDS = {"en": {…}, …}` before them: the `[script]` tables of the locale files.
//
// This file chooses a language and formats its messages.

/** A page's language as `Intl` accepts it: many write `en_US`, and some a word that is no language tag. */
const languageTag = (lang) => {
  const tag = lang.replace(/_/g, "-");
  try {
    Intl.getCanonicalLocales(tag);
    return tag;
  } catch (_) {
    return "en";
  }
};

/** The messages of a language, or else English: `say(key, values)` returns the plural form of `n`, filled in. */
const sayIn = (lang) => {
  const wanted = lang.toLowerCase().replace(/^(no|nn)(?=-|$)/, "nb");
  const named = (tag) => Object.keys(WORDS).find((known) => known.toLowerCase() === tag);
  const tag = named(wanted) || named(wanted.split("-")[0]) || "en";
  const plurals = new Intl.PluralRules(tag);
  return (key, values = {}) => {
    const forms = WORDS[tag][key] || WORDS.en[key];
    const text = typeof forms === "string" ? forms : forms[plurals.select(values.n || 0)] || forms.other;
    return text.replace(/\{(\w+)\}/g, (all, name) => (name in values ? values[name] : all));
  };
};

/** An element whose attributes and children are text, never HTML. */
const make = (name, attributes, ...children) => {
  const node = document.createElement(name);
  Object.keys(attributes).forEach((key) => node.setAttribute(key, attributes[key]));
  node.append(...children);
  return node;
};

const fillIn = (node, children) => {
  node.textContent = "";
  node.append(...children);
};
