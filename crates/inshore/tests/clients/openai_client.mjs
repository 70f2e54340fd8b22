// Drives a running daemon with the official `openai` package from npm.
//
// Environment: as `openai_client.py`.

import assert from "node:assert/strict";
import OpenAI from "openai";

const { INSHORE_BASE_URL, INSHORE_TOKEN, INSHORE_MODEL, INSHORE_CHAT_MODEL, INSHORE_EMBEDDING_MODEL, INSHORE_TOOLS } =
  process.env;
const baseURL = `${INSHORE_BASE_URL.replace(/\/$/, "")}/v1`;
const model = INSHORE_MODEL;
const chatModel = INSHORE_CHAT_MODEL ?? INSHORE_MODEL;
const client = new OpenAI({ baseURL, apiKey: INSHORE_TOKEN, maxRetries: 0, timeout: 120_000 });
const messages = [{ role: "user", content: "Thank you for" }];

const passed = (name) => console.log("ok", name);

async function models() {
  const names = [];
  for await (const found of client.models.list()) names.push(found.id);
  assert(names.includes(model), names.join());
  assert.equal((await client.models.retrieve(model)).id, model);
  passed("models");
}

async function completions() {
  const ask = { model, prompt: "Thank you for your", max_tokens: 8, temperature: 0, seed: 1 };
  const whole = await client.completions.create(ask);
  let text = "";
  for await (const chunk of await client.completions.create({ ...ask, stream: true })) {
    text += chunk.choices.map((choice) => choice.text).join("");
  }
  assert.equal(text, whole.choices[0].text);
  passed("completions");
}

async function chat() {
  const ask = { model: chatModel, messages, max_tokens: 8, temperature: 0, seed: 1 };
  const { data: whole, response } = await client.chat.completions.create(ask).withResponse();
  assert.match(response.headers.get("x-inshore-receipt"), /^rcpt_/);
  const stream = client.chat.completions.stream({ ...ask, stream_options: { include_usage: true } });
  const final = await stream.finalChatCompletion();
  assert.equal(final.choices[0].message.content, whole.choices[0].message.content);
  assert.equal(final.usage.total_tokens, whole.usage.total_tokens);
  passed("chat");
}

async function tools() {
  const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
  const stream = client.chat.completions.stream({
    model: chatModel,
    messages: [{ role: "user", content: "Weather in Oslo?" }],
    tools: [{ type: "function", function: { name: "weather", parameters } }],
    tool_choice: "required",
  });
  const final = await stream.finalChatCompletion();
  const [call] = final.choices[0].message.tool_calls;
  assert.equal(call.function.name, "weather");
  assert("city" in JSON.parse(call.function.arguments));
  passed("tools");
}

async function responses() {
  const ask = { model: chatModel, input: "Thank you for", max_output_tokens: 8, temperature: 0 };
  const whole = await client.responses.create(ask);
  const stream = client.responses.stream(ask);
  const kinds = [];
  for await (const event of stream) kinds.push(event.type);
  assert.equal(kinds[0], "response.created");
  assert.match(kinds.at(-1), /^response\.(completed|incomplete)$/);
  assert.equal((await stream.finalResponse()).output_text, whole.output_text);
  passed("responses");
  // Events that the library does not know are handed on; its helper `responses.stream` is strict and takes none.
  let text = "";
  const revised = await client.responses.create({ ...ask, stream: true }, { headers: { "x-inshore-revisions": "true" } });
  const seen = [];
  for await (const event of revised) {
    seen.push(event.type);
    if (event.type === "response.inshore.begun") assert.equal(event.part, "final");
    if (event.type === "response.output_text.done") text = event.text;
  }
  assert(seen.includes("response.inshore.begun") && seen.includes("response.inshore.finalised"), seen.join());
  assert.equal(text, whole.output_text);
  passed("revised responses");
}

async function embeddings() {
  const found = await client.embeddings.create({ model: INSHORE_EMBEDDING_MODEL, input: ["one", "two"] });
  assert.equal(found.data.length, 2);
  const length = found.data[0].embedding.reduce((sum, x) => sum + x * x, 0);
  assert(Math.abs(length - 1) < 1e-3, String(length));
  passed("embeddings");
}

async function errors() {
  const complete = (fields) => client.completions.create({ model, prompt: "x", max_tokens: 1, ...fields });
  const refused = (kind, status, param) => (error) =>
    error instanceof kind && error.status === status && (param === undefined || error.param === param) &&
    error.requestID.startsWith("req_");
  await assert.rejects(complete({ model: "no-such-model" }), refused(OpenAI.NotFoundError, 404, "model"));
  await assert.rejects(complete({ temperature: 9 }), refused(OpenAI.BadRequestError, 400, "temperature"));
  await assert.rejects(complete({ no_such_field: 1 }), refused(OpenAI.BadRequestError, 400, "no_such_field"));
  const stranger = new OpenAI({ baseURL, apiKey: "wrong", maxRetries: 0 });
  await assert.rejects(stranger.models.list(), refused(OpenAI.AuthenticationError, 401));
  passed("errors");
}

await models();
await completions();
if (chatModel) {
  await chat();
  await responses();
  if (INSHORE_TOOLS === "1") await tools();
}
if (INSHORE_EMBEDDING_MODEL) await embeddings();
await errors();
console.log("all ok");
