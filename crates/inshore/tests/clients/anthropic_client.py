"""Drives a running daemon with the official `anthropic` package.

Environment: as `openai_client.py`; the model must chat.
"""

import os

import anthropic

BASE = os.environ["INSHORE_BASE_URL"].rstrip("/")
TOKEN = os.environ["INSHORE_TOKEN"]
CHAT = os.environ.get("INSHORE_CHAT_MODEL") or os.environ["INSHORE_MODEL"]
TOOLS = os.environ.get("INSHORE_TOOLS") == "1"

client = anthropic.Anthropic(base_url=BASE, api_key=TOKEN, max_retries=0, timeout=120)
MESSAGES = [{"role": "user", "content": "Thank you for"}]
SYSTEM = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
# The API has it, and this version of the package no longer names it.
GREEDY = {"temperature": 0}


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


def messages():
    whole = client.messages.create(model=CHAT, max_tokens=8, messages=MESSAGES, system=SYSTEM, extra_body=GREEDY)
    assert whole.type == "message" and whole.role == "assistant" and whole.id.startswith("msg_")
    assert whole.stop_reason in ("end_turn", "max_tokens"), whole
    usage = whole.usage
    assert usage.input_tokens + usage.cache_read_input_tokens > 0 and usage.output_tokens <= 8
    with client.messages.stream(
        model=CHAT, max_tokens=8, messages=MESSAGES, system=SYSTEM, extra_body=GREEDY
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    expected = "".join(block.text for block in whole.content if block.type == "text")
    assert text == expected, (text, expected)
    assert final.stop_reason == whole.stop_reason and final.usage.output_tokens == usage.output_tokens
    kinds = [event.type for event in client.messages.create(model=CHAT, max_tokens=8, messages=MESSAGES, stream=True)]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"], kinds
    passed("messages")


def tools():
    tool = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
    ask = {"role": "user", "content": "Weather in Oslo?"}
    with client.messages.stream(
        model=CHAT, max_tokens=64, messages=[ask], tools=[tool], tool_choice={"type": "any"}
    ) as stream:
        called = stream.get_final_message()
    use = next(block for block in called.content if block.type == "tool_use")
    assert called.stop_reason == "tool_use" and use.name == "weather" and isinstance(use.input, dict), called
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "rain"}
    client.messages.create(
        model=CHAT,
        max_tokens=16,
        messages=[ask, {"role": "assistant", "content": called.content}, {"role": "user", "content": [result]}],
        tools=[tool],
        tool_choice={"type": "none"},
    )
    passed("tools")


def counting():
    counted = client.messages.count_tokens(model=CHAT, messages=MESSAGES, system=SYSTEM)
    assert counted.input_tokens > 0
    passed("count_tokens")


def models():
    assert CHAT in [model.id for model in client.models.list()]
    assert client.models.retrieve(CHAT).id == CHAT
    passed("models")


def errors():
    def create(**fields):
        return client.messages.create(**{"model": CHAT, "max_tokens": 1, "messages": MESSAGES, **fields})

    error = raises(anthropic.NotFoundError, 404, lambda: create(model="no-such-model"))
    assert error.body["error"]["type"] == "not_found_error", error.body
    error = raises(anthropic.BadRequestError, 400, lambda: create(extra_body={"temperature": 1.5}))
    assert "temperature" in error.body["error"]["message"], error.body
    raises(anthropic.BadRequestError, 400, lambda: create(extra_body={"no_such_field": 1}))
    stranger = anthropic.Anthropic(base_url=BASE, api_key="wrong", max_retries=0)
    raises(anthropic.AuthenticationError, 401, lambda: stranger.messages.create(model=CHAT, max_tokens=1, messages=MESSAGES))
    passed("errors")


messages()
counting()
models()
if TOOLS:
    tools()
errors()
print("all ok")
