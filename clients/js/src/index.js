// Reads Inshore's answers that are revised while they are made. Types and what is promised: index.d.ts.

export { Inshore } from "./inshore.js";
export { InshoreError } from "./error.js";
export { Page } from "./page.js";
export { SseDecoder } from "./sse.js";
