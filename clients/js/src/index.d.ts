/** How far an answer is: `draft` may be replaced, `final` is the answer that stays, after `ended` nothing follows. */
export type State = "draft" | "final" | "ended";

/** What a target's answer is to the whole. */
export type Part = "draft" | "final";

export type Tier = "device" | "edge" | "cloud";

/** A part of an answer. The event's number of a block is its place among them. */
export interface Block {
  readonly kind: "text" | "reasoning" | "tool_call" | (string & {});
  /** Its text as it stands; of a tool call the arguments, as JSON. */
  text: string;
  /** Of a tool call: what joins it to its result. */
  readonly id?: string;
  /** Of a tool call: the function called. */
  readonly name?: string;
}

/** Who answers. */
export interface Target {
  /** Its name in the daemon's config. */
  readonly id: string;
  readonly tier: Tier;
  /** The model, as the target names it. */
  readonly model: string;
}

export interface Usage {
  readonly prompt_tokens: number;
  readonly cached_tokens: number;
  readonly output_tokens: number;
  readonly reasoning_tokens: number;
}

interface Numbered {
  /** The event's `id`; `null` for one that has none (`accepted`). */
  readonly number: number | null;
}

/** The request has been taken; the first revision of a request. */
export interface Accepted extends Numbered {
  readonly type: "accepted";
  readonly receipt: string;
  readonly strategy: string;
  /** The path at which the answer can be read on. */
  readonly resume: string;
}

/** A target answers from here on. */
export interface Begun extends Numbered {
  readonly type: "begun";
  readonly target: string;
  readonly tier: Tier;
  readonly model: string;
  readonly part: Part;
}

/** A block is there, and empty. */
export interface Opened extends Numbered {
  readonly type: "opened";
  readonly block: number;
  readonly kind: Block["kind"];
  /** Of a tool call. */
  readonly id?: string;
  /** Of a tool call. */
  readonly name?: string;
}

/** Text is added at the end of a block. */
export interface Appended extends Numbered {
  readonly type: "appended";
  readonly block: number;
  readonly text: string;
}

/** A part of a block is replaced. */
export interface Replaced extends Numbered {
  readonly type: "replaced";
  readonly block: number;
  /** In Unicode characters of the block as it was, which are not JavaScript's UTF-16 units. */
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** The answer is complete, and nothing of it changes any more. */
export interface Finalised extends Numbered {
  readonly type: "finalised";
  readonly reason: "stop" | "length" | "tool_calls" | "content_filter" | (string & {});
  /** Why the draft is the answer, where it is. */
  readonly kept_draft: string | null;
  readonly usage: Usage | null;
}

/** The receipt is written; the last revision of a good answer. */
export interface Ended extends Numbered {
  readonly type: "ended";
  readonly receipt: string;
}

/** The last revision of any other: problem details of RFC 9457. */
export interface Failed extends Numbered {
  readonly type: "error";
  readonly status: number;
  readonly title: string;
  readonly detail: string;
  readonly code: string;
  readonly hint?: string;
  readonly param?: string;
  readonly request_id: string;
}

/** What happens to an answer. Daemons to come may send others; a client leaves those alone that it does not know. */
export type Revision = Accepted | Begun | Opened | Appended | Replaced | Finalised | Ended | Failed;

/** An event of a stream, as it is framed. */
export interface SseEvent {
  /** `message` where it has none. */
  readonly name: string;
  /** Several lines are joined by LF. */
  readonly data: string;
  /** The event's own `id`. */
  readonly id: string | undefined;
}

/** Makes events of bytes that are cut anywhere. */
export class SseDecoder {
  /** The events that are complete with these bytes. Throws an `InshoreError` (`bad_stream`) when one grows without end. */
  push(bytes: Uint8Array): SseEvent[];
}

/** An answer as its events so far have made it: for those who bring a stream of their own. */
export class Page {
  readonly blocks: Block[];
  readonly state: State;
  readonly target: Target | null;
  readonly receipt: string | null;
  readonly strategy: string | null;
  readonly resume: string | null;
  readonly reason: string | null;
  readonly keptDraft: string | null;
  readonly usage: Usage | null;
  /** Why the answer is not complete, where it ended so. */
  readonly problem: Failed | null;
  /** The number of the last event that was applied, for `Last-Event-ID`. */
  readonly passed: number;
  get text(): string;
  /**
   * Does what an event says, and gives it back; `null` for one that was applied before. Throws an `InshoreError` (`bad_stream`) when
   * it cannot be applied; then nothing has changed.
   */
  take(event: SseEvent): Revision | null;
}

/** Why there is no answer, or no whole one. */
export class InshoreError extends Error {
  /**
   * A stable word: the daemon's own, or one of this client's: `unreachable`, `broken_off` (the connection broke, and the answer could
   * not be read on), `bad_stream` (what came is not what a daemon sends), `http_error` (a refusal without problem details).
   */
  readonly code: string;
  /** What to do about it. */
  readonly hint: string | null;
  /** The HTTP status, where the daemon gave one. */
  readonly status: number | null;
  /** The id of the receipt, where there is one. */
  readonly receipt: string | null;
  /** The field at fault. */
  readonly param: string | null;
  /** The request, as the daemon's log names it. */
  readonly requestId: string | null;
}

/** An answer that is being made. It is read to its end whether or not somebody looks. */
export interface Answer extends AsyncIterable<Revision> {
  /** The text as it stands. */
  readonly text: string;
  /** All blocks as they stand: text, thinking, tool calls. */
  readonly blocks: readonly Block[];
  readonly state: State;
  /** Who answers; `null` before anyone does. */
  readonly target: Target | null;
  /** How the answer is made: `direct`, `fallback`, `draft`, `cascade`. */
  readonly strategy: string | null;
  /** The id of the receipt. It is written when the state is `ended`. */
  readonly receipt: string | null;
  /** Why the answer ended, once nothing of it changes any more. */
  readonly reason: string | null;
  /** Why the draft is the answer, where it is. */
  readonly keptDraft: string | null;
  readonly usage: Usage | null;
  /** Why there is no whole answer, once that is so. */
  readonly error: unknown;
  /** The answer when it is complete. Rejects with an `InshoreError`, with the reason of an abort, or with what `onRevision` threw. */
  readonly done: Promise<Answer>;
  /** Stops reading; `done` rejects. The daemon ends an answer that nobody has read for some seconds. */
  cancel(): void;
  /**
   * All revisions from the first one on, each after it was applied; several may iterate. Throws what `done` rejects with. To stop
   * iterating does not stop the answer.
   */
  [Symbol.asyncIterator](): AsyncIterator<Revision>;
}

export interface InshoreOptions {
  /** The app's token: `inshore token create NAME` makes one. */
  token: string;
  /** Where the daemon is; `http://127.0.0.1:7467` unless its config says otherwise. */
  baseURL?: string;
  /** Tries one after another to read an answer on that bring no event; 7 unless said otherwise. */
  retries?: number;
  /** Milliseconds before a try, of which so many before it brought nothing: 0, 100, 200, 400 and so on. */
  retryDelay?: (tried: number) => number;
  /** Instead of the platform's own. */
  fetch?: (input: string, init: RequestInit) => Promise<Response>;
}

/** The body of a request, as OpenAI's chat, completions or responses, or Anthropic's messages, have it. */
export interface GenerateBody {
  /** A model's name, or `auto`, `device`, `edge`, `cloud`. */
  model: string;
  [field: string]: unknown;
}

export interface ResumeOptions {
  signal?: AbortSignal;
  /** Called for each revision after it was applied. */
  onRevision?: (revision: Revision, answer: Answer) => void;
}

export interface GenerateOptions extends ResumeOptions {
  /** What the request is for, by the app's own name. */
  feature?: string;
  strategy?: "direct" | "fallback" | "draft" | "cascade";
  /** How sensitive the text is; can only make the decision stricter. */
  sensitivity?: "public" | "internal" | "confidential" | "restricted";
  profile?: "realtime" | "async" | "batch";
  /** The time to the first token that the app can live with. */
  latencyMs?: number;
  /** The only regions where the work may be done, beside the device. */
  regions?: readonly string[];
  /** On whose behalf. */
  user?: string;
  /** Whose body this is, where its fields do not tell: Anthropic's messages look like a chat. */
  api?: "chat" | "completions" | "responses" | "messages";
}

/** A daemon, and the token by which it knows the app. */
export class Inshore {
  constructor(options: InshoreOptions);
  /**
   * Asks for an answer; resolves when the daemon has taken the request. Rejects with an `InshoreError` when it cannot be reached or
   * refuses. Nothing is sent twice.
   */
  generate(body: GenerateBody, options?: GenerateOptions): Promise<Answer>;
  /** Reads an answer that this app has asked for, from its beginning: one that is being made, or that ended some minutes ago. */
  resume(receipt: string, options?: ResumeOptions): Promise<Answer>;
}
