// The parts of the script that need no page, out of the files as they are.

import { readFileSync } from "node:fs";

const FOLDER = new URL("../../src/http/page/script/", import.meta.url);

export const load = (words, names) => {
  const code = ["i18n.js", "api.js"].map((name) => readFileSync(new URL(name, FOLDER), "utf8")).join("\n");
  const parts = new Function("WORDS", "document", "location", `"use strict";${code}\nreturn { ${names} };`);
  return parts(words, { currentScript: null }, { href: "http://127.0.0.1/" });
};
