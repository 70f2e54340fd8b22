//! From the domain to a provider's JSON and back.

use inshore_domain::request::{
    Chat, Completion, Dialect, Json, Message, OutputFormat, Part, PromptText, Role, Sampling, Task, Tool,
    ToolCall, ToolChoice,
};
use inshore_domain::{BackendErrorKind, Capability, FinishReason, Tier};
use inshore_sim::Turn;
use serde_json::Value;

use crate::rig::*;

/// A conversation with everything in it that both protocols know.
fn rich_chat() -> Chat {
    let image = |url: &str| Part::Image { url: url.into() };
    let mut look = Message::text(Role::User, "Look at these.");
    look.content.push(image("data:image/png;base64,iVBORw0KGgo="));
    look.content.push(image("https://example.test/cat.png"));
    let mut asks = Message::text(Role::Assistant, "I will look it up.");
    for (id, arguments) in [("call_1", r#"{"city": "Köln"}"#), ("call_2", "")] {
        asks.tool_calls.push(ToolCall { id: id.into(), name: "weather".into(), arguments: arguments.into() });
    }
    let result =
        |id: &str, text: &str| Message { tool_call_id: Some(id.into()), ..Message::text(Role::Tool, text) };
    Chat {
        messages: vec![
            Message::text(Role::System, "Be brief."),
            look,
            asks,
            result("call_1", "rain"),
            result("call_2", "sun"),
            Message::text(Role::User, "And?"),
        ],
        tools: vec![Tool {
            name: "weather".into(),
            description: Some("Tells the weather.".into()),
            parameters: Some(Json(r#"{"type":"object","properties":{"city":{"type":"string"}}}"#.into())),
            strict: true,
        }],
        tool_choice: ToolChoice::Function("weather".into()),
        parallel_tool_calls: Some(false),
        sampling: Sampling {
            max_tokens: Some(64),
            temperature: Some(0.5),
            top_p: Some(0.25),
            stop: vec!["END".into()],
            ..Sampling::default()
        },
        output: OutputFormat::JsonSchema {
            name: "answer".into(),
            schema: Json(r#"{"type": "object"}"#.into()),
        },
        pin_through: Some(0),
    }
}

fn body(seen: &inshore_sim::Seen) -> Value {
    serde_json::from_slice(&seen.body).unwrap()
}

#[tokio::test]
async fn a_conversation_in_openais_words() {
    let (server, provider) = openai(Turn::text("Sun.")).await;
    let mut chat = rich_chat();
    chat.sampling.seed = Some(5);
    chat.sampling.presence_penalty = Some(0.5);
    chat.sampling.logit_bias = vec![(17, -100.0)];
    chat.sampling.logprobs = Some(2);
    chat.sampling.n = 2;
    let heard = hear(&provider, call(&provider, request(Task::Chat(chat), true, None))).await.unwrap();
    assert_eq!(heard.texts, ["Sun.", "Sun."]);
    assert_eq!((heard.logprobs, heard.wire.len()), (2, 0));
    insta::assert_json_snapshot!(body(&server.http().seen()[0]));
}

#[tokio::test]
async fn a_conversation_in_anthropics_words() {
    let (server, provider) = anthropic(Turn::text("Sun.")).await;
    let mut chat = rich_chat();
    chat.sampling.top_k = Some(40);
    let heard = hear(&provider, call(&provider, request(Task::Chat(chat), true, None))).await.unwrap();
    assert_eq!((heard.text(), heard.wire.len()), ("Sun.", 0));
    insta::assert_json_snapshot!(body(&server.http().seen()[0]));
}

#[tokio::test]
async fn a_conversation_in_geminis_words() {
    let (server, provider) = gemini(Turn::text("Sun.")).await;
    let mut chat = rich_chat();
    chat.parallel_tool_calls = None;
    chat.sampling.top_k = Some(40);
    chat.sampling.seed = Some(0x1_8000_0005);
    chat.sampling.presence_penalty = Some(0.5);
    chat.sampling.logprobs = Some(2);
    chat.sampling.n = 2;
    let heard = hear(&provider, call(&provider, request(Task::Chat(chat), true, None))).await.unwrap();
    assert_eq!(heard.texts, ["Sun.", "Sun."]);
    assert_eq!((heard.logprobs, heard.wire.len()), (2, 0));
    insta::assert_json_snapshot!(body(&server.http().seen()[0]));
}

#[tokio::test]
async fn a_completion_in_openais_words() {
    let sim = inshore_sim::openai::Options { strict_parameters: false, ..Default::default() };
    let (server, provider) = openai_with(sim, Turn::text(" up on a time"), |options| {
        let able = [Capability::ExtendedSampling, Capability::Grammar, Capability::TokenPrompts];
        options.target = target("sim-large", &able).into();
    })
    .await;
    let task = Completion {
        prompts: vec![PromptText::Text("Once".into())],
        suffix: Some("the end".into()),
        output: OutputFormat::Grammar("root ::= \" up\"".into()),
        sampling: Sampling {
            max_tokens: Some(2),
            top_k: Some(40),
            min_p: Some(0.25),
            repetition_penalty: Some(1.5),
            logprobs: Some(1),
            ..Sampling::default()
        },
        ..Completion::default()
    };
    let made = call(&provider, request(Task::Completion(task), false, None));
    let heard = hear(&provider, made).await.unwrap();
    assert_eq!((heard.text(), heard.logprobs), (" up on", 2));
    assert_eq!(heard.finished, [(0, FinishReason::Length)]);
    insta::assert_json_snapshot!(body(&server.http().seen()[0]));
}

#[tokio::test]
async fn one_protocol_answers_the_other() {
    let body = r#"{"model":"auto","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
    let chat = || Task::Chat(Chat { messages: vec![Message::text(Role::User, "hi")], ..Chat::default() });
    let (_anthropic, to_anthropic) = anthropic(Turn::call("find", r#"{"q":1}"#)).await;
    let (_openai, to_openai) = openai(Turn::call("find", r#"{"q":1}"#)).await;
    let (_gemini, to_gemini) = gemini(Turn::call("find", r#"{"q":1}"#)).await;
    for stream in [true, false] {
        for (provider, dialect) in [
            (&to_anthropic, Dialect::OpenAiChat),
            (&to_openai, Dialect::AnthropicMessages),
            (&to_gemini, Dialect::OpenAiResponses),
        ] {
            let heard =
                hear(provider, call(provider, request(chat(), stream, Some((dialect, body))))).await.unwrap();
            assert_eq!((heard.calls[0].1.as_str(), heard.calls[0].2.as_str()), ("find", r#"{"q":1}"#));
            assert_eq!(heard.finished, [(0, FinishReason::ToolCalls)]);
            assert!(heard.wire.is_empty(), "bytes of another dialect are nobody's");
        }
    }
}

#[tokio::test]
async fn what_a_target_does_not_know_is_refused_by_name_before_anything_is_sent() {
    let (openai_server, to_openai) = openai(Turn::text("no")).await;
    let (anthropic_server, to_anthropic) = anthropic(Turn::text("no")).await;
    let (gemini_server, to_gemini) = gemini(Turn::text("no")).await;
    let sampling = |change: fn(&mut Sampling)| {
        let mut sampling = Sampling::default();
        change(&mut sampling);
        Task::Chat(Chat { messages: vec![Message::text(Role::User, "hi")], sampling, ..Chat::default() })
    };
    for (name, change) in [
        ("top_k", (|s| s.top_k = Some(1)) as fn(&mut Sampling)),
        ("min_p", |s| s.min_p = Some(0.1)),
        ("repetition_penalty", |s| s.repetition_penalty = Some(1.1)),
        ("ignore_eos", |s| s.ignore_eos = true),
        ("adapters", |s| s.adapters = vec![("a".into(), 1.0)]),
        ("truncate_prompt", |s| s.truncate_prompt = true),
    ] {
        let error =
            hear(&to_openai, call(&to_openai, request(sampling(change), false, None))).await.unwrap_err();
        assert_eq!(
            (error.kind, error.message),
            (BackendErrorKind::Unsupported, format!("`cloud/sim-large` does not know `{name}`"))
        );
    }
    for (name, change) in [
        ("seed", (|s| s.seed = Some(1)) as fn(&mut Sampling)),
        ("n", |s| s.n = 2),
        ("logprobs", |s| s.logprobs = Some(0)),
        ("presence_penalty", |s| s.presence_penalty = Some(0.1)),
        ("temperature", |s| s.temperature = Some(1.5)),
        ("logit_bias", |s| s.logit_bias = vec![(1, 1.0)]),
    ] {
        let made = call(&to_anthropic, request(sampling(change), false, None));
        let egress = made.egress.clone();
        let error = hear(&to_anthropic, made).await.unwrap_err();
        assert!(error.message.ends_with(&format!("`{name}`")), "{error}");
        assert!(egress.snapshot().is_empty(), "nothing was sent");
    }
    for (name, change) in [
        ("min_p", (|s| s.min_p = Some(0.1)) as fn(&mut Sampling)),
        ("repetition_penalty", |s| s.repetition_penalty = Some(1.1)),
        ("logit_bias", |s| s.logit_bias = vec![(1, 1.0)]),
        ("ignore_eos", |s| s.ignore_eos = true),
        ("adapters", |s| s.adapters = vec![("a".into(), 1.0)]),
    ] {
        let made = call(&to_gemini, request(sampling(change), true, None));
        let error = hear(&to_gemini, made).await.unwrap_err();
        assert_eq!(error.message, format!("`cloud/gemini-2.5-sim` does not know `{name}`"));
    }
    let accepted = [openai_server.stats(), anthropic_server.stats(), gemini_server.stats()];
    assert!(accepted.iter().all(|stats| stats.accepted == 0), "not even a connection");
}

#[tokio::test]
async fn an_edge_node_learns_the_trace() {
    let (server, provider) = openai_with(Default::default(), Turn::text("ok"), |options| {
        let mut target = target("sim-large", &[]);
        target.tier = Tier::Edge;
        options.target = target.into();
    })
    .await;
    let task = Task::Chat(Chat { messages: vec![Message::text(Role::User, "hi")], ..Chat::default() });
    hear(&provider, call(&provider, request(task, false, None))).await.unwrap();
    let expected = "00-00000000000000000000000000000009-0000000000000007-01";
    assert_eq!(server.http().seen()[0].headers["traceparent"], expected);
}
