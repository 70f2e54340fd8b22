import { Answer } from "./answer.js";
import { InshoreError, ofProblem } from "./error.js";

/** Where a daemon listens unless its config says otherwise. */
const BASE_URL = "http://127.0.0.1:7467";

/**
 * Seven tries within 6.3 seconds, unless the caller says otherwise: a daemon cancels an answer that nobody has read for 15 seconds.
 */
const RETRIES = 7;
/** @param {number} tried */
const doubling = (tried) => (tried === 0 ? 0 : 100 * 2 ** (tried - 1));

/** Hints of a request, by the option that gives them. */
const HINTS = /** @type {const} */ ({
  feature: "x-inshore-feature",
  strategy: "x-inshore-strategy",
  sensitivity: "x-inshore-sensitivity",
  profile: "x-inshore-profile",
  latencyMs: "x-inshore-latency-ms",
  regions: "x-inshore-regions",
  user: "x-inshore-user",
});

/** A daemon, and the token by which it knows the app. */
export class Inshore {
  #base;
  #token;
  #fetch;
  #retries;
  #delay;

  /** @param {import("./index.js").InshoreOptions} options */
  constructor(options) {
    if (typeof options?.token !== "string" || options.token === "") {
      const hint = "`inshore token create NAME` makes one for an app";
      throw new InshoreError({ code: "missing_api_key", message: "a token is needed", hint });
    }
    this.#base = (options.baseURL ?? BASE_URL).replace(/\/+$/, "");
    this.#token = options.token;
    this.#fetch = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
    this.#retries = options.retries ?? RETRIES;
    this.#delay = options.retryDelay ?? doubling;
  }

  /**
   * @param {import("./index.js").GenerateBody} body
   * @param {import("./index.js").GenerateOptions} [options]
   */
  async generate(body, options = {}) {
    /** @type {Record<string, string>} */
    const headers = { "content-type": "application/json" };
    for (const [option, header] of Object.entries(HINTS)) {
      const value = options[/** @type {keyof typeof HINTS} */ (option)];
      if (value !== undefined) headers[header] = Array.isArray(value) ? value.join(",") : String(value);
    }
    const query = options.api === undefined ? "" : `?api=${encodeURIComponent(options.api)}`;
    const stop = stopper(options.signal);
    const init = { method: "POST", headers, body: JSON.stringify(body), signal: stop.signal };
    const response = await this.#ask(`/inshore/v1/generate${query}`, init);
    return this.#answer(response, stop, options);
  }

  /**
   * @param {string} receipt
   * @param {import("./index.js").ResumeOptions} [options]
   */
  async resume(receipt, options = {}) {
    const stop = stopper(options.signal);
    const path = `/inshore/v1/generate/${encodeURIComponent(receipt)}`;
    const response = await this.#ask(path, { headers: { "last-event-id": "0" }, signal: stop.signal });
    return this.#answer(response, stop, options);
  }

  /**
   * @param {Response} response
   * @param {AbortController} stop
   * @param {import("./index.js").ResumeOptions} options
   */
  #answer(response, stop, options) {
    return new Answer({
      response,
      stop,
      onRevision: options.onRevision,
      retries: this.#retries,
      delay: this.#delay,
      readOn: (path, passed) => {
        return this.#ask(path, { headers: { "last-event-id": String(passed) }, signal: stop.signal });
      },
    });
  }

  /**
   * A response that is an answer; anything else is thrown.
   * @param {string} path
   * @param {{ method?: string, headers: Record<string, string>, body?: string, signal: AbortSignal }} init
   */
  async #ask(path, init) {
    const headers = { ...init.headers, accept: "text/event-stream", authorization: `Bearer ${this.#token}` };
    /** @type {Response} */
    let response;
    try {
      response = await this.#fetch(this.#base + path, { ...init, headers });
    } catch (cause) {
      if (init.signal.aborted) throw init.signal.reason;
      const message = `the daemon cannot be reached at ${this.#base}`;
      throw new InshoreError({ code: "unreachable", message, hint: "`inshore serve` starts one", cause });
    }
    if (response.ok) return response;
    const receipt = response.headers.get("x-inshore-receipt");
    throw ofProblem(await response.json().catch(() => null), response.status, receipt);
  }
}

/**
 * A controller of our own that the caller's signal sets off too.
 * @param {AbortSignal | undefined} signal
 */
function stopper(signal) {
  const stop = new AbortController();
  if (signal?.aborted) stop.abort(signal.reason);
  signal?.addEventListener("abort", () => stop.abort(signal.reason), { once: true, signal: stop.signal });
  return stop;
}
