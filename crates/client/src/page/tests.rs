use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::sse::SseDecoder;

fn event(id: Option<u64>, name: &str, data: &str) -> SseEvent {
    SseEvent { name: name.into(), data: data.into(), id: id.map(|id| id.to_string()) }
}

fn take_all(page: &mut Page, events: &[(&str, &str)]) {
    for ((name, data), id) in events.iter().zip(page.passed() + 1..) {
        assert!(page.take(&event(Some(id), name, data)).unwrap().is_some(), "{name} {data}");
    }
}

const DRAFT: [(&str, &str); 8] = [
    ("begun", r#"{"target":"device/tiny","tier":"device","model":"tiny","part":"draft"}"#),
    ("opened", r#"{"block":0,"kind":"text"}"#),
    ("appended", r#"{"block":0,"text":"😀 on Tuesday"}"#),
    ("begun", r#"{"target":"cloud/big","tier":"cloud","model":"big","part":"final"}"#),
    ("replaced", r#"{"block":0,"start":5,"end":7,"text":"Wedn"}"#),
    ("opened", r#"{"block":1,"kind":"tool_call","id":"c1","name":"send"}"#),
    ("appended", r#"{"block":1,"text":"{}"}"#),
    (
        "finalised",
        r#"{"reason":"stop","kept_draft":null,"usage":{"prompt_tokens":12,"cached_tokens":8,"output_tokens":3,"reasoning_tokens":0}}"#,
    ),
];

#[test]
fn a_draft_makes_way_for_a_better_answer() {
    let mut page = Page::default();
    let accepted = r#"{"receipt":"rcpt_1","strategy":"draft","resume":"/inshore/v1/generate/rcpt_1"}"#;
    page.take(&event(None, "accepted", accepted)).unwrap();
    assert_eq!(page.accepted().unwrap().receipt, "rcpt_1");
    take_all(&mut page, &DRAFT[..3]);
    assert_eq!((page.text(), page.state()), ("😀 on Tuesday", State::Draft));
    assert_eq!(page.target().unwrap().target, "device/tiny");
    take_all(&mut page, &DRAFT[3..]);
    assert_eq!((page.text(), page.state()), ("😀 on Wednesday", State::Final));
    assert_eq!(page.blocks()[1].kind, BlockKind::ToolCall { id: "c1".into(), name: "send".into() });
    assert_eq!(page.finalised().unwrap().usage.unwrap().prompt_tokens, 12);
    take_all(&mut page, &[("ended", r#"{"receipt":"rcpt_1"}"#)]);
    assert_eq!((page.state(), page.passed()), (State::Ended, 9));
    assert!(page.problem().is_none());
}

#[test]
fn no_event_is_applied_twice_and_none_is_missed() {
    let mut page = Page::default();
    take_all(&mut page, &DRAFT[..3]);
    for (name, data) in [("appended", r#"{"block":0,"text":"!"}"#), ("nonsense", "x")] {
        assert_eq!(page.take(&event(Some(3), name, data)).unwrap(), None);
    }
    let gap = page.take(&event(Some(5), "appended", r#"{"block":0,"text":"!"}"#));
    assert!(matches!(gap, Err(Misfit::Gap { passed: 3, came: 5 })), "{gap:?}");
    let other = page.take(&event(Some(4), "later", "{}")).unwrap();
    assert_eq!(other, Some(Event::Other("later".into())), "what is not known still counts");
    take_all(
        &mut page,
        &[("error", r#"{"type":"about:blank","title":"Bad Gateway","status":502,"detail":"it broke"}"#)],
    );
    assert_eq!((page.state(), page.problem().unwrap().to_string()), (State::Ended, "it broke".to_owned()));
    let after = page.take(&event(Some(6), "appended", r#"{"block":0,"text":"!"}"#));
    assert!(matches!(after, Err(Misfit::AfterEnd(6))), "{after:?}");
    assert_eq!(page.text(), "😀 on Tuesday");
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let mut page = Page::default();
    take_all(&mut page, &DRAFT[..3]);
    for (name, data) in [
        ("appended", r#"{"block":1,"text":"x"}"#),
        ("appended", r#"{"block":0}"#),
        ("opened", r#"{"block":0,"kind":"text"}"#),
        ("opened", r#"{"block":2,"kind":"text"}"#),
        ("replaced", r#"{"block":0,"start":3,"end":2,"text":"x"}"#),
        ("replaced", r#"{"block":0,"start":0,"end":13,"text":"x"}"#),
        ("replaced", r#"{"block":0,"start":13,"end":13,"text":"x"}"#),
        ("begun", "{"),
    ] {
        assert!(page.take(&event(Some(4), name, data)).is_err(), "{name} {data}");
        assert_eq!((page.text(), page.passed()), ("😀 on Tuesday", 3));
    }
    assert!(page.take(&SseEvent { name: "begun".into(), data: "{}".into(), id: Some("x".into()) }).is_err());
    take_all(
        &mut page,
        &[
            ("replaced", r#"{"block":0,"start":12,"end":12,"text":"."}"#),
            ("opened", r#"{"block":1,"kind":"new"}"#),
        ],
    );
    assert_eq!((page.text(), &page.blocks()[1].kind), ("😀 on Tuesday.", &BlockKind::Other));
}

/// What happens to an answer of one block, with places that are made to fit later.
#[derive(Debug, Clone)]
enum Step {
    Append(String),
    Replace(Index, Index, String),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let text = "[a-c \nüé\u{301}\u{1f600}\u{1f469}\u{200d}\u{ffff}\"\\\\]{0,6}";
    let append = text.prop_map(Step::Append);
    let replace = (any::<Index>(), any::<Index>(), text).prop_map(|(a, b, text)| Step::Replace(a, b, text));
    prop::collection::vec(prop_oneof![append, replace], 0..20)
}

/// The model: a vector of characters, and beside it the stream of a daemon that does the same.
fn model(steps: &[Step]) -> (String, Vec<String>) {
    let mut shown: Vec<char> = Vec::new();
    let mut events = vec![("opened", serde_json::json!({"block": 0, "kind": "text"}))];
    for step in steps {
        match step {
            Step::Append(text) => {
                shown.extend(text.chars());
                events.push(("appended", serde_json::json!({"block": 0, "text": text})));
            }
            Step::Replace(a, b, text) => {
                let (a, b) = (a.index(shown.len() + 1), b.index(shown.len() + 1));
                let (start, end) = (a.min(b), a.max(b));
                shown.splice(start..end, text.chars());
                events.push((
                    "replaced",
                    serde_json::json!({"block": 0, "start": start, "end": end, "text": text}),
                ));
            }
        }
    }
    let written = events.iter().zip(1..);
    let written = written.map(|((name, data), id)| format!("id: {id}\nevent: {name}\ndata: {data}\n\n"));
    (shown.into_iter().collect(), written.collect())
}

proptest! {
    #[test]
    fn any_log_makes_what_the_model_makes_however_often_the_connection_breaks(
        steps in steps(),
        breaks in prop::collection::vec(any::<Index>(), 0..6),
        size in 1usize..40,
        back in 0u64..3,
    ) {
        let (expected, events) = model(&steps);
        let mut page = Page::default();
        // Each connection sends from a place at or before the one that was reached, and breaks at any byte.
        for at in breaks.iter().map(Some).chain([None]) {
            let from = usize::try_from(page.passed().saturating_sub(back)).unwrap();
            let stream = events[from..].concat().into_bytes();
            let length = at.map_or(stream.len(), |at| at.index(stream.len() + 1));
            let mut decoder = SseDecoder::default();
            for piece in stream[..length].chunks(size) {
                decoder.push(piece).unwrap();
                while let Some(event) = decoder.next_event() {
                    page.take(&event).unwrap();
                }
            }
        }
        prop_assert_eq!(page.text(), expected);
        prop_assert_eq!(page.passed(), events.len() as u64);
    }
}
