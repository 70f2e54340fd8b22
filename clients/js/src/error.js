/**
 * @typedef {object} Details
 * @property {string} code
 * @property {string} message
 * @property {string | null} [hint]
 * @property {number | null} [status]
 * @property {string | null} [receipt]
 * @property {string | null} [param]
 * @property {string | null} [requestId]
 * @property {unknown} [cause]
 */

/** Why there is no answer, or no whole one. */
export class InshoreError extends Error {
  /** @param {Details} details */
  constructor({ code, message, hint = null, status = null, receipt = null, param = null, requestId = null, cause }) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "InshoreError";
    this.code = code;
    this.hint = hint;
    this.status = status;
    this.receipt = receipt;
    this.param = param;
    this.requestId = requestId;
  }
}

/**
 * What a daemon says in problem details (RFC 9457).
 * @param {unknown} problem
 * @param {number} status where the problem names none
 * @param {string | null} receipt
 */
export function ofProblem(problem, status, receipt) {
  /** @type {Record<string, unknown>} */
  const said = problem !== null && typeof problem === "object" ? { ...problem } : {};
  const text = (/** @type {string} */ name) => {
    const value = said[name];
    return typeof value === "string" ? value : null;
  };
  return new InshoreError({
    code: text("code") ?? "http_error",
    message: text("detail") ?? text("title") ?? `the daemon answered ${status}`,
    hint: text("hint"),
    status: typeof said.status === "number" ? said.status : status,
    receipt,
    param: text("param"),
    requestId: text("request_id"),
  });
}
