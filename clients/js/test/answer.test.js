// Answers from a scripted daemon, whose connections break.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";

import { Inshore, InshoreError } from "../src/index.js";
import { ACCEPTED, log, random, written } from "./answer.model.js";

const EVENTS = written([
  ["begun", { target: "device/tiny", tier: "device", model: "tiny", part: "draft" }],
  ["opened", { block: 0, kind: "text" }],
  ["appended", { block: 0, text: "😀 on Tuesday" }],
  ["begun", { target: "cloud/big", tier: "cloud", model: "big", part: "final" }],
  ["replaced", { block: 0, start: 5, end: 7, text: "Wedn" }],
  ["finalised", { reason: "stop", kept_draft: null, usage: null }],
  ["ended", { receipt: "rcpt_1" }],
]);

/** A part of a stream; `cut` breaks the connection after it, `open` leaves it open. */
const stream = (text, after) => ({ status: 200, text, after });
const refusal = (status, code) => ({
  status,
  text: JSON.stringify({ type: "about:blank", status, code, detail: `it is ${code}`, hint: "wait", request_id: "req_1" }),
});

/** A daemon that gives one reply to each request and is then gone. */
async function daemon(replies, use) {
  const asked = [];
  const left = [...replies];
  const server = createServer((request, response) => {
    asked.push({ method: request.method, url: request.url, headers: request.headers });
    const reply = left.shift();
    if (!reply) return request.socket.destroy();
    request.resume();
    request.on("end", () => {
      const headers = { "x-inshore-receipt": "rcpt_1", "content-length": Buffer.byteLength(reply.text) + (reply.after ? 1 : 0) };
      response.writeHead(reply.status, headers);
      if (reply.after === "open") return response.write(reply.text);
      if (reply.after === "cut") return response.write(reply.text, () => setImmediate(() => request.socket.destroy()));
      return response.end(reply.text);
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const baseURL = `http://127.0.0.1:${server.address().port}/`;
  try {
    await use(new Inshore({ token: "secret", baseURL, retries: 3, retryDelay: () => 0 }), asked);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const BODY = { model: "auto", messages: [{ role: "user", content: "When?" }] };

test("an answer is read on where the connection broke, and everyone sees it whole", async () => {
  const replies = [
    stream(ACCEPTED + EVENTS.slice(0, 3).join("") + "id: 4\nevent: beg", "cut"),
    refusal(503, "shutting_down"),
    stream("", "cut"),
    // A daemon that repeats what it sent already does no harm.
    stream(EVENTS.slice(1).join("")),
  ];
  await daemon(replies, async (inshore, asked) => {
    const told = [];
    const onRevision = (revision, answer) => told.push([revision.type, answer.text]);
    const answer = await inshore.generate(BODY, { strategy: "draft", feature: "mail", regions: ["eu", "ch"], onRevision });
    const seen = [];
    for await (const revision of answer) seen.push(revision.type);
    assert.equal(await answer.done, answer);
    assert.deepEqual([answer.text, answer.state, answer.target.id], ["😀 on Wednesday", "ended", "cloud/big"]);
    assert.deepEqual([answer.receipt, answer.strategy, answer.reason, answer.error], ["rcpt_1", "draft", "stop", null]);
    const types = ["accepted", "begun", "opened", "appended", "begun", "replaced", "finalised", "ended"];
    assert.deepEqual(seen, types);
    assert.deepEqual(told.map(([type]) => type), types);
    assert.deepEqual(told[3], ["appended", "😀 on Tuesday"], "it is called when the revision has been applied");
    const again = [];
    for await (const revision of answer) again.push(revision.number);
    assert.deepEqual(again, [null, 1, 2, 3, 4, 5, 6, 7]);
    const [first, ...rest] = asked;
    assert.deepEqual([first.method, first.url], ["POST", "/inshore/v1/generate"]);
    assert.deepEqual([first.headers.authorization, first.headers["x-inshore-regions"]], ["Bearer secret", "eu,ch"]);
    assert.deepEqual([first.headers["x-inshore-strategy"], first.headers["x-inshore-feature"]], ["draft", "mail"]);
    assert.equal(first.headers["x-inshore-user"], undefined);
    assert.equal(rest.length, 3);
    for (const { method, url, headers } of rest) {
      assert.deepEqual([method, url, headers["last-event-id"]], ["GET", "/inshore/v1/generate/rcpt_1", "3"]);
    }
  });
});

test("reading on ends when it brings nothing or is refused", async () => {
  const begin = stream(ACCEPTED + EVENTS[0], "cut");
  await daemon([begin], async (inshore, asked) => {
    const answer = await inshore.generate(BODY);
    await assert.rejects(answer.done, { code: "broken_off", receipt: "rcpt_1", message: /3 tries/ });
    assert.ok(answer.error instanceof InshoreError);
    assert.equal(asked.length, 4);
    await assert.rejects(async () => {
      for await (const revision of answer) assert.notEqual(revision.type, "ended");
    }, answer.error);
  });
  await daemon([begin, refusal(404, "unknown_answer")], async (inshore, asked) => {
    const answer = await inshore.generate(BODY);
    await assert.rejects(answer.done, { code: "unknown_answer", status: 404 });
    assert.equal(asked.length, 2);
  });
});

test("what the daemon says is the error", async () => {
  await daemon([refusal(429, "over_cap")], async (inshore) => {
    const details = { name: "InshoreError", code: "over_cap", status: 429, hint: "wait", receipt: "rcpt_1", requestId: "req_1" };
    await assert.rejects(inshore.generate(BODY), { ...details, message: "it is over_cap" });
  });
  await daemon([{ status: 500, text: "no JSON" }], async (inshore) => {
    await assert.rejects(inshore.generate(BODY), { code: "http_error", message: "the daemon answered 500" });
  });
  const problem = { type: "about:blank", status: 502, code: "broke", detail: "it broke" };
  await daemon([stream(ACCEPTED + written([["error", problem]]))], async (inshore, asked) => {
    const answer = await inshore.generate(BODY);
    await assert.rejects(answer.done, { code: "broke", status: 502, message: "it broke", receipt: "rcpt_1" });
    assert.deepEqual([answer.state, asked.length], ["ended", 1]);
  });
  await daemon([stream(ACCEPTED + EVENTS[1])], async (inshore) => {
    await assert.rejects((await inshore.generate(BODY)).done, { code: "bad_stream" });
  });
  await daemon([], async (inshore, asked) => {
    // Of a request that was not answered nobody knows whether it was taken: it is not sent again.
    await assert.rejects(inshore.generate(BODY), { code: "unreachable", hint: /inshore serve/ });
    assert.equal(asked.length, 1);
  });
  assert.throws(() => new Inshore({ token: "" }), { code: "missing_api_key" });
});

test("a caller can stop, and what its callback throws is the outcome", async () => {
  const open = stream(ACCEPTED + EVENTS[0], "open");
  await daemon([open, open], async (inshore, asked) => {
    const controller = new AbortController();
    const onRevision = (revision) => revision.type === "begun" && controller.abort(new Error("enough"));
    const answer = await inshore.generate(BODY, { signal: controller.signal, onRevision });
    await assert.rejects(answer.done, /enough/);
    await assert.rejects(inshore.generate(BODY, { signal: controller.signal }), /enough/);
    const other = await inshore.generate(BODY);
    await assert.rejects(
      async () => {
        for await (const revision of other) if (revision.type === "begun") other.cancel();
      },
      { name: "AbortError" },
    );
    assert.deepEqual([other.state, asked.length], ["draft", 2]);
  });
  await daemon([stream(ACCEPTED + EVENTS.join(""))], async (inshore) => {
    const onRevision = () => {
      throw new Error("no room");
    };
    await assert.rejects((await inshore.generate(BODY, { onRevision })).done, /no room/);
  });
});

test("an answer is read again from its beginning", async () => {
  await daemon([stream(EVENTS.join(""))], async (inshore, asked) => {
    const answer = await (await inshore.resume("rcpt_1")).done;
    assert.equal(answer.text, "😀 on Wednesday");
    assert.deepEqual([asked[0].url, asked[0].headers["last-event-id"]], ["/inshore/v1/generate/rcpt_1", "0"]);
  });
});

test("wherever it breaks the answer is the same", async () => {
  for (let seed = 0; seed < 40; seed++) {
    const source = random(seed);
    const { text, events } = log(source);
    const replies = [];
    let passed = 0;
    for (let breaks = source.below(4); breaks > 0; breaks--) {
      const head = replies.length === 0 ? ACCEPTED : "";
      // Cut between characters: what is cut within one is the decoder's affair.
      const all = head + events.slice(passed).join("");
      const sent = all.slice(0, head.length + source.below(all.length - head.length)).replace(/[\ud800-\udbff]$/, "");
      replies.push(stream(sent, source.one(["cut", undefined])));
      passed += sent.split("\n\n").length - 1 - (head ? 1 : 0);
    }
    replies.push(stream((replies.length === 0 ? ACCEPTED : "") + events.slice(passed).join("")));
    await daemon(replies, async (inshore, asked) => {
      const answer = await (await inshore.generate(BODY)).done;
      assert.equal(answer.text, text, `seed ${seed}`);
      if (asked.length > 1) assert.equal(asked.at(-1).headers["last-event-id"], String(passed));
      const numbers = [];
      for await (const { number } of answer) numbers.push(number);
      assert.deepEqual(numbers, [null, ...events.map((_, at) => at + 1)]);
    });
  }
});
