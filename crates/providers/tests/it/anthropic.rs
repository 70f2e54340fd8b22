//! Anthropic's dialect handed on unchanged.

use inshore_domain::request::{Chat, Dialect, Message, Role, Sampling, Task};
use inshore_domain::{Backend, BackendErrorKind, FinishReason, Usage};
use inshore_sim::{Fault, Reply, Tokens, Turn};

use crate::rig::*;

const BODY: &str = r#"{"max_tokens": 50,"system":[{"type":"text","text":"be brief","cache_control":{"type":"ephemeral"}}],
 "messages":[{"role":"user","content":"hi"}],"model":"auto"}"#;

fn streamed() -> String {
    BODY.replace("\"auto\"}", "\"auto\",\"stream\":true}")
}

fn chat() -> Task {
    Task::Chat(Chat { messages: vec![Message::text(Role::User, "hi")], ..Chat::default() })
}

#[tokio::test]
async fn a_body_in_the_same_dialect_arrives_with_only_the_model_changed() {
    let tokens = Tokens { prompt: 100, cached: 60, written: 30, output: 2 };
    for stream in [false, true] {
        let body = if stream { streamed() } else { BODY.to_owned() };
        let (server, provider) = anthropic(Turn::text("Hello there").with_tokens(tokens)).await;
        let made = call(&provider, request(chat(), stream, Some((Dialect::AnthropicMessages, &body))));
        let heard = hear(&provider, made).await.unwrap();
        let seen = server.http().seen().remove(0);
        assert_eq!(seen.body, body.replace("auto", "sim-claude"));
        assert_eq!(seen.path, "/v1/messages");
        assert_eq!(seen.headers["x-api-key"], ANTHROPIC_KEY);
        assert_eq!(seen.headers["anthropic-version"], "2023-06-01");
        assert!(!seen.headers.contains_key("authorization"));
        assert_eq!((heard.model.as_str(), heard.text()), ("sim-claude", "Hello there"));
        assert_eq!(heard.finished, [(0, FinishReason::Stop)]);
        let usage = Usage {
            prompt_tokens: 100,
            cached_tokens: 60,
            cache_write_tokens: 30,
            output_tokens: 2,
            reasoning_tokens: 0,
        };
        assert_eq!(heard.usage, Some(usage));
        if stream {
            assert!(heard.wire_text().starts_with("event: message_start\n"));
            assert!(heard.wire_text().contains("event: ping\n"));
            assert!(
                heard.wire_text().ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
            );
        } else {
            assert!(heard.wire_text().contains("\"stop_reason\":\"end_turn\""));
        }
    }
}

#[tokio::test]
async fn tool_calls_and_thinking_are_heard_in_streams_and_whole() {
    let calls =
        vec![("find".to_owned(), r#"{"q":"x"}"#.to_owned()), ("go".to_owned(), r#"{"to":1}"#.to_owned())];
    for stream in [true, false] {
        let body = if stream { streamed() } else { BODY.to_owned() };
        let (server, provider) = anthropic(Turn::of(Reply::Calls(calls.clone()))).await;
        let made = call(&provider, request(chat(), stream, Some((Dialect::AnthropicMessages, &body))));
        let heard = hear(&provider, made).await.unwrap();
        let expected = [
            ("toolu_sim_0".into(), "find".into(), r#"{"q":"x"}"#.into()),
            ("toolu_sim_1".into(), "go".into(), r#"{"to":1}"#.into()),
        ];
        assert_eq!(heard.calls, expected);
        assert_eq!(heard.finished, [(0, FinishReason::ToolCalls)]);

        server.script().otherwise(Turn::of(Reply::Thought { thinking: "hm hm".into(), text: "yes".into() }));
        let made = call(&provider, request(chat(), stream, Some((Dialect::AnthropicMessages, &body))));
        let heard = hear(&provider, made).await.unwrap();
        assert_eq!((heard.thinking.as_str(), heard.text()), ("hm hm", "yes"));
    }
}

#[tokio::test]
async fn the_stop_text_that_ended_an_answer_is_named() {
    let (_server, provider) = anthropic(Turn::text("one two three")).await;
    let sampling = Sampling { stop: vec!["nine".into(), " three".into()], ..Sampling::default() };
    let task =
        Task::Chat(Chat { messages: vec![Message::text(Role::User, "count")], sampling, ..Chat::default() });
    let heard = hear(&provider, call(&provider, request(task, true, None))).await.unwrap();
    assert_eq!(heard.text(), "one two");
    assert_eq!(heard.finished, [(0, FinishReason::StopText(1))]);
}

#[tokio::test]
async fn tokens_are_counted_with_what_the_endpoint_takes() {
    let (server, provider) = anthropic(Turn::text("")).await;
    let made = call(&provider, request(chat(), false, Some((Dialect::AnthropicMessages, &streamed()))));
    assert_eq!(provider.count_tokens(made).await.unwrap(), 3);
    let converted = call(&provider, request(chat(), false, None));
    assert_eq!(provider.count_tokens(converted).await.unwrap(), 1);
    assert_eq!(server.http().seen()[0].path, "/v1/messages/count_tokens");
}

#[tokio::test]
async fn errors_of_the_api_are_understood() {
    let (server, provider) = anthropic(Turn::text("")).await;
    let made = |stream| call(&provider, request(chat(), stream, None));
    server
        .script()
        .then(Turn::refusal(529, "overloaded_error", "Overloaded").with_header("retry-after", "3"));
    let refused = hear(&provider, made(true)).await.unwrap_err();
    assert_eq!(refused.kind, BackendErrorKind::Overloaded);
    assert_eq!(refused.retry_after.unwrap().as_secs(), 3);

    let overloaded = |at_event| {
        Turn::text("one two three")
            .with_fault(Fault::ErrorEvent { at_event, kind: "overloaded_error".into() })
    };
    server.script().then(overloaded(2));
    let early = hear(&provider, made(true)).await.unwrap_err();
    assert_eq!(
        early.kind,
        BackendErrorKind::Overloaded,
        "before the first token another target can be tried"
    );
    server.script().then(overloaded(5));
    let late = hear(&provider, made(true)).await.unwrap();
    assert_eq!(
        (late.text(), late.error.as_ref().unwrap().kind.clone()),
        ("one two", BackendErrorKind::Overloaded)
    );
}
