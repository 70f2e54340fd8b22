import assert from "node:assert/strict";
import { test } from "node:test";

import { Page, SseDecoder } from "../src/index.js";
import { log, pieces, random } from "./answer.model.js";

const DRAFT = [
  ["begun", { target: "device/tiny", tier: "device", model: "tiny", part: "draft" }],
  ["opened", { block: 0, kind: "text" }],
  ["appended", { block: 0, text: "😀 on Tuesday" }],
  ["begun", { target: "cloud/big", tier: "cloud", model: "big", part: "final" }],
  ["replaced", { block: 0, start: 5, end: 7, text: "Wedn" }],
  ["opened", { block: 1, kind: "tool_call", id: "c1", name: "send" }],
  ["appended", { block: 1, text: "{}" }],
  ["finalised", { reason: "stop", kept_draft: "it was late", usage: { prompt_tokens: 12 } }],
];

const event = (id, name, data) => ({ id, name, data: typeof data === "string" ? data : JSON.stringify(data) });

function pageOf(events) {
  const page = new Page();
  events.forEach(([name, data], at) => assert.equal(page.take(event(String(at + 1), name, data)).type, name));
  return page;
}

test("a draft makes way for a better answer", () => {
  const draft = pageOf(DRAFT.slice(0, 3));
  assert.deepEqual([draft.text, draft.state, draft.target.id], ["😀 on Tuesday", "draft", "device/tiny"]);
  const page = pageOf(DRAFT);
  assert.deepEqual([page.text, page.state, page.keptDraft], ["😀 on Wednesday", "final", "it was late"]);
  assert.deepEqual(page.blocks[1], { kind: "tool_call", text: "{}", id: "c1", name: "send" });
  assert.deepEqual([page.reason, page.usage.prompt_tokens, page.passed], ["stop", 12, 8]);
  page.take(event("9", "ended", { receipt: "rcpt_1" }));
  assert.deepEqual([page.state, page.receipt, page.problem], ["ended", "rcpt_1", null]);
});

test("no event is applied twice and none is missed", () => {
  const page = pageOf(DRAFT.slice(0, 3));
  assert.equal(page.take(event("3", "appended", { block: 0, text: "!" })), null);
  assert.equal(page.take(event("2", "nonsense", "x")), null);
  assert.throws(() => page.take(event("5", "appended", { block: 0, text: "!" })), /event 5 came after event 3/);
  assert.equal(page.take(event("4", "later", { x: 1 })).type, "later", "what is not known still counts");
  page.take(event("5", "error", { type: "about:blank", status: 502, detail: "it broke" }));
  assert.deepEqual([page.state, page.problem.detail], ["ended", "it broke"]);
  assert.throws(() => page.take(event("6", "appended", { block: 0, text: "!" })), /after the end/);
  assert.equal(page.text, "😀 on Tuesday");
});

test("what does not fit changes nothing", () => {
  const page = pageOf(DRAFT.slice(0, 3));
  for (const [name, data] of [
    ["appended", { block: 1, text: "x" }],
    ["appended", { block: 0 }],
    ["appended", "7"],
    ["opened", { block: 0, kind: "text" }],
    ["opened", { block: 2, kind: "text" }],
    ["replaced", { block: 0, start: 3, end: 2, text: "x" }],
    ["replaced", { block: 0, start: 0, end: 13, text: "x" }],
    ["replaced", { block: 0, start: 13, end: 13, text: "x" }],
    ["replaced", { block: 0, start: 0.5, end: 1, text: "x" }],
    ["replaced", { block: 0, start: 0, end: 1 }],
    ["begun", { part: "both" }],
    ["begun", "{"],
  ]) {
    assert.throws(() => page.take(event("4", name, data)), { code: "bad_stream" }, `${name} ${JSON.stringify(data)}`);
    assert.deepEqual([page.text, page.passed, page.blocks.length], ["😀 on Tuesday", 3, 1]);
  }
  assert.throws(() => page.take(event("x", "begun", {})), /not the id/);
  const elsewhere = { receipt: "rcpt_1", strategy: "draft", resume: "@elsewhere.example/x" };
  assert.throws(() => page.take(event(undefined, "accepted", elsewhere)), /not a path/);
  assert.equal(page.receipt, null);
  page.take(event("4", "replaced", { block: 0, start: 12, end: 12, text: "." }));
  assert.equal(page.text, "😀 on Tuesday.");
});

test("any log makes what the model makes, however often the connection breaks", () => {
  for (let seed = 0; seed < 500; seed++) {
    const source = random(seed);
    const { text, events } = log(source);
    const page = new Page();
    for (let breaks = source.below(5); breaks >= 0; breaks--) {
      // A connection sends from a place at or before the one that was reached, and breaks at any byte.
      const stream = Buffer.from(events.slice(Math.max(0, page.passed - source.below(3))).join(""));
      const length = breaks === 0 ? stream.length : source.below(stream.length + 1);
      const decoder = new SseDecoder();
      for (const piece of pieces(source, stream.subarray(0, length))) {
        for (const event of decoder.push(piece)) page.take(event);
      }
    }
    assert.equal(page.text, text, `seed ${seed}`);
    assert.equal(page.passed, events.length);
  }
});
