// The words that the script shows.

import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./load.mjs";

const WORDS = {
  en: { left: { one: "{n} class left", other: "{n} classes left" }, hello: "Hello {name}" },
  nb: { left: { one: "{n} klipp igjen", other: "{n} klipp igjen" } },
  "pt-BR": { hello: "Olá {name}" },
};
const { sayIn } = load(WORDS, "sayIn");

test("a language gets its own words, its own forms, and English where it has none", () => {
  const english = sayIn("en-GB");
  assert.equal(english("left", { n: 1 }), "1 class left");
  assert.equal(english("left", { n: 0 }), "0 classes left");
  for (const norwegian of ["nb", "nb-NO", "no", "nn-NO"]) {
    assert.equal(sayIn(norwegian)("left", { n: 3 }), "3 klipp igjen");
  }
  assert.equal(sayIn("pt-br")("hello", { name: "Ada" }), "Olá Ada");
  assert.equal(sayIn("tlh")("hello", { name: "Ada" }), "Hello Ada");
});

test("what is filled in is never read as a text itself", () => {
  assert.equal(sayIn("en")("hello", { name: "{n} $& <b>" }), "Hello {n} $& <b>");
  assert.equal(sayIn("en")("hello"), "Hello {name}");
});
