// Answers from a real daemon, the binary that `INSHORE_BIN` names: its own small model makes the draft, and a provider that says
// nothing until it is told to makes the better answer.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createRelay, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { Inshore } from "../src/index.js";

const BINARY = process.env.INSHORE_BIN ?? fileURLToPath(new URL("../../../target/debug/inshore", import.meta.url));
const BETTER = "We meet on Wednesday, 😀 at ten o'clock.";
const BODY = { model: "auto", max_tokens: 12, temperature: 0, messages: [{ role: "user", content: "Dear Sir, we have received your" }] };

const listening = (server) => new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));

/** A provider that answers when it is told to. */
class Provider {
  #server = createServer((request, response) => {
    request.resume();
    request.on("end", () => {
      if (request.method === "GET") return response.end('{"object":"list","data":[{"id":"big","object":"model"}]}');
      this.#asked.push(response);
      this.#wake?.();
    });
  });
  #asked = [];
  #wake;

  start = () => listening(this.#server);
  stop() {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #next() {
    if (this.#asked.length === 0) await new Promise((resolve) => (this.#wake = resolve));
    return this.#asked.shift();
  }

  async answer(text) {
    const response = await this.#next();
    const chunk = (delta, finish_reason) => {
      const choices = [{ index: 0, delta, finish_reason }];
      return `data: ${JSON.stringify({ id: "c", object: "chat.completion.chunk", created: 1, model: "big", choices })}\n\n`;
    };
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const word of text.split(/(?= )/)) response.write(chunk({ content: word }, null));
    response.end(`${chunk({}, "stop")}data: [DONE]\n\n`);
  }

  async refuse() {
    const response = await this.#next();
    response.writeHead(400, { "content-type": "application/json" });
    response.end('{"error":{"message":"not today","type":"invalid_request_error","param":null,"code":null}}');
  }
}

/** Stands between client and daemon, and can cut all connections. */
class Relay {
  #pairs = new Set();
  #server;
  connections = 0;

  constructor(port) {
    this.#server = createRelay((near) => {
      this.connections += 1;
      const far = connect(port, "127.0.0.1");
      const pair = [near, far];
      this.#pairs.add(pair);
      near.pipe(far).pipe(near);
      for (const socket of pair) socket.on("error", () => pair.forEach((other) => other.destroy()));
      near.on("close", () => (far.destroy(), this.#pairs.delete(pair)));
    });
  }

  start = () => listening(this.#server);
  cut() {
    for (const [near] of this.#pairs) near.resetAndDestroy();
  }
  stop() {
    this.cut();
    this.#server.close();
  }
}

const home = mkdtempSync(join(tmpdir(), "ins"));
const provider = new Provider();
let daemon, relay, inshore, baseURL, token;

before(async () => {
  const port = await provider.start();
  writeFileSync(
    join(home, "config.toml"),
    `[[targets]]\nid = "cloud/big"\ntier = "cloud"\nbase_url = "http://127.0.0.1:${port}/v1"\nmodel = "big"\nfree = true\npermit = true\n` +
      '[features.mail]\nstrategy = "draft"\npatience = "5m"\n',
  );
  const { PATH } = process.env;
  const env = { PATH, HOME: home, INSHORE_HOME: home, INSHORE_SERVER__LISTEN: "127.0.0.1:0" };
  daemon = spawn(BINARY, ["serve", "--announce"], { env, stdio: ["ignore", "pipe", "inherit"] });
  await new Promise((resolve, reject) => {
    daemon.once("error", reject);
    daemon.once("exit", (code) => reject(new Error(`${BINARY} ended with ${code}`)));
    daemon.stdout.once("data", resolve);
  });
  const { tcp } = JSON.parse(readFileSync(join(home, "state/daemon.json"), "utf8"));
  token = readFileSync(join(home, "data/token"), "utf8").trim();
  baseURL = `http://${tcp}`;
  relay = new Relay(Number(tcp.split(":").at(-1)));
  inshore = new Inshore({ token, baseURL: `http://127.0.0.1:${await relay.start()}` });
});

after(async () => {
  relay?.stop();
  provider.stop();
  if (daemon?.exitCode === null) {
    daemon.kill();
    await new Promise((resolve) => daemon.once("exit", resolve));
  }
  rmSync(home, { recursive: true, force: true });
});

test("a draft is replaced, over a connection that breaks while it is shown", async () => {
  const before = relay.connections;
  const answer = await inshore.generate(BODY, { feature: "mail" });
  assert.equal(answer.strategy ?? "draft", "draft");
  let draft = "";
  for await (const revision of answer) {
    if (revision.type !== "appended" || draft) continue;
    assert.deepEqual([answer.state, answer.target.tier], ["draft", "device"]);
    draft = answer.text;
    relay.cut();
    await provider.answer(BETTER);
  }
  assert.ok(draft.length > 0);
  assert.deepEqual([answer.text, answer.state, answer.target.id], [BETTER, "ended", "cloud/big"]);
  assert.deepEqual([answer.keptDraft, answer.reason], [null, "stop"]);
  assert.equal(relay.connections, before + 2, "it was read on once");
  const numbers = [];
  for await (const { number } of answer) numbers.push(number);
  assert.deepEqual(numbers, [null, ...numbers.slice(1).map((_, at) => at + 1)], "no event twice, none missed");

  const again = await (await inshore.resume(answer.receipt)).done;
  assert.equal(again.text, BETTER);
  const receipt = await fetch(`${baseURL}/inshore/v1/receipts/${answer.receipt}`, { headers: { authorization: `Bearer ${token}` } });
  const { strategy, target, outcome } = await receipt.json();
  assert.deepEqual([strategy, target, outcome.kind], ["draft", "cloud/big", "answered"]);
});

test("a draft stays where there is no better answer", async () => {
  const answer = await inshore.generate(BODY, { strategy: "draft" });
  await provider.refuse();
  await answer.done;
  assert.match(answer.keptDraft, /`cloud\/big` refused/);
  assert.deepEqual([answer.state, answer.target.tier, answer.text.length > 0], ["ended", "device", true]);
});

test("an answer of one target is final from the start", async () => {
  const states = [];
  const onRevision = ({ type }, { state }) => type === "appended" && states.push(state);
  const answer = await (await inshore.generate({ ...BODY, model: "device" }, { strategy: "direct", onRevision })).done;
  assert.ok(states.length > 0 && states.every((state) => state === "final"), states.join());
  assert.deepEqual([answer.state, answer.strategy], ["ended", "direct"]);
});

test("what the daemon refuses is told with code and hint", async () => {
  await assert.rejects(inshore.generate(BODY, { strategy: "best" }), { code: "invalid_value", status: 400, param: "x-inshore-strategy" });
  const stranger = new Inshore({ token: "wrong", baseURL });
  await assert.rejects(stranger.generate(BODY), { code: "invalid_api_key", status: 401, hint: /inshore token/ });
  await assert.rejects(inshore.resume("rcpt_00000000000000000000000000"), { code: "unknown_answer", status: 404 });
});
