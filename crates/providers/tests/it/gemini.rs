//! Google's Gemini API.

use inshore_domain::request::{
    Chat, Embedding, Message, OutputFormat, PromptText, Role, Task, Tool, ToolCall,
};
use inshore_domain::{Backend, BackendErrorKind, Embedder, FinishReason, Usage};
use inshore_sim::{Fault, Reply, Seen, Tokens, Turn};
use serde_json::Value;

use crate::rig::*;

fn chat() -> Task {
    Task::Chat(Chat { messages: vec![Message::text(Role::User, "hi")], ..Chat::default() })
}

fn body(seen: &Seen) -> Value {
    serde_json::from_slice(&seen.body).unwrap()
}

fn exact(body: &str) -> Turn {
    Turn::of(Reply::Exact { status: 200, headers: Vec::new(), body: body.to_owned().into() })
}

#[tokio::test]
async fn an_answer_is_heard_in_streams_and_whole() {
    let tokens = Tokens { prompt: 100, cached: 60, written: 0, output: 2 };
    for stream in [true, false] {
        let turn = Turn::of(Reply::Thought { thinking: "hm hm hm".into(), text: "Hello there".into() });
        let (server, provider) = gemini(turn.with_tokens(tokens)).await;
        let heard = hear(&provider, call(&provider, request(chat(), stream, None))).await.unwrap();
        let seen = server.http().seen().remove(0);
        let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
        assert_eq!(seen.path, format!("/v1beta/models/gemini-2.5-sim:{method}"));
        assert_eq!(seen.headers["x-goog-api-key"], GEMINI_KEY);
        assert!(!seen.headers.contains_key("authorization"));
        assert_eq!(seen.body, r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#);
        assert_eq!((heard.model.as_str(), heard.text()), ("gemini-2.5-sim", "Hello there"));
        assert_eq!(heard.thinking, "hm hm hm");
        assert_eq!(heard.finished, [(0, FinishReason::Stop)]);
        let usage = Usage {
            prompt_tokens: 100,
            cached_tokens: 60,
            cache_write_tokens: 0,
            output_tokens: 5,
            reasoning_tokens: 3,
        };
        assert_eq!(heard.usage, Some(usage), "thinking is part of what is paid for");
    }
}

#[tokio::test]
async fn a_call_comes_back_with_the_signature_that_it_came_with() {
    let calls = vec![("find".to_owned(), r#"{"q":"x"}"#.to_owned()), ("go".to_owned(), "{}".to_owned())];
    for stream in [true, false] {
        let (server, provider) = gemini_with("gemini-3-sim", Turn::of(Reply::Calls(calls.clone()))).await;
        let tool =
            |name: &str| Tool { name: name.into(), description: None, parameters: None, strict: false };
        let mut asked = Chat {
            messages: vec![Message::text(Role::User, "go")],
            tools: vec![tool("find"), tool("go")],
            ..Chat::default()
        };
        let made = call(&provider, request(Task::Chat(asked.clone()), stream, None));
        let heard = hear(&provider, made).await.unwrap();
        assert_eq!(heard.finished, [(0, FinishReason::ToolCalls)]);
        assert_eq!(heard.calls[0], ("sim_0".into(), "find".into(), r#"{"q":"x"}"#.into()));

        let mut said = Message::text(Role::Assistant, "");
        said.tool_calls =
            heard.calls.into_iter().map(|(id, name, arguments)| ToolCall { id, name, arguments }).collect();
        asked.messages.push(said);
        for (id, text) in [("sim_0", "found"), ("sim_1", r#"{"gone": 1.50}"#)] {
            let result = Message::text(Role::Tool, text);
            asked.messages.push(Message { tool_call_id: Some(id.into()), ..result });
        }
        server.script().otherwise(Turn::text("done"));
        let made = call(&provider, request(Task::Chat(asked.clone()), stream, None));
        assert_eq!(hear(&provider, made).await.unwrap().text(), "done");
        let sent = body(&server.http().seen()[1]);
        let parts = &sent["contents"][1]["parts"];
        assert_eq!(parts[0]["thoughtSignature"], "c2ltLXNpZ25hdHVyZQ==");
        assert_eq!(parts[1]["thoughtSignature"], Value::Null);
        assert_eq!(sent["contents"][2]["parts"][0]["functionResponse"]["response"]["output"], "found");
        assert!(
            std::str::from_utf8(&server.http().seen()[1].body)
                .unwrap()
                .contains(r#""response":{"gone": 1.50}"#),
            "an object is the result as it is"
        );

        // Another backend never saw the call, as after a restart.
        let (server, provider) = gemini_with("gemini-3-sim", Turn::text("well")).await;
        let made = call(&provider, request(Task::Chat(asked), stream, None));
        assert_eq!(hear(&provider, made).await.unwrap().text(), "well");
        let sent = body(&server.http().seen()[0]);
        let stand_in = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=";
        assert_eq!(sent["contents"][1]["parts"][0]["thoughtSignature"], stand_in);
    }
}

#[tokio::test]
async fn an_older_model_gets_ids_for_its_calls_from_us() {
    let (_server, provider) = gemini(Turn::call("find", r#"{"q":1}"#)).await;
    let heard = hear(&provider, call(&provider, request(chat(), true, None))).await.unwrap();
    assert_eq!(heard.calls[0].0, "call_0000000000000004_0_0");
}

#[tokio::test]
async fn every_end_is_understood() {
    let (server, provider) = gemini(Turn::text("")).await;
    for (word, expected) in [
        ("STOP", FinishReason::Stop),
        ("MAX_TOKENS", FinishReason::Length),
        ("SAFETY", FinishReason::ContentFilter),
        ("RECITATION", FinishReason::ContentFilter),
        ("SPII", FinishReason::ContentFilter),
        ("A_WORD_YET_TO_COME", FinishReason::Stop),
    ] {
        server.script().then(exact(&format!(
            r#"{{"candidates":[{{"content":{{"parts":[{{"text":"a"}}]}},"finishReason":"{word}"}}]}}"#
        )));
        let heard = hear(&provider, call(&provider, request(chat(), false, None))).await.unwrap();
        assert_eq!(heard.finished, [(0, expected)], "{word}");
        assert_eq!(heard.usage, None, "nothing was said of tokens");
    }
    server.script().then(exact(r#"{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL"}]}"#));
    let error = hear(&provider, call(&provider, request(chat(), false, None))).await.unwrap_err();
    assert_eq!(error.kind, BackendErrorKind::Failed);
    assert!(error.message.contains("MALFORMED_FUNCTION_CALL"), "{error}");

    server.script().then(exact(
        r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":7}}"#,
    ));
    let heard = hear(&provider, call(&provider, request(chat(), false, None))).await.unwrap();
    assert_eq!(heard.finished, [(0, FinishReason::ContentFilter)]);
    assert_eq!(heard.usage.unwrap().prompt_tokens, 7);
}

#[tokio::test]
async fn a_stop_text_ends_an_answer_and_json_follows_a_schema() {
    let (server, provider) = gemini(Turn::text("one two three")).await;
    let mut asked = Chat { messages: vec![Message::text(Role::User, "count")], ..Chat::default() };
    asked.sampling.stop = vec![" three".into()];
    asked.output = OutputFormat::JsonObject;
    let heard = hear(&provider, call(&provider, request(Task::Chat(asked), true, None))).await.unwrap();
    assert_eq!(heard.text(), "one two");
    assert_eq!(heard.finished, [(0, FinishReason::Stop)], "which text it was the API does not tell");
    assert_eq!(body(&server.http().seen()[0])["generationConfig"]["responseMimeType"], "application/json");
}

#[tokio::test]
async fn system_text_alone_is_no_conversation_here() {
    let (server, provider) = gemini(Turn::text("")).await;
    let asked = Chat { messages: vec![Message::text(Role::System, "be brief")], ..Chat::default() };
    let error = hear(&provider, call(&provider, request(Task::Chat(asked), true, None))).await.unwrap_err();
    assert_eq!(error.kind, BackendErrorKind::InvalidRequest { field: Some("messages".into()) });
    assert_eq!(server.stats().accepted, 0);
}

#[tokio::test]
async fn tokens_are_counted_with_system_text() {
    let (server, provider) = gemini(Turn::text("")).await;
    let messages = vec![Message::text(Role::System, "be brief"), Message::text(Role::User, "hi you")];
    let task = Task::Chat(Chat { messages, ..Chat::default() });
    let made = call(&provider, request(task, false, None));
    assert_eq!(provider.count_tokens(made).await.unwrap(), 4);
    assert_eq!(server.http().seen()[0].path, "/v1beta/models/gemini-2.5-sim:countTokens");
}

#[tokio::test]
async fn vectors_come_in_order_and_of_length_one() {
    let (server, provider) = gemini(Turn::text("")).await;
    let embedding = |count: usize| {
        let inputs = (0..count).map(|i| PromptText::Text(format!("text {}", i % 2))).collect();
        Task::Embedding(Embedding { inputs, dimensions: Some(4) })
    };
    let made = call(&provider, request(embedding(3), false, None));
    let (vectors, usage) = provider.embed(made).await.unwrap();
    assert_eq!((vectors.len(), vectors[0].len()), (3, 4));
    assert_eq!(usage, Usage::default(), "the API says nothing of tokens here");
    assert!(vectors[0] == vectors[2] && vectors[0] != vectors[1]);
    for vector in vectors {
        assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
    }
    let error = provider.embed(call(&provider, request(embedding(101), false, None))).await.unwrap_err();
    assert_eq!(error.message, "`cloud/gemini-2.5-sim` takes at most 100 inputs in one call");
    assert_eq!(server.stats().requests, 1);
}

#[tokio::test]
async fn a_probe_needs_the_key_and_sends_no_prompt() {
    let (server, provider) = gemini(Turn::text("")).await;
    assert_eq!(provider.probe(&Default::default()).await.unwrap(), ["gemini-2.5-sim", "gemini-3-sim"]);
    assert_eq!(server.http().seen()[0].path, "/v1beta/models");
}

#[tokio::test]
async fn errors_of_the_api_are_understood() {
    let (server, provider) = gemini(Turn::text("")).await;
    let made = |stream| call(&provider, request(chat(), stream, None));
    let limited = r#"{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"3s"}]}}"#;
    let exact = Reply::Exact { status: 429, headers: Vec::new(), body: limited.into() };
    server.script().then(Turn::of(exact));
    let refused = hear(&provider, made(true)).await.unwrap_err();
    assert_eq!(refused.kind, BackendErrorKind::RateLimited);
    assert_eq!(refused.retry_after.unwrap().as_secs(), 3);

    let overloaded = |at_event| {
        Turn::text("one two three").with_fault(Fault::ErrorEvent { at_event, kind: "UNAVAILABLE".into() })
    };
    server.script().then(overloaded(0));
    assert_eq!(hear(&provider, made(true)).await.unwrap_err().kind, BackendErrorKind::Overloaded);
    server.script().then(overloaded(2));
    let late = hear(&provider, made(true)).await.unwrap();
    let error = late.error.as_ref().unwrap();
    assert_eq!((late.text(), error.kind.clone()), ("one two", BackendErrorKind::Overloaded));

    let long = Chat { messages: vec![Message::text(Role::User, "word ".repeat(5000))], ..Chat::default() };
    let error = hear(&provider, call(&provider, request(Task::Chat(long), true, None))).await.unwrap_err();
    assert_eq!(error.kind, BackendErrorKind::ContextExceeded { prompt: 5001, window: 4096 });

    let (_server, provider) = gemini_with("gemini-none", Turn::text("")).await;
    let error = hear(&provider, call(&provider, request(chat(), false, None))).await.unwrap_err();
    assert_eq!(error.kind, BackendErrorKind::ModelNotFound);
}
