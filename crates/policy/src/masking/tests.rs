use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use inshore_domain::request::{
    Chat, Completion, Dialect, Hints, Json, Message, Original, OutputFormat, Part, Principal, PromptText,
    Role, Tool, ToolCall, ToolChoice,
};
use inshore_domain::{Delta, Event, FinishReason, Request, RequestId, Task, Timestamp, TraceId};
use proptest::prelude::*;

use super::*;

fn request(task: Task) -> Request {
    Request {
        id: RequestId::new(Timestamp::default(), 1),
        trace: TraceId::new(1),
        received_at: Timestamp::default(),
        admitted: Instant::now(),
        principal: Principal::default(),
        hints: Hints::default(),
        model: "auto".into(),
        task,
        stream: true,
        original: Some(Original { dialect: Dialect::OpenAiChat, body: Bytes::from_static(b"{}") }),
    }
}

fn chat(texts: &[&str]) -> Request {
    let messages = texts.iter().map(|text| Message::text(Role::User, *text)).collect();
    request(Task::Chat(Chat { messages, ..Chat::default() }))
}

/// All texts of a request.
fn texts_of(request: &Request) -> Vec<String> {
    let mut texts = Vec::new();
    texts::each(&mut request.clone(), &mut |text, _| texts.push(text.clone()));
    texts
}

fn masked(mask: &mut Mask, texts: &[&str]) -> Vec<String> {
    let mut request = chat(texts);
    mask.apply(&Detector::default(), &mut request).unwrap();
    assert!(request.original.is_none());
    texts_of(&request)
}

/// The text that comes out of these pieces, and the notes.
fn restored(mask: &Arc<Mask>, pieces: &[&str]) -> (String, Vec<String>) {
    let mut restorer = Restorer::new(mask.clone(), &OutputFormat::Text);
    let mut events = Vec::new();
    for piece in pieces {
        let delta = Delta::Text { text: (*piece).to_owned(), logprobs: Vec::new() };
        restorer.restore(Event::Delta { index: 0, delta }, &mut events);
    }
    restorer.restore(Event::Finished { index: 0, reason: FinishReason::Stop }, &mut events);
    let text = events.iter().filter_map(|event| match event {
        Event::Delta { delta: Delta::Text { text, .. }, .. } => Some(text.as_str()),
        _ => None,
    });
    (text.collect(), restorer.notes().iter().map(Note::to_string).collect())
}

fn mask_of(texts: &[&str]) -> Arc<Mask> {
    let mut mask = Mask::new();
    masked(&mut mask, texts);
    Arc::new(mask)
}

#[test]
fn values_get_typed_placeholders_and_the_same_one_everywhere() {
    let mut mask = Mask::new();
    let texts = masked(
        &mut mask,
        &[
            "Write to anna.muster@example.org, cc ben@example.net.",
            "anna.muster@example.org again, ANNA.MUSTER@EXAMPLE.ORG in capitals; card 4111 1111 1111 1111",
        ],
    );
    assert_eq!(
        texts,
        ["Write to [EMAIL_1], cc [EMAIL_2].", "[EMAIL_1] again, [EMAIL_1B] in capitals; card [CARD_1]",]
    );
    let next = masked(&mut mask, &["and ben@example.net? or zoe@example.com"]);
    assert_eq!(next, ["and [EMAIL_2]? or [EMAIL_3]"]);
}

#[test]
fn parts_of_values_are_masked_before_and_behind_them() {
    let texts =
        masked(&mut Mask::new(), &["Ask Mustermann.", "annika.mustermann@example.org", "MUSTERMANNS house"]);
    assert_eq!(texts, ["Ask [EMAIL_1B].", "[EMAIL_1]", "[EMAIL_1C]S house"]);
}

#[test]
fn what_looks_like_a_placeholder_is_escaped() {
    let mut mask = Mask::new();
    let texts = masked(&mut mask, &["[EMAIL_1] is not anna@example.org, nor [PHONE_7]"]);
    assert_eq!(texts, ["[TEXT_1] is not [EMAIL_1], nor [TEXT_2]"]);
    let (text, notes) = restored(&Arc::new(mask), &texts.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(text, "[EMAIL_1] is not anna@example.org, nor [PHONE_7]");
    assert!(notes.is_empty());
}

#[test]
fn tools_and_their_arguments_stay_json() {
    let mut message = Message::text(Role::Assistant, "");
    message.tool_calls.push(ToolCall {
        id: "1".into(),
        name: "send_to_muster_now".into(),
        arguments: r#"{"to":"muster@example.org","pass\"word":"a","note":"x\nmuster@example.org","card":4111111111111111}"#.into(),
    });
    let tool = Tool {
        name: "send_to_muster_now".into(),
        description: Some("writes to muster@example.org".into()),
        parameters: Some(Json(
            r#"{"type":"object","properties":{"to":{"default":"muster@example.org"}}}"#.into(),
        )),
        strict: true,
    };
    let mut request = request(Task::Chat(Chat {
        messages: vec![message],
        tools: vec![tool],
        tool_choice: ToolChoice::Function("send_to_muster_now".into()),
        ..Chat::default()
    }));
    let mut mask = Mask::new();
    mask.apply(&Detector::default(), &mut request).unwrap();
    let texts = texts_of(&request);
    assert_eq!(
        texts,
        [
            "",
            "NAME_1",
            r#"{"to":"[EMAIL_1]","pass\"word":"a","note":"x\n[EMAIL_1]","card":"[CARD_1]"}"#,
            "NAME_1",
            "writes to [EMAIL_1]",
            r#"{"type":"object","properties":{"to":{"default":"[EMAIL_1]"}}}"#,
            "NAME_1",
        ]
    );
    let mut restorer = Restorer::new(Arc::new(mask), &OutputFormat::Text);
    let mut events = Vec::new();
    let call = Delta::ToolCall { call: 0, id: "2".into(), name: "NAME_1".into() };
    restorer.restore(Event::Delta { index: 0, delta: call }, &mut events);
    let Event::Delta { delta: Delta::ToolCall { name, .. }, .. } = &events[0] else { panic!("{events:?}") };
    assert_eq!(name, "send_to_muster_now");
}

#[test]
fn what_cannot_be_read_is_counted() {
    let mut message = Message::text(Role::User, "look");
    message.content.push(Part::Image { url: "https://example.org/cat.png".into() });
    let mut request = request(Task::Chat(Chat { messages: vec![message], ..Chat::default() }));
    assert_eq!(Mask::new().apply(&Detector::default(), &mut request).unwrap().opaque, 1);
    let prompts = vec![PromptText::Tokens(vec![1]), PromptText::Text("anna@example.org".into())];
    let mut request = self::request(Task::Completion(Completion { prompts, ..Completion::default() }));
    let masked = Mask::new().apply(&Detector::default(), &mut request).unwrap();
    assert_eq!((masked.opaque, masked.replaced.get("EMAIL")), (1, Some(&1)));
}

#[test]
fn more_than_a_mask_holds_is_refused() {
    let text: String = (0..=MAX_VALUES).map(|n| format!("u{n}@example.org ")).collect();
    assert_eq!(Mask::new().apply(&Detector::default(), &mut chat(&[&text])), Err(TooManyValues));
}

#[test]
fn altered_placeholders_are_restored_where_they_can_be_nothing_else() {
    let mask = mask_of(&["anna@example.org and 4111 1111 1111 1111"]);
    for (answer, expected) in [
        ("mail [EMAIL_1]'s owner", "mail anna@example.org's owner"),
        (
            "mail [email_1], EMAIL_1 and **[EMAIL 1]**",
            "mail anna@example.org, anna@example.org and **anna@example.org**",
        ),
        (r"mail \[EMAIL\_1\]!", "mail anna@example.org!"),
        ("the [CARD_1s] and [CARD_1's]", "the 4111 1111 1111 1111s and 4111 1111 1111 1111's"),
    ] {
        assert_eq!(restored(&mask, &[answer]), (expected.to_owned(), Vec::new()));
    }
}

#[test]
fn nothing_is_guessed() {
    let mask = mask_of(&["anna@example.org"]);
    let answer = "[EMAIL_7], email_1, EMAIL_1 = 5 and [PHONE_1] but not email 9, [1] or [Your Name]";
    let (text, notes) = restored(&mask, &[answer]);
    assert_eq!(text, answer);
    assert_eq!(
        notes,
        [
            "restoration is not certain: `[EMAIL_7]` in the answer stands for nothing that was masked",
            "restoration is not certain: `email_1` in the answer may stand for a masked value, and was left as it is",
            "restoration is not certain: `EMAIL_1` in the answer may stand for a masked value, and was left as it is",
            "restoration is not certain: `[PHONE_1]` in the answer stands for nothing that was masked",
        ]
    );
    let familiar = mask_of(&["anna@example.org in email_1"]);
    assert_eq!(restored(&familiar, &["email_1"]).1, [] as [&str; 0]);
}

#[test]
fn only_what_may_become_a_placeholder_is_held_back() {
    let mask = mask_of(&["anna@example.org"]);
    let mut restorer = Restorer::new(mask, &OutputFormat::Text);
    let mut push = |text: &str| {
        let mut events = Vec::new();
        let delta = Delta::Text { text: text.into(), logprobs: Vec::new() };
        restorer.restore(Event::Delta { index: 0, delta }, &mut events);
        match events.pop() {
            Some(Event::Delta { delta: Delta::Text { text, .. }, .. }) => text,
            _ => String::new(),
        }
    };
    assert_eq!(push("Hello ["), "Hello ");
    assert_eq!(push("EMAIL"), "");
    assert_eq!(push("_1"), "");
    assert_eq!(push("] and [x"), "anna@example.org and [x");
    assert_eq!(push(" an array[0] e"), " an array[0] ");
    assert_eq!(push("ffort"), "effort");
}

#[test]
fn values_are_escaped_in_arguments_and_in_json_answers() {
    let mut mask = Mask::new();
    mask.learn("PASSWORD", "a\"b\\c\n1").unwrap();
    let mask = Arc::new(mask);
    let mut restorer = Restorer::new(mask.clone(), &OutputFormat::JsonObject);
    let mut events = Vec::new();
    for fragment in
        [r#"{"p":"\n[PASS"#, r#"WORD_1]","q":[PASSWORD_1],"r":"\u005bPASSWORD_1\u005d\\"#, r#"n"}"#]
    {
        let arguments = Delta::ToolArguments { call: 0, fragment: fragment.into() };
        restorer.restore(Event::Delta { index: 0, delta: arguments }, &mut events);
    }
    restorer.end(&mut events);
    let all: String = events
        .iter()
        .map(|event| match event {
            Event::Delta { delta: Delta::ToolArguments { fragment, .. }, .. } => fragment.as_str(),
            _ => panic!("{event:?}"),
        })
        .collect();
    assert_eq!(all, r#"{"p":"\na\"b\\c\n1","q":"a\"b\\c\n1","r":"a\"b\\c\n1\\n"}"#);
    events.clear();
    let text = Delta::Text { text: r#"{"p":"[PASSWORD_1]"}"#.into(), logprobs: Vec::new() };
    restorer.restore(Event::Delta { index: 0, delta: text }, &mut events);
    let Event::Delta { delta: Delta::Text { text, .. }, .. } = &events[0] else { panic!("{events:?}") };
    assert_eq!(text, r#"{"p":"a\"b\\c\n1"}"#);
}

#[test]
fn what_is_held_back_comes_before_what_follows() {
    let mask = mask_of(&["anna@example.org"]);
    let mut restorer = Restorer::new(mask, &OutputFormat::Text);
    let mut events = Vec::new();
    let mut push = |delta| restorer.restore(Event::Delta { index: 0, delta }, &mut events);
    push(Delta::Reasoning("think [EMAIL".into()));
    push(Delta::Text { text: "say [EMAIL_1".into(), logprobs: Vec::new() });
    push(Delta::ToolCall { call: 0, id: "1".into(), name: "f".into() });
    restorer.restore(Event::Wire(Bytes::from_static(b"[EMAIL_1]")), &mut events);
    let told: Vec<String> = events
        .iter()
        .map(|event| match event {
            Event::Delta { delta: Delta::Reasoning(text) | Delta::Text { text, .. }, .. } => text.clone(),
            Event::Delta { delta: Delta::ToolCall { name, .. }, .. } => format!("call {name}"),
            _ => panic!("{event:?}"),
        })
        .collect();
    assert_eq!(told, ["think ", "[EMAIL", "say ", "[anna@example.org", "call f"]);
}

#[test]
fn an_answer_that_is_cut_in_a_number_is_not_completed() {
    let texts: Vec<String> = (1..=12).map(|n| format!("u{n}@example.org")).collect();
    let mask = mask_of(&[&texts.join(" ")]);
    let mut restorer = Restorer::new(mask, &OutputFormat::Text);
    let mut events = Vec::new();
    let text = Delta::Text { text: "to EMAIL_1".into(), logprobs: Vec::new() };
    restorer.restore(Event::Delta { index: 0, delta: text }, &mut events);
    restorer.restore(Event::Finished { index: 0, reason: FinishReason::Length }, &mut events);
    let Event::Delta { delta: Delta::Text { text, .. }, .. } = &events[1] else { panic!("{events:?}") };
    assert_eq!((text.as_str(), restorer.notes().len()), ("EMAIL_1", 1));
}

#[test]
fn values_are_not_in_debug_output() {
    let mask = mask_of(&["anna@example.org"]);
    assert_eq!(format!("{mask:?}"), "Mask { values: 1, .. }");
}

/// Letters that documents are made of; few, so that values and texts share parts.
const PROSE: &str = "[abemn ,.]{0,12}";

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-e]{3,8}\\.[m-p]{3,8}@[a-e]{3,6}\\.example\\.org",
        Just("4111 1111 1111 1111".to_owned()),
        Just("DE89 3704 0044 0532 0130 00".to_owned()),
        "\\+41 44 [2-9][0-9]{2} [0-9]{2} [0-9]{2}",
        "ghp_[A-Za-z0-9]{36}",
        "password: [A-Z][a-z]{3,5}[0-9]{3}[!$%]",
        "192\\.0\\.2\\.[1-9][0-9]",
        "\\[(EMAIL|CARD|TEXT)_[1-3]\\]",
        "аnnа[a-c]{2,4}%40example\\.org",
    ]
}

fn document() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop_oneof![PROSE.prop_map(String::from), value(), "[ \n\"\\\\{}:]{1,3}".prop_map(String::from)],
        0..14,
    )
    .prop_map(|parts| parts.join(" "))
}

/// The text outside of placeholders, cut there.
fn outside(text: &str) -> Vec<String> {
    let (mut pieces, mut piece, mut rest) = (Vec::new(), String::new(), text);
    while let Some(first) = rest.chars().next() {
        if let Seen::One(one) = placeholder::read(rest, 'x', End::Whole)
            && one.certain
            && first == '['
        {
            pieces.push(std::mem::take(&mut piece));
            rest = &rest[one.length..];
            continue;
        }
        piece.push(first);
        rest = &rest[first.len_utf8()..];
    }
    pieces.push(piece);
    pieces
}

proptest! {
    #[test]
    fn no_value_nor_part_of_one_leaves(documents in prop::collection::vec(document(), 1..4)) {
        let mut mask = Mask::new();
        let texts: Vec<&str> = documents.iter().map(String::as_str).collect();
        let out: Vec<String> = masked(&mut mask, &texts).iter().flat_map(|text| outside(text)).collect();
        for entry in mask.entries.iter().filter(|entry| entry.name.word != TEXT) {
            let plain = Normal::of(&entry.value).text.into_owned();
            let characters: Vec<char> = plain.chars().collect();
            for part in characters.windows(5) {
                let part: String = part.iter().collect();
                if !part.chars().any(char::is_alphanumeric) {
                    continue;
                }
                let leak = out.iter().find(|text| Normal::of(text).text.contains(&part));
                prop_assert!(leak.is_none(), "{part:?} of {:?} in {leak:?}", *entry.value);
            }
        }
    }

    #[test]
    fn what_was_masked_is_restored_however_the_answer_is_cut(document in document(), cuts in prop::collection::vec(0..400_usize, 0..40)) {
        let mut mask = Mask::new();
        let text = masked(&mut mask, &[&document]).remove(0);
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| text.is_char_boundary(*cut) && *cut <= text.len()).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&str> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        let (restored, notes) = restored(&Arc::new(mask), &pieces);
        prop_assert_eq!(restored, document);
        prop_assert!(notes.is_empty(), "{:?}", notes);
    }

    #[test]
    fn any_answer_comes_out_the_same_however_it_is_cut(
        answer in r#"(\[|\]|EMAIL|email|CARD|_|1|2|B| |'s|s|=|\\|\\u005b|"|é|x|\n){0,24}"#,
        cuts in prop::collection::vec(0..120_usize, 0..24),
    ) {
        let mask = mask_of(&["anna@example.org ben@example.org 4111 1111 1111 1111"]);
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= answer.len() && answer.is_char_boundary(*cut)).collect();
        cuts.extend([0, answer.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&str> = cuts.windows(2).map(|pair| &answer[pair[0]..pair[1]]).collect();
        prop_assert_eq!(restored(&mask, &pieces), restored(&mask, &[&answer]));
        let arguments = |pieces: &[&str]| {
            let mut restorer = Restorer::new(mask.clone(), &OutputFormat::Text);
            let mut events = Vec::new();
            for piece in pieces {
                let delta = Delta::ToolArguments { call: 0, fragment: (*piece).to_owned() };
                restorer.restore(Event::Delta { index: 0, delta }, &mut events);
            }
            restorer.end(&mut events);
            let text = |event: &Event| match event {
                Event::Delta { delta: Delta::ToolArguments { fragment, .. }, .. } => fragment.clone(),
                _ => String::new(),
            };
            events.iter().map(text).collect::<String>()
        };
        prop_assert_eq!(arguments(&pieces), arguments(&[&answer]));
    }

    #[test]
    fn arguments_stay_the_json_they_were(values in prop::collection::vec((document(), any::<bool>()), 1..4)) {
        let mut json = String::from("{");
        for (place, (text, number)) in values.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            let mut inside = String::new();
            json::escape(text, &mut inside);
            let value = if *number { "4111111111111111".to_owned() } else { format!("\"{inside}\"") };
            json.push_str(&format!("{comma}\"k{place}\":{value}"));
        }
        json.push('}');
        let mut message = Message::text(Role::Assistant, "");
        message.tool_calls.push(ToolCall { id: "1".into(), name: "f".into(), arguments: json.clone() });
        let mut request = request(Task::Chat(Chat { messages: vec![message], ..Chat::default() }));
        let mut mask = Mask::new();
        mask.apply(&Detector::default(), &mut request).unwrap();
        let out = texts_of(&request).remove(2);
        let mut inside = json::Inside::default();
        inside.pass(&out);
        prop_assert!(!inside.string && out.ends_with('}'), "{out}");
        let quotes = |text: &str| {
            let mut inside = json::Inside::default();
            text.char_indices().filter(|(at, c)| {
                let before = inside;
                inside.pass(&text[*at..*at + c.len_utf8()]);
                before.string != inside.string
            }).count()
        };
        // Behind a word such as `ean` a number is no card's, and stays.
        let bare = |text: &str| text.matches(":4111111111111111").count();
        let numbers = bare(&json) - bare(&out);
        prop_assert_eq!(quotes(&out), quotes(&json) + 2 * numbers);
    }
}
