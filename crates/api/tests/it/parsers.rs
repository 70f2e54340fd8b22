//! Foreign bytes never panic: each body is admitted or refused with a 4xx and a sentence.

use inshore_api::parsers;
use proptest::prelude::*;

type Parser = fn(&[u8]) -> Result<(), (u16, String)>;

const PARSERS: [Parser; 6] = [
    parsers::openai_chat,
    parsers::openai_completions,
    parsers::openai_responses,
    parsers::openai_embeddings,
    parsers::anthropic_messages,
    parsers::anthropic_count_tokens,
];

/// Keys that mean something, so that arbitrary JSON gets past the first one.
const KEYS: [&str; 44] = [
    "model",
    "messages",
    "role",
    "content",
    "type",
    "text",
    "tools",
    "function",
    "name",
    "parameters",
    "input_schema",
    "tool_choice",
    "stream",
    "stream_options",
    "include_usage",
    "n",
    "stop",
    "max_tokens",
    "temperature",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "response_format",
    "json_schema",
    "schema",
    "input",
    "prompt",
    "system",
    "source",
    "tool_use_id",
    "tool_calls",
    "call_id",
    "output",
    "arguments",
    "id",
    "metadata",
    "thinking",
    "cache_control",
    "pin",
    "adapters",
    "image_url",
    "url",
    "format",
    "suffix",
];

const WORDS: [&str; 22] = [
    "user",
    "assistant",
    "system",
    "tool",
    "text",
    "image",
    "tool_use",
    "tool_result",
    "function",
    "auto",
    "none",
    "required",
    "json_schema",
    "input_text",
    "message",
    "function_call",
    "function_call_output",
    "ephemeral",
    "base64",
    "tiny",
    "data:image/png;base64,",
    "",
];

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        (-3i64..20).prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        prop::sample::select(&WORDS[..]).prop_map(Into::into),
        ".{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        let key = prop_oneof![9 => prop::sample::select(&KEYS[..]).prop_map(str::to_owned), 1 => ".{0,6}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            prop::collection::vec((key, inner), 0..8)
                .prop_map(|pairs| serde_json::Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// Checks that a verdict is one that a caller can use.
fn check(body: &[u8]) -> Result<(), TestCaseError> {
    for parser in PARSERS {
        if let Err((status, message)) = parser(body) {
            prop_assert!((400..500).contains(&status), "{status}");
            prop_assert!(!message.is_empty() && message.chars().count() < 3_000, "{message}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(body in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&body)?;
    }

    #[test]
    fn any_json(body in json()) {
        check(body.to_string().as_bytes())?;
    }

    /// A good body with one place overwritten: near misses reach deeper than noise.
    #[test]
    fn damaged_bodies(which in 0..4usize, at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let mut body = GOOD[which].as_bytes().to_vec();
        let place = at.index(body.len());
        body[place] = with;
        check(&body)?;
    }

    /// A good body with one value replaced.
    #[test]
    fn replaced_values(which in 0..4usize, key in prop::sample::select(&KEYS[..]), value in json()) {
        let mut body: serde_json::Value = serde_json::from_str(GOOD[which]).unwrap();
        body[key] = value;
        check(body.to_string().as_bytes())?;
    }
}

const GOOD: [&str; 4] = [
    r#"{"model":"tiny","messages":[{"role":"user","content":[{"type":"text","text":"Hi"}]}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"tool_choice":"auto","stop":["a"],"logit_bias":{"1":2},"stream":true,"stream_options":{"include_usage":true}}"#,
    r#"{"model":"tiny","prompt":["a","b"],"suffix":"c","max_tokens":3,"logprobs":2}"#,
    r#"{"model":"tiny","input":[{"role":"user","content":"Hi"},{"type":"function_call","call_id":"a","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"a","output":"x"}]}"#,
    r#"{"model":"tiny","max_tokens":5,"system":[{"type":"text","text":"S","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"x"}]}]}"#,
];

#[test]
fn the_good_bodies_are_admitted() {
    let parsers: [Parser; 4] = [
        parsers::openai_chat,
        parsers::openai_completions,
        parsers::openai_responses,
        parsers::anthropic_messages,
    ];
    for (parser, body) in parsers.into_iter().zip(GOOD) {
        assert_eq!(parser(body.as_bytes()), Ok(()), "{body}");
    }
}

#[test]
fn deep_and_wide_bodies_are_refused_without_a_stack() {
    let deep = format!(r#"{{"model":"tiny","messages":{}"#, "[".repeat(1_000_000));
    let deep_schema = format!(
        r#"{{"model":"tiny","messages":[{{"role":"user","content":"x"}}],"tools":[{{"type":"function","function":{{"name":"f","parameters":{}1{}}}}}]}}"#,
        "{\"a\":".repeat(100_000),
        "}".repeat(100_000)
    );
    let deep_metadata = format!(
        r#"{{"model":"tiny","input":"x","metadata":{}{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let many = format!(
        r#"{{"model":"tiny","messages":[{}]}}"#,
        vec![r#"{"role":"user","content":"x"}"#; 20_000].join(",")
    );
    for body in [deep, deep_schema, many] {
        for parser in PARSERS {
            assert!(parser(body.as_bytes()).is_err());
        }
    }
    for parser in PARSERS {
        let _ = parser(deep_metadata.as_bytes());
    }
}
