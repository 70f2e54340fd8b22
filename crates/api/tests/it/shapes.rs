//! Every shape of an answer, whole and streamed, in all four dialects.

use inshore_domain::event::{Delta, TokenLogprob};
use inshore_domain::{Event, FinishReason};
use insta::assert_snapshot;

use crate::scripted::{Script, Scripted, delta, finished, text, usage};
use crate::server::{Running, settings, start};

fn plain() -> Scripted {
    Ok(vec![text(0, "Good "), text(0, "morning."), finished(FinishReason::Stop), usage()])
}

fn thinking() -> Scripted {
    Ok(vec![
        delta(Delta::Reasoning("They greet.".to_owned())),
        text(0, "Hello."),
        finished(FinishReason::Length),
        usage(),
    ])
}

fn calling() -> Scripted {
    let call = |call: u32, id: &str, city: &str| {
        [
            delta(Delta::ToolCall { call, id: id.to_owned(), name: "weather".to_owned() }),
            delta(Delta::ToolArguments { call, fragment: "{\"city\":".to_owned() }),
            delta(Delta::ToolArguments { call, fragment: format!("\"{city}\"}}") }),
        ]
    };
    let mut events = vec![text(0, "Let me look.")];
    events.extend(call(0, "call_1", "Oslo"));
    events.extend(call(1, "call_2", "Bergen"));
    events.extend([finished(FinishReason::ToolCalls), usage()]);
    Ok(events)
}

fn with_logprobs() -> Scripted {
    let token = |bytes: &[u8], logprob: f32| TokenLogprob {
        bytes: bytes.to_vec(),
        id: Some(1),
        logprob,
        top: vec![(bytes.to_vec(), logprob), (b"no".to_vec(), f32::NEG_INFINITY)],
    };
    let piece = |text: &str, logprobs| delta(Delta::Text { text: text.to_owned(), logprobs });
    Ok(vec![
        piece("yes", vec![token(b"yes", -0.25)]),
        piece("", vec![token(&[0xe2, 0x82], -1.5)]),
        piece("€", vec![token(&[0xac], -0.5)]),
        finished(FinishReason::Stop),
        usage(),
    ])
}

fn always(script: fn() -> Scripted) -> Script {
    Box::new(move |_| script())
}

type Named = (&'static str, fn() -> Scripted);

const SCRIPTS: [Named; 4] =
    [("plain", plain), ("thinking", thinking), ("calling", calling), ("logprobs", with_logprobs)];

const CHAT: &str = r#"{"model":"tiny","messages":[{"role":"user","content":"Hi"}]"#;
const COMPLETION: &str = r#"{"model":"tiny","prompt":"Hi""#;
const RESPONSE: &str = r#"{"model":"tiny","input":"Hi""#;
const MESSAGES: &str = r#"{"model":"tiny","max_tokens":16,"messages":[{"role":"user","content":"Hi"}]"#;

/// The whole answer and the stream of each script, as one snapshot a script.
async fn check(route: &str, path: &str, request: &str, streamed: &str, extra: fn(&str) -> &'static str) {
    let server = start(always(plain)).await;
    for (name, script) in SCRIPTS {
        server.backend.set(always(script));
        let request = format!("{request}{}", extra(name));
        let whole = server.post(path, &format!("{request}}}")).await;
        assert_eq!(
            (whole.status, whole.header("content-type")),
            (200, Some("application/json")),
            "{}",
            whole.body
        );
        let stream = server.post(path, &format!("{request},\"stream\":true{streamed}}}")).await;
        assert_eq!(
            stream.header("content-type"),
            Some("text/event-stream; charset=utf-8"),
            "{}",
            stream.body
        );
        let pretty = serde_json::to_string_pretty(&whole.json()).expect("JSON");
        settings()
            .bind(|| assert_snapshot!(format!("{route}_{name}"), format!("{pretty}\n\n{}", stream.body)));
    }
    server.stop().await;
}

#[tokio::test]
async fn chat_completions() {
    let extra = |name: &str| if name == "logprobs" { r#","logprobs":true,"top_logprobs":2"# } else { "" };
    check("chat", "/v1/chat/completions", CHAT, r#","stream_options":{"include_usage":true}"#, extra).await;
}

#[tokio::test]
async fn completions() {
    let extra = |name: &str| if name == "logprobs" { r#","logprobs":2"# } else { "" };
    check("completions", "/v1/completions", COMPLETION, r#","stream_options":{"include_usage":true}"#, extra)
        .await;
}

#[tokio::test]
async fn responses() {
    let extra = |name: &str| match name {
        "logprobs" => r#","include":["message.output_text.logprobs"],"top_logprobs":2"#,
        "calling" => {
            r#","instructions":"Be brief.","metadata":{"a":"b"},"tools":[{"type":"function","name":"weather","parameters":{"type":"object"},"strict":false}]"#
        }
        _ => "",
    };
    check("responses", "/v1/responses", RESPONSE, "", extra).await;
}

#[tokio::test]
async fn messages() {
    check("messages", "/v1/messages", MESSAGES, "", |_| "").await;
}

#[tokio::test]
async fn several_answers_and_a_stop_text() {
    let script = || {
        let finish = |index, reason| Ok(Event::Finished { index, reason });
        Ok(vec![
            text(1, "b"),
            text(0, "a"),
            finish(1, FinishReason::StopText(1)),
            finish(0, FinishReason::Length),
            usage(),
        ])
    };
    let server = start(always(script)).await;
    let body = format!(r#"{CHAT},"n":2,"stop":["x","END"],"stream":true}}"#);
    let chat = server.post("/v1/chat/completions", &body).await;
    let completion = server.post("/v1/completions", &format!(r#"{COMPLETION},"n":2}}"#)).await;
    let both = format!("{}\n{}", chat.body, completion.body);
    settings().bind(|| assert_snapshot!("several_answers", both));

    server.backend.set(Box::new(|_| Ok(vec![text(0, "a"), finished(FinishReason::StopText(1)), usage()])));
    let stopped = server.post("/v1/messages", &format!(r#"{MESSAGES},"stop_sequences":["x","END"]}}"#)).await;
    let json = stopped.json();
    assert_eq!(
        (json["stop_reason"].as_str(), json["stop_sequence"].as_str()),
        (Some("stop_sequence"), Some("END"))
    );
    server.stop().await;
}

#[tokio::test]
async fn embeddings_in_both_encodings() {
    let server = start(always(plain)).await;
    let floats = server.post("/v1/embeddings", r#"{"model":"tiny","input":["a","b"]}"#).await;
    let packed =
        server.post("/v1/embeddings", r#"{"model":"tiny","input":[1,2],"encoding_format":"base64"}"#).await;
    settings().bind(|| assert_snapshot!("embeddings", format!("{}\n{}", floats.body, packed.body)));
    // 0.6 and 0.8 as little-endian 32-bit floats.
    assert_eq!(packed.json()["data"][0]["embedding"], "mpkZP83MTD8=");
    server.stop().await;
}

#[tokio::test]
async fn models_by_every_name() {
    let server = start(always(plain)).await;
    let openai = server.get("/v1/models").await;
    let one = server.get("/v1/models/device%2Ftiny").await;
    let anthropic = server.send("GET", "/v1/models", &[("anthropic-version", "2023-06-01")], b"").await;
    let all = [openai, one, anthropic].map(|reply| reply.body).join("\n");
    settings().bind(|| assert_snapshot!("models", all));
    let missing = server.get("/v1/models/nothing").await;
    assert_eq!((missing.status, missing.json()["error"]["code"].as_str()), (404, Some("model_not_found")));
    server.stop().await;
}

#[tokio::test]
async fn counting_tokens() {
    let server = start(always(plain)).await;
    let body = r#"{"model":"tiny","system":"S","messages":[{"role":"user","content":"Hi"}]}"#;
    let counted = server.post("/v1/messages/count_tokens", body).await;
    assert_eq!((counted.status, counted.body.as_str()), (200, r#"{"input_tokens":17}"#));
    server.stop().await;
}

#[tokio::test]
async fn every_answer_names_its_receipt() {
    let server = start(always(plain)).await;
    for stream in ["false", "true"] {
        let reply = server.post("/v1/chat/completions", &format!(r#"{CHAT},"stream":{stream}}}"#)).await;
        assert_eq!(reply.header("x-inshore-target"), Some("device/tiny"));
        assert_eq!(reply.header("x-inshore-tier"), Some("device"));
        assert!(reply.header("x-request-id").is_some_and(|id| id.starts_with("req_")));
        let receipt = reply.header("x-inshore-receipt").expect("a receipt").parse().expect("its id");
        let stored =
            server.store().receipt(receipt).await.expect("a store").expect("the receipt is there by now");
        assert_eq!((stored.principal.app.as_str(), stored.usage.cached_tokens), ("test", 8));
    }
    let message = server.post("/v1/messages", &format!("{MESSAGES}}}")).await;
    assert!(message.header("request-id").is_some_and(|id| id.starts_with("req_")));
    server.stop().await;
}

/// What reaches the target.
#[tokio::test]
async fn requests_arrive_in_domain_words() {
    let server = start(always(plain)).await;
    for (name, path, body) in ARRIVALS {
        let reply = server.post(path, body).await;
        assert_eq!(reply.status, 200, "{name}: {}", reply.body);
        let request = server.backend.last();
        assert_eq!(request.original.as_ref().expect("the original").body, body.as_bytes());
        let seen = format!("{:#?}\n{:#?}\n{:#?}", request.principal, request.hints, request.task);
        settings().bind(|| assert_snapshot!(format!("arrives_{name}"), seen));
    }
    server.stop().await;
}

const ARRIVALS: [(&str, &str, &str); 4] = [
    (
        "chat",
        "/v1/chat/completions",
        r#"{"model":"small","messages":[{"role":"developer","content":"Be brief."},
        {"role":"user","content":[{"type":"text","text":"Look"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA==","detail":"low"}}]},
        {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]},
        {"role":"tool","tool_call_id":"c1","content":"42"}],
        "tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"},"strict":true}}],
        "tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":false,
        "response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"},"strict":true}},
        "temperature":0.5,"top_p":0.9,"top_k":-1,"min_p":0.05,"repeat_penalty":1.1,"presence_penalty":-1,"frequency_penalty":1,
        "seed":-1,"stop":"END","logit_bias":{"7":-100},"logprobs":true,"top_logprobs":3,"n":2,"max_completion_tokens":9,
        "ignore_eos":true,"truncate_prompt":true,"adapters":[{"name":"tone"}],"pin":true,"cache_prompt":true,
        "user":"u1","safety_identifier":"u2","store":true,"service_tier":"auto","reasoning_effort":"low",
        "metadata":{"inshore_feature":"reply","inshore_sensitivity":"confidential","ticket":"7"}}"#,
    ),
    (
        "completion",
        "/v1/completions",
        r#"{"model":"auto","prompt":[[1,2],[3]],"suffix":"after","max_tokens":4,"logprobs":1,"stop":["a","b"],"pin":true,"guided_regex":"[0-9]+"}"#,
    ),
    (
        "responses",
        "/v1/responses",
        r#"{"model":"device","instructions":"Be brief.","input":[{"role":"user","content":[{"type":"input_text","text":"Weather?"}]},
        {"type":"reasoning","id":"rs_1","summary":[],"content":[{"type":"reasoning_text","text":"hm"}]},
        {"type":"message","id":"m1","role":"assistant","status":"completed","content":[{"type":"output_text","text":"Looking.","annotations":[]}]},
        {"type":"function_call","id":"fc_1","call_id":"c1","name":"weather","arguments":"{}","status":"completed"},
        {"type":"function_call_output","call_id":"c1","output":"rain"}],
        "tools":[{"type":"function","name":"weather","parameters":{"type":"object"}}],"tool_choice":"required",
        "text":{"format":{"type":"json_object"}},"truncation":"auto","max_output_tokens":5,"store":true}"#,
    ),
    (
        "messages",
        "/v1/messages",
        r#"{"model":"tiny","max_tokens":7,"system":[{"type":"text","text":"Rules."},{"type":"text","text":"More.","cache_control":{"type":"ephemeral"}}],
        "messages":[{"role":"user","content":[{"type":"text","text":"Hi"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}}]},
        {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"Looking."},{"type":"tool_use","id":"t1","name":"f","input":{"a":1}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","is_error":true,"content":[{"type":"text","text":"no"}]},{"type":"text","text":"So?","cache_control":{"type":"ephemeral","ttl":"1h"}}]}],
        "tools":[{"name":"f","description":"d","input_schema":{"type":"object"}}],"tool_choice":{"type":"any","disable_parallel_tool_use":true},
        "temperature":0.5,"top_k":40,"stop_sequences":["END"],"metadata":{"user_id":"u3"},"thinking":{"type":"disabled"}}"#,
    ),
];

/// Marks of what to keep, in each API's own words.
#[tokio::test]
async fn marked_prompts_are_pinned() {
    let server = start(always(plain)).await;
    let marked = r#"{"type":"text","text":"B","prompt_cache_breakpoint":{"mode":"explicit"}}"#;
    let input = r#"{"type":"input_text","text":"B","prompt_cache_breakpoint":{"mode":"explicit"}}"#;
    let anthropic = r#"{"type":"text","text":"B","cache_control":{"type":"ephemeral"}}"#;
    let cases = [
        ("/v1/chat/completions", format!(r#"{{"model":"tiny","messages":[{{"role":"system","content":"A"}},{{"role":"user","content":[{marked}]}},{{"role":"user","content":"C"}}]}}"#), Some(1)),
        ("/v1/chat/completions", r#"{"model":"tiny","pin":2,"messages":[{"role":"user","content":"A"},{"role":"user","content":"B"},{"role":"user","content":"C"}]}"#.to_owned(), Some(2)),
        ("/v1/chat/completions", r#"{"model":"tiny","pin":true,"messages":[{"role":"user","content":"A"}]}"#.to_owned(), None),
        ("/v1/responses", format!(r#"{{"model":"tiny","instructions":"A","input":[{{"role":"user","content":[{input}]}},{{"role":"user","content":"C"}}]}}"#), Some(1)),
        ("/v1/messages", format!(r#"{{"model":"tiny","max_tokens":5,"messages":[{{"role":"user","content":[{anthropic}]}},{{"role":"assistant","content":"C"}},{{"role":"user","content":"D"}}]}}"#), Some(0)),
        ("/v1/messages", r#"{"model":"tiny","max_tokens":5,"cache_control":{"type":"ephemeral"},"messages":[{"role":"user","content":"A"},{"role":"user","content":"B"}]}"#.to_owned(), Some(0)),
        ("/v1/messages", r#"{"model":"tiny","max_tokens":5,"system":"S","tools":[{"name":"f","input_schema":{},"cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":"A"}]}"#.to_owned(), Some(0)),
    ];
    for (path, body, pinned) in cases {
        let reply = server.post(path, &body).await;
        assert_eq!(reply.status, 200, "{body}: {}", reply.body);
        let request = server.backend.last();
        let inshore_domain::Task::Chat(chat) = &request.task else { panic!("not a chat") };
        assert_eq!(chat.pin_through, pinned, "{body}");
    }
    server.stop().await;
}

/// Keeps the helper's fields in use in every configuration.
#[tokio::test]
async fn the_runtime_knows_the_scripted_target() {
    let server: Running = start(always(plain)).await;
    assert_eq!(server.runtime().targets().len(), 1);
    server.stop().await;
}
