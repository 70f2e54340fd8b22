import { InshoreError, ofProblem } from "./error.js";
import { Page } from "./page.js";
import { SseDecoder } from "./sse.js";

/**
 * @typedef {object} Parts
 * @property {Response} response
 * @property {AbortController} stop
 * @property {import("./index.js").ResumeOptions["onRevision"]} onRevision
 * @property {number} retries
 * @property {(tried: number) => number} delay milliseconds before a try to read on, of which so many brought nothing
 * @property {(path: string, passed: number) => Promise<Response>} readOn
 */

/** An answer that is being made. It is read to its end whether or not somebody looks. */
export class Answer {
  #parts;
  #page = new Page();
  /** @type {import("./index.js").Revision[]} */
  #revisions = [];
  #settled = false;
  /** @type {unknown} */
  #error = null;
  /** Wakes those who wait for the next revision. @type {Array<() => void>} */
  #waiting = [];

  /** @param {Parts} parts */
  constructor(parts) {
    this.#parts = parts;
    this.#page.receipt = parts.response.headers.get("x-inshore-receipt");
    /** @type {Promise<this>} */
    this.done = this.#read().then(
      () => this.#settle(null),
      (error) => {
        this.#settle(error);
        throw error;
      },
    );
    // Whoever only iterates meets the error there; nobody is obliged to look here too.
    this.done.catch(() => {});
  }

  get text() {
    return this.#page.text;
  }
  get blocks() {
    return this.#page.blocks;
  }
  get state() {
    return this.#page.state;
  }
  get target() {
    return this.#page.target;
  }
  get strategy() {
    return this.#page.strategy;
  }
  get receipt() {
    return this.#page.receipt;
  }
  get reason() {
    return this.#page.reason;
  }
  get keptDraft() {
    return this.#page.keptDraft;
  }
  get usage() {
    return this.#page.usage;
  }
  get error() {
    return this.#error;
  }

  /** Stops reading. The daemon ends an answer that nobody reads. */
  cancel() {
    this.#parts.stop.abort();
  }

  async *[Symbol.asyncIterator]() {
    for (let next = 0; ; ) {
      const revision = this.#revisions[next];
      if (revision !== undefined) {
        next += 1;
        yield revision;
      } else if (this.#settled) {
        if (this.#error !== null) throw this.#error;
        return;
      } else {
        await new Promise((resolve) => this.#waiting.push(() => resolve(undefined)));
      }
    }
  }

  #wake() {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** @param {unknown} error */
  #settle(error) {
    this.#settled = true;
    this.#error = error;
    // Lets go of the caller's signal, and of a connection that is still there.
    this.#parts.stop.abort();
    this.#wake();
    return this;
  }

  async #read() {
    const { retries, delay, readOn, stop } = this.#parts;
    let { response } = this.#parts;
    /** @type {unknown} */
    let cause;
    for (let tried = 0; ; ) {
      if (await this.#readOne(response)) tried = 0;
      stop.signal.throwIfAborted();
      if (this.state === "ended") break;
      for (;;) {
        const path = this.#page.resume ?? (this.receipt && `/inshore/v1/generate/${encodeURIComponent(this.receipt)}`);
        if (!path || tried >= retries) throw this.#broken(tried, cause);
        await pause(delay(tried), stop.signal);
        tried += 1;
        try {
          response = await readOn(path, this.#page.passed);
          break;
        } catch (error) {
          stop.signal.throwIfAborted();
          if (!mayPass(error)) throw error;
          cause = error;
        }
      }
    }
    if (this.#page.problem) throw ofProblem(this.#page.problem, 500, this.receipt);
  }

  /**
   * Reads one connection to its end; whether it brought an event.
   * @param {Response} response
   */
  async #readOne(response) {
    const decoder = new SseDecoder();
    const passed = this.#revisions.length;
    const reader = response.body?.getReader();
    while (reader && this.state !== "ended") {
      // Why a connection ends makes no difference: what matters is whether the answer has ended.
      const { done, value } = await reader.read().catch(() => ({ done: true, value: undefined }));
      if (done || !value) break;
      for (const event of decoder.push(value)) this.#take(event);
    }
    return this.#revisions.length > passed;
  }

  /** @param {import("./index.js").SseEvent} event */
  #take(event) {
    const revision = this.#page.take(event);
    if (revision === null) return;
    this.#revisions.push(revision);
    this.#parts.onRevision?.(revision, this);
    this.#wake();
  }

  /** @param {number} tried @param {unknown} cause */
  #broken(tried, cause) {
    return new InshoreError({
      code: "broken_off",
      message: `the answer broke off, and ${tried} tries to read it on failed`,
      hint: this.receipt && `\`inshore receipt ${this.receipt}\` tells what became of it`,
      receipt: this.receipt,
      cause,
    });
  }
}

/**
 * Whether another try may find the daemon: it was not there, or it said that it could not now.
 * @param {unknown} error
 */
function mayPass(error) {
  if (!(error instanceof InshoreError)) return false;
  return error.code === "unreachable" || (error.status !== null && (error.status >= 500 || error.status === 429));
}

/** @param {number} milliseconds @param {AbortSignal} signal */
function pause(milliseconds, signal) {
  if (milliseconds <= 0) return undefined;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}
