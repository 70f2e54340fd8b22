// The model that answers are held to: an array of characters, and beside it the stream of a daemon that does the same.

/** Numbers that a seed repeats (mulberry32). */
export function random(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit) => Math.floor(next() * limit);
  return { below, one: (list) => list[below(list.length)] };
}

const CHARACTERS = ["a", "b", " ", "\n", "\r", "ü", "e\u0301", "😀", "👩\u200d🚀", "\uffff", '"', "\\", "\u2028"];

export function text(source, most) {
  return Array.from({ length: source.below(most + 1) }, () => source.one(CHARACTERS)).join("");
}

/** A log of one block: what its text is in the end, and its events as they are written. */
export function log(source) {
  let shown = [];
  const events = [["begun", { target: "device/tiny", tier: "device", model: "tiny", part: "draft" }]];
  events.push(["opened", { block: 0, kind: "text" }]);
  for (let steps = source.below(20); steps > 0; steps--) {
    const piece = text(source, 6);
    if (source.below(2) === 0) {
      shown.push(...piece);
      events.push(["appended", { block: 0, text: piece }]);
    } else {
      const [start, end] = [source.below(shown.length + 1), source.below(shown.length + 1)].sort((a, b) => a - b);
      shown.splice(start, end - start, ...piece);
      events.push(["replaced", { block: 0, start, end, text: piece }]);
    }
  }
  events.push(["finalised", { reason: "stop", kept_draft: null, usage: null }], ["ended", { receipt: "rcpt_1" }]);
  return { text: shown.join(""), events: written(events) };
}

/** Events as a daemon writes them, numbered from 1. */
export function written(events) {
  return events.map(([name, data], at) => `id: ${at + 1}\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
}

export const ACCEPTED =
  'event: accepted\ndata: {"receipt":"rcpt_1","strategy":"draft","resume":"/inshore/v1/generate/rcpt_1"}\n\n';

/** Bytes in pieces that are cut anywhere. */
export function* pieces(source, bytes) {
  for (let at = 0; at < bytes.length; ) {
    const length = 1 + source.below(source.one([1, 3, 40]));
    yield bytes.subarray(at, at + length);
    at += length;
  }
}
