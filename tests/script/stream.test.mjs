// How the script follows the live stream: its own code, over HTTP, against a server that breaks.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";
import { load } from "./load.mjs";

const { Api, readEvents } = load({ en: {} }, "Api, readEvents");

/** A server whose nth call is answered by the nth of `answers`, and an API that calls it. */
const serve = async (answers, token) => {
  const calls = [];
  const server = createServer((request, response) => {
    calls.push(request);
    const answer = answers[Math.min(calls.length, answers.length) - 1];
    answer(response, request);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const address = `http://127.0.0.1:${server.address().port}`;
  const attributes = { api: address, tenant: "studio" };
  const element = { getAttribute: (name) => attributes[name], token };
  const close = () => (server.closeAllConnections(), server.close());
  return { api: new Api(element, false), calls, close };
};

const STREAM = { "Content-Type": "text/event-stream" };
const status = (id, state) => `event: status\nid: ${id}\ndata: {"state":"${state}"}\n\n`;
const END = "event: end\ndata: {}\n\n";
const heardOf = async ({ api }, signal = new AbortController().signal) => {
  const heard = [];
  await api.follow("cs_1", (told) => heard.push(told.state), signal);
  return heard;
};

test("each status is heard, however the bytes are cut, until the stream ends", async () => {
  const text = `: heartbeat\n\nretry: 2000\n\n${status(1, "queued")}: heartbeat\r\n\r\n${status(2, "å🔄")}${END}${status(3, "late")}`;
  const bytes = new TextEncoder().encode(text);
  for (const size of [1, 2, 3, 7, bytes.length]) {
    const cut = async (response) => {
      response.writeHead(200, STREAM);
      for (let at = 0; at < bytes.length; at += size) {
        response.write(bytes.subarray(at, at + size));
        await new Promise(setImmediate);
      }
      // It stays open: the script itself goes away.
    };
    const server = await serve([cut], "token");
    assert.deepEqual(await heardOf(server), ["queued", "å🔄"]);
    assert.equal(server.calls.length, 1);
    const { headers, url } = server.calls[0];
    assert.equal(url, "/api/user/subscription-status/stream?sessionId=cs_1");
    assert.equal(headers.authorization, "Bearer token");
    assert.equal(headers["x-tenant-slug"], "studio");
    server.close();
  }
});

test("a stream that breaks is asked for again, from where it broke", async () => {
  const breaks = (response) => {
    response.writeHead(200, STREAM);
    response.write(status("a7", "running"), () => response.destroy());
  };
  const away = (response) => response.writeHead(503, { "Retry-After": "1" }).end();
  const ends = (response) => response.writeHead(200, STREAM).end(status("a8", "active") + END);
  const server = await serve([breaks, away, ends], "token");
  assert.deepEqual(await heardOf(server), ["running", "active"]);
  assert.deepEqual(
    server.calls.map(({ headers }) => headers["last-event-id"]),
    [undefined, "a7", "a7"],
  );
  server.close();
});

test("a stream that is not there is left alone, and so is one that is no stream", async () => {
  const answers = [404, 401, 400].map((code) => (response) => response.writeHead(code).end());
  answers.push((response) => response.writeHead(200, { "Content-Type": "text/html" }).end("<p>a proxy's page</p>"));
  for (const answer of answers) {
    const server = await serve([answer], "token");
    assert.deepEqual(await heardOf(server), []);
    assert.equal(server.calls.length, 1);
    server.close();
  }
});

test("a refused token is asked for afresh, once", async () => {
  const asked = [];
  const token = async ({ fresh }) => {
    asked.push(fresh);
    return fresh ? "new" : "old";
  };
  const check = (response, { headers }) => {
    if (headers.authorization === "Bearer new") response.writeHead(200, STREAM).end(status(1, "active") + END);
    else response.writeHead(401).end();
  };
  const server = await serve([check], token);
  assert.deepEqual(await heardOf(server), ["active"]);
  assert.deepEqual(asked, [false, true]);
  server.close();
});

test("an event without an end is given up before it fills the memory", async () => {
  const stream = new ReadableStream({
    start(controller) {
      const kilobyte = new TextEncoder().encode(`data: ${"x".repeat(1024)}`);
      for (let sent = 0; sent < 100; sent++) controller.enqueue(kilobyte);
    },
  });
  await assert.rejects(readEvents(stream, () => false), /without an end/);
});

test("who goes away is not followed any more", async () => {
  const silent = (response) => response.writeHead(200, STREAM).write(": heartbeat\n\n");
  const server = await serve([silent], "token");
  const going = new AbortController();
  const following = heardOf(server, going.signal);
  while (server.calls.length === 0) await new Promise(setImmediate);
  going.abort();
  assert.deepEqual(await following, []);
  server.close();
});

test("a call that is not answered in time fails, also where the shop never gives a token", async () => {
  const silent = await serve([() => {}], "token");
  const { signal } = new AbortController();
  await assert.rejects(silent.api.call("GET", "/", { patience: 50, signal }));
  silent.close();
  const mute = await serve([(response) => response.end()], () => new Promise(() => {}));
  await assert.rejects(mute.api.call("GET", "/", { patience: 50, signal }));
  assert.equal(mute.calls.length, 0);
  mute.close();
});
