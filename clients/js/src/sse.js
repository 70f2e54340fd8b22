// Server-sent events, as WHATWG HTML section 9.2.6 defines them.

import { InshoreError } from "./error.js";

/**
 * Characters of the longest event accepted. The daemon's answers have 16 MiB of text at most; written as JSON, a text of nothing but
 * control characters is six times as long.
 */
const MAX_EVENT = 100 * 2 ** 20;

/** Makes events of bytes that are cut anywhere, also inside of a character or a line end. */
export class SseDecoder {
  // Takes the byte order mark away, and holds half characters back.
  #text = new TextDecoder();
  /** The line that is being read. */
  #line = "";
  /** The last line ended with a CR: an LF now belongs to the same line end. */
  #afterCr = false;
  #name = "";
  /** @type {string | undefined} */
  #data;
  /** @type {string | undefined} */
  #id;
  /** Characters of the event that is being read. */
  #length = 0;

  /**
   * The events that are complete with these bytes.
   * @param {Uint8Array} bytes
   * @returns {import("./index.js").SseEvent[]}
   */
  push(bytes) {
    const text = this.#text.decode(bytes, { stream: true });
    /** @type {import("./index.js").SseEvent[]} */
    const events = [];
    let start = 0;
    for (let at = 0; at < text.length; at++) {
      const unit = text.charCodeAt(at);
      if (unit !== 10 && unit !== 13) {
        this.#afterCr = false;
        continue;
      }
      if (unit === 10 && this.#afterCr) {
        this.#afterCr = false;
        start = at + 1;
        continue;
      }
      this.#afterCr = unit === 13;
      this.#grow(text.slice(start, at));
      start = at + 1;
      const event = this.#endLine();
      if (event) events.push(event);
    }
    this.#grow(text.slice(start));
    return events;
  }

  /** @param {string} piece */
  #grow(piece) {
    this.#line += piece;
    this.#length += piece.length;
    if (this.#length > MAX_EVENT) {
      throw new InshoreError({ code: "bad_stream", message: `an event is longer than ${MAX_EVENT} characters` });
    }
  }

  #endLine() {
    const line = this.#line;
    this.#line = "";
    if (line === "") return this.#endEvent();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") {
      this.#data = this.#data === undefined ? value : `${this.#data}\n${value}`;
    } else if (field === "event") {
      this.#name = value;
    } else if (field === "id" && !value.includes("\0")) {
      this.#id = value;
    }
    return undefined;
  }

  #endEvent() {
    const [name, data, id] = [this.#name || "message", this.#data, this.#id];
    this.#name = "";
    this.#data = this.#id = undefined;
    this.#length = 0;
    return data === undefined ? undefined : { name, data, id };
  }
}
