//! OpenAI's dialect handed on unchanged.

use inshore_domain::request::{Chat, Completion, Dialect, Embedding, Message, PromptText, Role, Task};
use inshore_domain::{Capability, Embedder, FinishReason, Usage};
use inshore_providers::{BatchOptions, Batcher};
use inshore_sim::{Reply, Tokens, Turn};

use crate::rig::*;

const BODY: &str = r#"{ "messages" : [ {"role":"user","content":"say \"model\": hello"} ],  "temperature":0.70, "model":"auto" }"#;
const STREAMED: &str = r#"{"model":"auto","messages":[{"role":"user","content":"hi"}],"stream":true}"#;

fn chat() -> Task {
    Task::Chat(Chat { messages: vec![Message::text(Role::User, "hi")], ..Chat::default() })
}

fn tokens() -> Tokens {
    Tokens { prompt: 30, cached: 20, written: 0, output: 4 }
}

#[tokio::test]
async fn a_body_in_the_same_dialect_arrives_with_only_the_model_changed() {
    let (server, provider) = openai(Turn::text("Hello there").with_tokens(tokens())).await;
    let call = call(&provider, request(chat(), false, Some((Dialect::OpenAiChat, BODY))));
    let egress = call.egress.clone();
    let heard = hear(&provider, call).await.unwrap();

    let seen = server.http().seen().remove(0);
    assert_eq!(seen.body, BODY.replace("\"auto\"", "\"sim-large\""));
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/v1/chat/completions"));
    assert_eq!(seen.headers["authorization"], "Bearer sk-sim");
    assert!(!seen.headers.contains_key("traceparent"), "a cloud does not learn our trace");
    assert_eq!((heard.model.as_str(), heard.text()), ("sim-large", "Hello there"));
    assert_eq!(heard.finished, [(0, FinishReason::Stop)]);
    let usage = Usage { prompt_tokens: 30, cached_tokens: 20, output_tokens: 4, ..Usage::default() };
    assert_eq!(heard.usage, Some(usage));
    let wire: serde_json::Value = serde_json::from_slice(&heard.wire).unwrap();
    assert_eq!(wire["choices"][0]["message"]["content"], "Hello there");

    // The record counts the head and the body, to the byte.
    let record = egress.snapshot().remove(0);
    let head: usize = seen.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let line = "POST /v1/chat/completions HTTP/1.1\r\n".len();
    assert_eq!(record.bytes_out as usize, line + head + 2 + seen.body.len());
    assert!(record.bytes_in as usize > heard.wire.len());
    assert_eq!(record.destination, server.http().address().to_string());
}

#[tokio::test]
async fn a_stream_is_handed_on_without_the_counts_that_nobody_asked_for() {
    let (server, provider) = openai(Turn::text("one two three").with_tokens(tokens())).await;
    let call = call(&provider, request(chat(), true, Some((Dialect::OpenAiChat, STREAMED))));
    let heard = hear(&provider, call).await.unwrap();
    assert_eq!(heard.error, None);
    assert_eq!(heard.text(), "one two three");
    assert_eq!(heard.usage.unwrap().cached_tokens, 20, "we have the counts");
    assert!(!heard.wire_text().contains("\"choices\":[]"), "the caller has not: {}", heard.wire_text());
    assert!(heard.wire_text().ends_with("data: [DONE]\n\n"));
    assert_eq!(heard.wire_text().matches("data: ").count(), 6);
    let sent = String::from_utf8(server.http().seen()[0].body.to_vec()).unwrap();
    let asked = r#","stream_options":{"include_usage":true}}"#;
    assert_eq!(sent, STREAMED.replace("auto", "sim-large").replace("true}", &format!("true{asked}")));
}

#[tokio::test]
async fn a_stream_with_counts_asked_for_is_handed_on_byte_for_byte() {
    let body = STREAMED.replace("true}", r#"true,"stream_options":{"include_usage":true}}"#);
    let (server, provider) = openai(Turn::text("one two").with_tokens(tokens())).await;
    let call = call(&provider, request(chat(), true, Some((Dialect::OpenAiChat, &body))));
    let heard = hear(&provider, call).await.unwrap();
    assert!(heard.wire_text().contains("\"choices\":[]"));
    assert_eq!(server.http().seen()[0].body, body.replace("auto", "sim-large"));
}

#[tokio::test]
async fn hints_stay_here() {
    let body = r#"{"model":"auto","metadata":{"inshore_feature":"mail","job":"7"},"pin":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let (server, provider) = openai(Turn::text("ok")).await;
    hear(&provider, call(&provider, request(chat(), false, Some((Dialect::OpenAiChat, body)))))
        .await
        .unwrap();
    let sent = r#"{"model":"sim-large","metadata":{"job":"7"},"messages":[{"role":"user","content":"hi"}]}"#;
    assert_eq!(server.http().seen()[0].body, sent);
}

#[tokio::test]
async fn one_connection_serves_call_after_call() {
    let (server, provider) = openai(Turn::text("one two three four")).await;
    provider.warm().await.unwrap();
    for stream in [true, false, true, true, false] {
        let body = if stream { STREAMED } else { BODY };
        let call = call(&provider, request(chat(), stream, Some((Dialect::OpenAiChat, body))));
        assert_eq!(hear(&provider, call).await.unwrap().text(), "one two three four");
    }
    assert_eq!(server.stats().accepted, 1);
    assert_eq!(server.stats().carried_out, 5);
}

#[tokio::test]
async fn parallel_calls_do_not_wait_for_each_other() {
    let (server, provider) = openai(Turn::text("word ".repeat(50))).await;
    let calls = (0..40).map(|i| {
        let body = if i % 2 == 0 { STREAMED } else { BODY };
        hear(&provider, call(&provider, request(chat(), i % 2 == 0, Some((Dialect::OpenAiChat, body)))))
    });
    for heard in futures_util::future::join_all(calls).await {
        assert_eq!(heard.unwrap().text(), "word ".repeat(50));
    }
    assert!(server.stats().accepted <= 40);
}

#[tokio::test]
async fn tool_calls_and_thinking_are_heard_in_streams_and_whole() {
    let calls = vec![("find".to_owned(), r#"{"q":"ä"}"#.to_owned()), ("now".to_owned(), "{}".to_owned())];
    for stream in [true, false] {
        let body = if stream { STREAMED } else { BODY };
        let (server, provider) = openai(Turn::of(Reply::Calls(calls.clone()))).await;
        let made = call(&provider, request(chat(), stream, Some((Dialect::OpenAiChat, body))));
        let heard = hear(&provider, made).await.unwrap();
        let expected = [
            ("call_sim_0".into(), "find".into(), r#"{"q":"ä"}"#.into()),
            ("call_sim_1".into(), "now".into(), "{}".into()),
        ];
        assert_eq!(heard.calls, expected);
        assert_eq!(heard.finished, [(0, FinishReason::ToolCalls)]);

        server.script().otherwise(Turn::of(Reply::Thought { thinking: "hm hm".into(), text: "yes".into() }));
        let made = call(&provider, request(chat(), stream, Some((Dialect::OpenAiChat, body))));
        let heard = hear(&provider, made).await.unwrap();
        assert_eq!((heard.thinking.as_str(), heard.text()), ("hm hm", "yes"));
    }
}

#[tokio::test]
async fn completions_are_handed_on_too() {
    let (server, provider) = openai(Turn::text("b c")).await;
    let task =
        Task::Completion(Completion { prompts: vec![PromptText::Text("a".into())], ..Completion::default() });
    let body = r#"{"prompt":"a","model":"auto","n":2,"stream":true}"#;
    let made = call(&provider, request(task, true, Some((Dialect::OpenAiCompletions, body))));
    let heard = hear(&provider, made).await.unwrap();
    assert_eq!(heard.texts, ["b c", "b c"]);
    assert_eq!(heard.finished, [(0, FinishReason::Stop), (1, FinishReason::Stop)]);
    assert_eq!(server.http().seen()[0].path, "/v1/completions");
}

#[tokio::test]
async fn vectors_come_in_order_and_of_length_one() {
    let (server, provider) = openai_with(Default::default(), Turn::text(""), |options| {
        options.target = target("sim-large", &[Capability::Embeddings]).into();
    })
    .await;
    let texts = ["first", "second", "first"];
    let inputs = texts.map(|text| PromptText::Text(text.into())).to_vec();
    let task = Task::Embedding(Embedding { inputs, dimensions: Some(4) });
    let (vectors, usage) = provider.embed(call(&provider, request(task, false, None))).await.unwrap();
    assert_eq!((vectors.len(), vectors[0].len(), usage.prompt_tokens), (3, 4, 3));
    assert_eq!(vectors[0], vectors[2]);
    assert_ne!(vectors[0], vectors[1]);
    for vector in vectors {
        assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
    }
    assert_eq!(server.http().seen()[0].path, "/v1/embeddings");
}

#[tokio::test]
async fn small_requests_for_vectors_share_a_call() {
    let (server, provider) = openai_with(Default::default(), Turn::text(""), |options| {
        options.target = target("sim-large", &[Capability::Embeddings]).into();
    })
    .await;
    let provider = std::sync::Arc::new(provider);
    // Three inputs are enough, so that nobody waits for the end of the window.
    let options = BatchOptions { window: std::time::Duration::from_secs(60), inputs: 3, across_apps: false };
    let batcher = Batcher::new(provider.clone(), options);
    let ask = |text: &str| {
        let inputs = vec![PromptText::Text(text.into())];
        let task = Task::Embedding(Embedding { inputs, dimensions: None });
        batcher.embed(call(&provider, request(task, false, None)))
    };
    let (one, two, three) = tokio::join!(ask("first"), ask("second"), ask("first"));
    let (one, two, three) = (one.unwrap(), two.unwrap(), three.unwrap());
    assert!(one.0 == three.0 && one.0 != two.0);
    assert_eq!([one.1, two.1, three.1].map(|usage| usage.prompt_tokens), [1, 1, 1]);
    assert_eq!(server.stats().carried_out, 1);
}

#[tokio::test]
async fn a_probe_needs_the_key_and_sends_no_prompt() {
    let (server, provider) = openai(Turn::text("")).await;
    assert_eq!(provider.probe(&Default::default()).await.unwrap(), ["sim-large"]);
    assert_eq!(server.http().seen()[0].path, "/v1/models");
    assert!(server.http().seen()[0].body.is_empty());
}
