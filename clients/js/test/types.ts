// Not run: `npm run types` checks that the declarations hold for whoever uses them, and that the sources keep them.

import { Inshore, InshoreError, Page, SseDecoder } from "../src/index.js";
import type { Answer, InshoreOptions, Revision } from "../src/index.js";
import { Answer as AnswerSource } from "../src/answer.js";
import { InshoreError as ErrorSource } from "../src/error.js";
import { Inshore as Source } from "../src/inshore.js";
import { Page as PageSource } from "../src/page.js";
import { SseDecoder as DecoderSource } from "../src/sse.js";

export const client: new (options: InshoreOptions) => Inshore = Source;
export const decoder: new () => SseDecoder = DecoderSource;
export const page: new () => Page = PageSource;
export const answer: Answer = null as unknown as AnswerSource;
export const error: InshoreError = null as unknown as ErrorSource;

export async function use(inshore: Inshore): Promise<string> {
  const answer = await inshore.generate(
    { model: "auto", messages: [{ role: "user", content: "Hello" }], max_tokens: 20 },
    { feature: "chat", strategy: "draft", sensitivity: "internal", onRevision: (revision) => void revision.type },
  );
  for await (const revision of answer) {
    if (revision.type === "replaced") return answer.text.slice(0, revision.start);
  }
  // @ts-expect-error no such strategy
  await inshore.generate({ model: "auto" }, { strategy: "best" });
  // @ts-expect-error the text is not for others to change
  answer.text = "x";
  const { text, keptDraft, target } = await answer.done;
  return `${text} ${keptDraft ?? target?.id}`;
}

export const all = (revision: Revision): number | null => revision.number;
