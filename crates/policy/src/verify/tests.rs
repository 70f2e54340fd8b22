use std::time::Instant;

use inshore_domain::request::{Chat, Json, Message, OutputFormat, Role, Tool, ToolChoice};
use inshore_domain::{FinishReason, Hints, Principal, Request, RequestId, Task, Timestamp, TraceId};
use proptest::prelude::*;

use super::*;

fn request(chat: Chat) -> Request {
    Request {
        id: RequestId::new(Timestamp::from_unix_millis(1), 1),
        trace: TraceId::new(1),
        received_at: Timestamp::from_unix_millis(1),
        admitted: Instant::now(),
        principal: Principal::default(),
        hints: Hints::default(),
        model: "auto".into(),
        task: Task::Chat(chat),
        stream: false,
        original: None,
    }
}

fn asked(question: &str) -> Request {
    request(Chat { messages: vec![Message::text(Role::User, question)], ..Chat::default() })
}

fn found(check: &str, request: &Request, text: &str) -> Found {
    let seen = Seen { text, calls: &[], reason: FinishReason::Stop, logprobs: &[-0.1, -0.2, -5.0, -0.1] };
    check.parse::<Check>().unwrap().look(request, &seen)
}

fn wanting(check: &str, request: &Request, text: &str) -> bool {
    matches!(found(check, request, text), Found::Wanting(_))
}

#[test]
fn checks_are_read_and_written_alike() {
    for text in [
        "finished",
        "schema",
        "tools",
        "length:1-500",
        "pattern:^[A-Z]+$",
        "refusal",
        "repetition",
        "language",
        "code",
        "likely:10:-2.5",
        "agreement",
        "self-judged:70",
    ] {
        assert_eq!(text.parse::<Check>().unwrap().to_string(), text);
    }
    assert_eq!("self-judged".parse::<Check>().unwrap(), Check::SelfJudged(70));
    for text in [
        "",
        "tools:1",
        "length:5",
        "length:5-1",
        "pattern:(",
        "likely:10:1",
        "likely:101:-1",
        "self-judged:x",
    ] {
        assert!(text.parse::<Check>().is_err(), "{text}");
    }
    let large = format!("pattern:{}", "(a{1000}){1000}");
    assert!(large.parse::<Check>().is_err());
}

#[test]
fn a_schema_decides_whether_json_is_sound() {
    let schema = r#"{"type":"object","required":["city"],"properties":{"city":{"type":"string"},"n":{"type":"integer"}}}"#;
    let output = OutputFormat::JsonSchema { name: "place".into(), schema: Json(schema.into()) };
    let asked = request(Chat { output, ..Chat::default() });
    assert_eq!(found("schema", &asked, r#"{"city":"Ulm","n":3}"#), Found::Sound);
    assert_eq!(
        found("schema", &asked, r#"{"city":"Ulm","n":"geheim"}"#),
        Found::Wanting("it does not follow the schema at `/n`".into())
    );
    assert_eq!(found("schema", &asked, "{\"city\":\n"), Found::Wanting("it is not JSON (line 2)".into()));
    let object = request(Chat { output: OutputFormat::JsonObject, ..Chat::default() });
    assert_eq!(found("schema", &object, "{}"), Found::Fine);
    assert!(wanting("schema", &object, "[]"));
    assert_eq!(found("schema", &self::asked("Hi"), "no JSON"), Found::Fine);
}

#[test]
fn tool_calls_are_held_to_what_was_declared() {
    let parameters = r#"{"type":"object","required":["to"],"properties":{"to":{"type":"string"}}}"#;
    let tool = |name: &str| Tool {
        name: name.into(),
        description: None,
        parameters: Some(Json(parameters.into())),
        strict: false,
    };
    let chat = |tool_choice| {
        request(Chat { tools: vec![tool("send"), tool("read")], tool_choice, ..Chat::default() })
    };
    let look = |choice, calls: &[(&str, &str)]| {
        let calls: Vec<(String, String)> =
            calls.iter().map(|(name, arguments)| ((*name).to_owned(), (*arguments).to_owned())).collect();
        let seen = Seen { text: "", calls: &calls, reason: FinishReason::ToolCalls, logprobs: &[] };
        match Check::Tools.look(&chat(choice), &seen) {
            Found::Wanting(why) => why,
            other => format!("{other:?}"),
        }
    };
    let good = ("send", r#"{"to":"ann"}"#);
    assert_eq!(look(ToolChoice::Auto, &[good]), "Sound");
    assert_eq!(look(ToolChoice::Auto, &[]), "Fine");
    assert_eq!(look(ToolChoice::Required, &[]), "it calls no tool, and one must be called");
    assert_eq!(look(ToolChoice::None, &[good]), "it calls a tool, and none may be called");
    assert_eq!(
        look(ToolChoice::Function("read".into()), &[good]),
        "it calls `send`, and `read` must be called"
    );
    assert_eq!(look(ToolChoice::Auto, &[good, ("rm", "{}")]), "it calls a tool that is not declared");
    assert_eq!(look(ToolChoice::Auto, &[("send", "{")]), "the arguments of `send`: it is not JSON (line 1)");
    assert_eq!(look(ToolChoice::Auto, &[("send", "[]")]), "the arguments of `send` are no object");
    assert_eq!(
        look(ToolChoice::Auto, &[("send", r#"{"to":1}"#)]),
        "the arguments of `send`: it does not follow the schema at `/to`"
    );
    assert_eq!(
        look(ToolChoice::Auto, &[("send", "")]),
        "the arguments of `send`: it does not follow the schema at `/`"
    );
}

#[test]
fn prose_that_refuses_repeats_or_changes_its_language() {
    let asked = asked(
        "Please tell me in a few sentences what the committee decided about the budget last Tuesday evening.",
    );
    assert!(wanting("refusal", &asked, "I’m sorry, but I can't help with that."));
    assert!(!wanting("refusal", &asked, "They decided to wait."));
    let loop_ = "the budget was passed and ".repeat(30);
    assert!(wanting("repetition", &asked, &loop_));
    let prose = "The committee met on Tuesday evening to discuss the budget. After a long debate about schools, roads and the new \
        library, its members decided to wait for the auditor's report before they vote, which is expected by the end of the month.";
    assert!(!wanting("repetition", &asked, prose) && !wanting("language", &asked, prose));
    let german = "Der Ausschuss hat sich am Dienstagabend getroffen, um über den Haushalt zu beraten, und beschlossen, mit der \
        Abstimmung zu warten, bis der Bericht der Prüfer vorliegt.";
    assert!(wanting("language", &asked, german));
    let translate = self::asked(
        "Please translate this short report about the committee and its budget into German for our partners.",
    );
    assert!(!wanting("language", &translate, german));
    assert!(!wanting("language", &asked, "Ja."));
}

#[test]
fn code_that_is_cut_off_cannot_be_read() {
    let asked = asked("code");
    let block = |language: &str, body: &str| format!("Here:\n```{language}\n{body}\n```\nDone.");
    for (language, body) in [
        ("json", "{\"a\": 1}"),
        ("toml", "[a]\nb = 1"),
        ("rust", "fn f<'a>(x: &'a str) -> char { let c = '\\''; '{' }"),
        ("python", "def f():\n    \"\"\"it's (fine\"\"\"\n    return [1, 2]  # )"),
        ("js", "const f = () => `a ${b} (`; // }"),
        ("sh", "echo 'it"),
        ("", "anything ( at all"),
    ] {
        assert_eq!(found("code", &asked, &block(language, body)), Found::Fine, "{language}");
    }
    for (language, body) in [
        ("json", "{\"a\": "),
        ("toml", "a = "),
        ("rust", "fn f() { g( }"),
        ("python", "print('''no end)"),
        ("go", "func main() {"),
        ("js", "const a = \"no end"),
    ] {
        assert!(wanting("code", &asked, &block(language, body)), "{language}");
    }
    assert!(wanting("code", &asked, "```rust\nfn main() {}"));
}

#[test]
fn length_pattern_likelihood_and_end() {
    let asked = asked("x");
    assert!(wanting("length:3-5", &asked, " ab ") && wanting("length:3-5", &asked, "abcdef"));
    assert_eq!(found("length:3-5", &asked, "grüß"), Found::Fine);
    assert_eq!(found("pattern:^[A-E]$", &asked, "B"), Found::Sound);
    assert!(wanting("pattern:^[A-E]$", &asked, "B."));
    assert!(wanting("likely:20:-2", &asked, "") && !wanting("likely:25:-2", &asked, ""));
    let seen = Seen { text: "", calls: &[], reason: FinishReason::Length, logprobs: &[] };
    assert!(matches!(Check::Finished.look(&asked, &seen), Found::Wanting(_)));
    assert!(matches!(Check::Likely(10, -1.0).look(&asked, &seen), Found::Wanting(_)));
    let checks = [Check::Refusal, Check::Finished];
    let failure = verify(&checks, &asked, &seen).unwrap_err();
    assert_eq!(failure.to_string(), "it failed the check `finished`: it was cut off for its length");
}

proptest! {
    #[test]
    fn no_answer_upsets_a_check(text in "\\PC{0,200}|(```(rust|py|json|js)?\n[(){}'\"`/*#\\\\a\n]{0,60}\n?(```)?){0,3}", arguments in "\\PC{0,60}") {
        let request = asked("What is this about, in a few words of your own that we can all understand?");
        let calls = [("send".to_owned(), arguments)];
        for calls in [&calls[..], &[]] {
            let seen = Seen { text: &text, calls, reason: FinishReason::Stop, logprobs: &[] };
            for check in usual(&request) {
                check.look(&request, &seen);
            }
            Check::Schema.look(&request, &seen);
            Check::Tools.look(&request, &seen);
        }
    }
}
