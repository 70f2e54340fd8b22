import assert from "node:assert/strict";
import { test } from "node:test";

import { SseDecoder } from "../src/index.js";
import { pieces, random, text } from "./answer.model.js";

const bytes = (stream) => new TextEncoder().encode(stream);

function read(chunks) {
  const decoder = new SseDecoder();
  return [...chunks].flatMap((chunk) => decoder.push(chunk));
}

const event = (name, data, id) => ({ name, data, id });

test("the standard's examples are read", () => {
  const stream =
    "data: YHOO\ndata: +2\ndata: 10\n\n: test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\n" +
    "data:  third event\n\ndata\n\ndata\ndata\n\ndata:";
  assert.deepEqual(read([bytes(stream)]), [
    event("message", "YHOO\n+2\n10", undefined),
    event("message", "first event", "1"),
    event("message", "second event", ""),
    event("message", " third event", undefined),
    event("message", "", undefined),
    event("message", "\n", undefined),
  ]);
});

test("line ends and a byte order mark are read", () => {
  for (const end of ["\n", "\r", "\r\n"]) {
    const stream = ["\ufeffevent: add", "id: 1", "data: \ufeff1", "", "data: 2", "", ""].join(end);
    assert.deepEqual(read([bytes(stream)]), [event("add", "\ufeff1", "1"), event("message", "2", undefined)]);
  }
  assert.deepEqual(read([bytes("data: 1\r\n\r")]), [event("message", "1", undefined)], "its last LF is not waited for");
  assert.deepEqual(read([bytes("id: 1\0\ndata: x\nretry: 5\nother\n\n")]), [event("message", "x", undefined)]);
});

test("an event without end is an error", () => {
  const decoder = new SseDecoder();
  const piece = bytes("a".repeat(26 * 2 ** 20));
  for (let times = 0; times < 3; times++) assert.deepEqual(decoder.push(piece), []);
  assert.throws(() => decoder.push(piece), { name: "InshoreError", code: "bad_stream" });
});

test("cutting a stream elsewhere changes no event", () => {
  for (let seed = 0; seed < 300; seed++) {
    const source = random(seed);
    const line = () => {
      const field = source.one(["data", "event", "id", "", "x"]);
      return field + source.one([":", ": ", ""]) + text(source, 3) + source.one(["\n", "\r", "\r\n", "\n\n", "\r\r\n"]);
    };
    const noise = Uint8Array.from({ length: source.below(40) }, () => source.below(256));
    const whole = Buffer.concat([bytes(Array.from({ length: source.below(20) }, line).join("")), noise]);
    const expected = read([whole]);
    assert.deepEqual(read(pieces(source, whole)), expected, `seed ${seed}`);
    assert.deepEqual(read(Array.from(whole, (byte) => Uint8Array.of(byte))), expected, `seed ${seed}`);
  }
});

test("what is written is read, whatever the characters and the line ends", () => {
  for (let seed = 0; seed < 300; seed++) {
    const source = random(seed);
    const data = JSON.stringify(text(source, 12));
    const end = source.one(["\n", "\r", "\r\n"]);
    const stream = bytes(["id: 7", "event: appended", `data: ${data}`, "", ""].join(end));
    assert.deepEqual(read(pieces(source, stream)), [event("appended", data, "7")], `seed ${seed}`);
  }
});
