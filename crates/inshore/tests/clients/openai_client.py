"""Drives a running daemon with the official `openai` package.

Environment: INSHORE_BASE_URL (without `/v1`), INSHORE_TOKEN, INSHORE_MODEL (continues text); INSHORE_CHAT_MODEL (default:
the same; empty: no chat), INSHORE_EMBEDDING_MODEL (default: none), INSHORE_TOOLS=1 where the chat model calls tools.
Prints one line for each check; fails at the first that does not hold.
"""

import os

import openai

BASE = os.environ["INSHORE_BASE_URL"].rstrip("/") + "/v1"
TOKEN = os.environ["INSHORE_TOKEN"]
MODEL = os.environ["INSHORE_MODEL"]
CHAT = os.environ.get("INSHORE_CHAT_MODEL", MODEL)
EMBEDDING = os.environ.get("INSHORE_EMBEDDING_MODEL", "")
TOOLS = os.environ.get("INSHORE_TOOLS") == "1"

client = openai.OpenAI(base_url=BASE, api_key=TOKEN, max_retries=0, timeout=120)
MESSAGES = [{"role": "user", "content": "Thank you for"}]
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def passed(name):
    print("ok", name, flush=True)


def raises(kind, status, call):
    try:
        call()
    except kind as error:
        assert error.status_code == status, error
        assert error.request_id and error.request_id.startswith("req_"), error.response.headers
        return error
    raise AssertionError(f"no {kind.__name__}")


def models():
    names = [model.id for model in client.models.list()]
    assert MODEL in names, names
    assert client.models.retrieve(MODEL).id == MODEL
    raises(openai.NotFoundError, 404, lambda: client.models.retrieve("no-such-model"))
    passed("models")


def completions():
    prompt = "Thank you for your"
    whole = client.completions.create(model=MODEL, prompt=prompt, max_tokens=8, temperature=0, seed=1)
    assert whole.object == "text_completion" and whole.choices[0].finish_reason in ("length", "stop")
    assert whole.usage.completion_tokens <= 8 and whole.usage.prompt_tokens > 0
    stream = client.completions.create(
        model=MODEL, prompt=prompt, max_tokens=8, temperature=0, seed=1, stream=True,
        stream_options={"include_usage": True},
    )
    text, usage = "", None
    for chunk in stream:
        usage = chunk.usage or usage
        text += "".join(choice.text for choice in chunk.choices)
    assert text == whole.choices[0].text, (text, whole.choices[0].text)
    assert usage and usage.completion_tokens == whole.usage.completion_tokens
    raw = client.completions.with_raw_response.create(model=MODEL, prompt=prompt, max_tokens=1)
    assert raw.headers["x-inshore-receipt"].startswith("rcpt_") and raw.headers["x-inshore-tier"] == "device"
    passed("completions")


def chat():
    whole = client.chat.completions.create(model=CHAT, messages=MESSAGES, max_tokens=8, temperature=0, seed=1)
    assert whole.object == "chat.completion" and whole.id.startswith("chatcmpl-")
    assert whole.choices[0].message.role == "assistant"
    with client.chat.completions.stream(
        model=CHAT, messages=MESSAGES, max_tokens=8, temperature=0, seed=1, stream_options={"include_usage": True}
    ) as stream:
        kinds = [event.type for event in stream]
        try:
            final = stream.get_final_completion()
        except openai.LengthFinishReasonError as error:
            # The client's own way to say that the token limit was reached; the answer is in it.
            final = error.completion
    assert "content.delta" in kinds or not whole.choices[0].message.content, kinds
    assert final.choices[0].message.content == whole.choices[0].message.content
    assert final.usage.total_tokens == final.usage.prompt_tokens + final.usage.completion_tokens
    passed("chat")


def tools():
    tool = {"type": "function", "function": {"name": "weather", "parameters": WEATHER, "strict": True}}
    with client.chat.completions.stream(
        model=CHAT, messages=[{"role": "user", "content": "Weather in Oslo?"}], tools=[tool], tool_choice="required"
    ) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    call = final.choices[0].message.tool_calls[0]
    assert final.choices[0].finish_reason == "tool_calls" and call.function.name == "weather", final
    assert "city" in call.function.parsed_arguments
    passed("tools")


def responses():
    whole = client.responses.create(model=CHAT, input="Thank you for", max_output_tokens=8, temperature=0)
    assert whole.status in ("completed", "incomplete") and whole.id.startswith("resp_")
    with client.responses.stream(model=CHAT, input="Thank you for", max_output_tokens=8, temperature=0) as stream:
        events = list(stream)
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"], kinds
    assert kinds[-1] in ("response.completed", "response.incomplete"), kinds
    assert [event.sequence_number for event in events] == sorted(event.sequence_number for event in events)
    assert events[-1].response.output_text == whole.output_text
    # Events that the library does not know are handed on, with their fields.
    with client.responses.stream(
        model=CHAT, input="Thank you for", max_output_tokens=8, temperature=0, extra_headers={"x-inshore-revisions": "true"}
    ) as stream:
        events = list(stream)
    assert [event.part for event in events if event.type == "response.inshore.begun"] == ["final"]
    assert any(event.type == "response.inshore.finalised" for event in events)
    assert events[-1].response.output_text == whole.output_text
    if TOOLS:
        tool = {"type": "function", "name": "weather", "parameters": WEATHER, "strict": True}
        called = client.responses.create(model=CHAT, input="Weather in Oslo?", tools=[tool], tool_choice="required")
        item = next(item for item in called.output if item.type == "function_call")
        assert item.name == "weather" and item.call_id
    error = raises(
        openai.BadRequestError, 400, lambda: client.responses.create(model=CHAT, input="x", previous_response_id="resp_1")
    )
    assert error.param == "previous_response_id", error.body
    passed("responses")


def embeddings():
    found = client.embeddings.create(model=EMBEDDING, input=["one", "two"])
    assert len(found.data) == 2 and abs(sum(x * x for x in found.data[0].embedding) - 1) < 1e-3
    floats = client.embeddings.create(model=EMBEDDING, input="one", encoding_format="float")
    assert all(abs(a - b) < 1e-3 for a, b in zip(floats.data[0].embedding, found.data[0].embedding))
    passed("embeddings")


def errors():
    def complete(**fields):
        return client.completions.create(**{"model": MODEL, "prompt": "x", "max_tokens": 1, **fields})

    raises(openai.NotFoundError, 404, lambda: complete(model="no-such-model"))
    error = raises(openai.BadRequestError, 400, lambda: complete(temperature=9))
    assert error.param == "temperature" and error.code == "invalid_value", error.body
    error = raises(openai.BadRequestError, 400, lambda: complete(extra_body={"no_such_field": 1}))
    assert error.param == "no_such_field", error.body
    stranger = openai.OpenAI(base_url=BASE, api_key="wrong", max_retries=0)
    raises(openai.AuthenticationError, 401, lambda: stranger.models.list())
    passed("errors")


models()
completions()
if CHAT:
    chat()
    responses()
    if TOOLS:
        tools()
if EMBEDDING:
    embeddings()
errors()
print("all ok")
