// What a reader of an answer has in front of it.

import { InshoreError } from "./error.js";

/** @param {string} message */
function misfit(message) {
  return new InshoreError({ code: "bad_stream", message });
}

/**
 * Where so many characters after a place end, in UTF-16 units; -1 where there are not as many. A character outside of the basic plane
 * is one character and two units.
 * @param {string} text
 * @param {number} from
 * @param {number} characters
 */
function unitOf(text, from, characters) {
  if (!Number.isInteger(characters) || characters < 0) return -1;
  let at = from;
  for (let left = characters; left > 0; left--) {
    const point = text.codePointAt(at);
    if (point === undefined) return -1;
    at += point > 0xffff ? 2 : 1;
  }
  return at;
}

/** An answer as its events so far have made it. */
export class Page {
  /** @type {import("./index.js").Block[]} */
  blocks = [];
  /** @type {import("./index.js").State} */
  state = "draft";
  /** @type {import("./index.js").Target | null} */
  target = null;
  /** @type {string | null} */
  receipt = null;
  /** @type {string | null} */
  strategy = null;
  /** @type {string | null} */
  resume = null;
  /** @type {string | null} */
  reason = null;
  /** @type {string | null} */
  keptDraft = null;
  /** @type {import("./index.js").Usage | null} */
  usage = null;
  /** @type {import("./index.js").Failed | null} */
  problem = null;
  /** The number of the last event that was applied. */
  passed = 0;

  /** The text of the answer as it stands. */
  get text() {
    return this.blocks.find((block) => block.kind === "text")?.text ?? "";
  }

  /**
   * Does what an event says, and gives it back; `null` for one that was applied before. Throws an `InshoreError` when it cannot be
   * applied; then nothing has changed.
   * @param {import("./index.js").SseEvent} event
   * @returns {import("./index.js").Revision | null}
   */
  take(event) {
    const number = event.id === undefined ? null : Number(event.id);
    if (number !== null) {
      if (!/^[0-9]+$/.test(event.id ?? "")) throw misfit(`\`${event.id}\` is not the id of an event`);
      if (number <= this.passed) return null;
      if (this.state === "ended") throw misfit(`event ${number} came after the end of the answer`);
      if (number > this.passed + 1) throw misfit(`event ${number} came after event ${this.passed}`);
    }
    const revision = /** @type {import("./index.js").Revision} */ ({ ...read(event), type: event.name, number });
    this.#apply(revision);
    if (number !== null) this.passed = number;
    return revision;
  }

  /** @param {import("./index.js").Revision} revision */
  #apply(revision) {
    switch (revision.type) {
      case "accepted":
        // Behind the base URL anything else could name another host.
        if (!revision.resume?.startsWith("/")) throw misfit(`\`${revision.resume}\` is not a path`);
        ({ receipt: this.receipt, strategy: this.strategy, resume: this.resume } = revision);
        break;
      case "begun":
        if (revision.part !== "draft" && revision.part !== "final") throw misfit(`\`${revision.part}\` is no part`);
        this.target = { id: revision.target, tier: revision.tier, model: revision.model };
        this.state = revision.part;
        break;
      case "opened":
        this.#open(revision);
        break;
      case "appended":
        this.#block(revision.block).text += textOf(revision);
        break;
      case "replaced":
        this.#replace(revision);
        break;
      case "finalised":
        this.state = "final";
        this.reason = revision.reason;
        this.keptDraft = revision.kept_draft ?? null;
        this.usage = revision.usage ?? null;
        break;
      case "ended":
        this.state = "ended";
        this.receipt = revision.receipt;
        break;
      case "error":
        this.state = "ended";
        this.problem = revision;
        break;
    }
  }

  /** @param {import("./index.js").Opened} opened */
  #open(opened) {
    if (opened.block !== this.blocks.length) throw misfit(`block ${opened.block} does not fit to those that are there`);
    const call = opened.kind === "tool_call" ? { id: opened.id, name: opened.name } : {};
    this.blocks.push({ kind: opened.kind, text: "", ...call });
  }

  /** @param {number} number */
  #block(number) {
    const block = this.blocks[number];
    if (!block) throw misfit(`there is no block ${number}`);
    return block;
  }

  /** @param {import("./index.js").Replaced} replaced */
  #replace(replaced) {
    const block = this.#block(replaced.block);
    const from = unitOf(block.text, 0, replaced.start);
    const to = from < 0 ? -1 : unitOf(block.text, from, replaced.end - replaced.start);
    if (to < 0) {
      throw misfit(`block ${replaced.block} has no characters ${replaced.start} to ${replaced.end}`);
    }
    block.text = block.text.slice(0, from) + textOf(replaced) + block.text.slice(to);
  }
}

/** @param {import("./index.js").SseEvent} event @returns {object} */
function read(event) {
  let data;
  try {
    data = JSON.parse(event.data);
  } catch (cause) {
    throw new InshoreError({ code: "bad_stream", message: `an event \`${event.name}\` cannot be read`, cause });
  }
  if (data === null || typeof data !== "object") throw misfit(`an event \`${event.name}\` cannot be read`);
  return data;
}

/** @param {{ type: string, text: string }} revision */
function textOf(revision) {
  if (typeof revision.text !== "string") throw misfit(`an event \`${revision.type}\` has no text`);
  return revision.text;
}
