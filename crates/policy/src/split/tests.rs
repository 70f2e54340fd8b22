use super::*;
use std::time::Instant;

use bytes::Bytes;
use inshore_domain::request::{Chat, Completion, Dialect, Hints, Message, Original, Principal, Role};
use inshore_domain::{RequestId, Timestamp, TraceId};
use proptest::prelude::*;

fn request(messages: Vec<Message>) -> Request {
    Request {
        id: RequestId::new(Timestamp::default(), 1),
        trace: TraceId::new(1),
        received_at: Timestamp::default(),
        admitted: Instant::now(),
        principal: Principal::default(),
        hints: Hints::default(),
        model: "auto".into(),
        task: Task::Chat(Chat { messages, ..Chat::default() }),
        stream: false,
        original: Some(Original { dialect: Dialect::OpenAiChat, body: Bytes::from_static(b"{}") }),
    }
}

fn user(parts: &[&str]) -> Message {
    let content = parts.iter().map(|part| Part::Text((*part).to_owned())).collect();
    Message { content, ..Message::text(Role::User, "") }
}

fn chosen(request: &Request) -> Chosen {
    match passages(request) {
        Parted::Chosen(chosen) => *chosen,
        other => panic!("{other:?}"),
    }
}

fn texts(request: &Request) -> Vec<String> {
    let Task::Chat(chat) = &request.task else { unreachable!("it is a chat") };
    chat.messages.iter().map(Message::joined_text).collect()
}

/// A paragraph that fills a passage by itself and is about nothing else.
fn paragraph(word: &str) -> String {
    format!("{}\n\n", vec![word; 700 / (word.len() + 1)].join(" "))
}

fn report() -> String {
    ["harbour", "pension", "weather", "orchard", "railway", "library"].map(paragraph).concat().repeat(5)
}

#[test]
fn only_the_passages_that_have_to_do_with_the_question_stay() {
    let document = report().replacen(&paragraph("weather"), &paragraph("Pensions rose by 4.1 %"), 1);
    let asked = request(vec![
        Message::text(Role::System, "Answer briefly."),
        user(&[&document, "How much did pensions rise?"]),
    ]);
    let chosen = chosen(&asked);
    let sent = texts(&chosen.request);
    assert_eq!(sent[0], "Answer briefly.");
    assert_eq!(
        sent[1],
        format!("{GAP}{}{GAP}How much did pensions rise?", paragraph("Pensions rose by 4.1 %"))
    );
    assert_eq!((chosen.passages, chosen.of_passages), (1, 30));
    assert_eq!((chosen.bytes, chosen.of_bytes), (paragraph("Pensions rose by 4.1 %").len(), document.len()));
    assert!(chosen.request.original.is_none(), "the body as it came in holds everything");
}

#[test]
fn a_question_in_the_same_text_is_found_at_its_beginning_or_end() {
    let of = |text: &str| {
        let asked = request(vec![user(&[text])]);
        document(&asked).map(|document| document.question).ok()
    };
    let body = report();
    assert_eq!(of(&format!("{body}\n\nWhat of the orchard?")).as_deref(), Some("\nWhat of the orchard?"));
    assert_eq!(of(&format!("What of the orchard?\n{body}")).as_deref(), Some("What of the orchard?\n"));
    let both = of(&format!("Look for orchards below.\n\n{body}Answer in German.")).unwrap();
    assert_eq!(both, "Look for orchards below.\nAnswer in German.");
    assert_eq!(of(&"x".repeat(LEAST_DOCUMENT)), None);
}

#[test]
fn a_question_in_a_later_message_is_about_the_document_before() {
    let asked = request(vec![
        user(&[&report(), "What of the orchard?"]),
        Message::text(Role::Assistant, "It is fine."),
        user(&["And the library?"]),
    ]);
    let sent = texts(&chosen(&asked).request);
    assert!(sent[0].contains("library library") && !sent[0].contains("orchard orchard"), "{sent:?}");
    assert_eq!(&sent[1..], ["It is fine.", "And the library?"]);
}

#[test]
fn what_is_short_or_unclear_is_said_to_be() {
    let short = request(vec![user(&["What?", &"word ".repeat(LEAST_DOCUMENT / 5 - 1)])]);
    assert!(matches!(passages(&short), Parted::Short));
    let nothing_to_do_with_it = request(vec![user(&[&report(), "Wann fährt der Zug?"])]);
    assert!(matches!(passages(&nothing_to_do_with_it), Parted::Unclear));
    let prompts = vec![PromptText::Text(report())];
    let continued = Task::Completion(Completion { prompts, ..Completion::default() });
    assert!(matches!(passages(&Request { task: continued, ..short }), Parted::Unclear));
}

#[test]
fn words_are_found_in_every_script() {
    for (passage, question) in [
        ("Die Straße nach Süden ist gesperrt.", "Welche STRASSE? Welche STRAẞE?"),
        ("東京の図書館は九時に開きます。", "図書館はいつ開きますか。"),
        ("Библиотека открывается в девять.", "Когда открывается библиотека?"),
        ("ห้องสมุดเปิดเก้าโมง", "ห้องสมุดเปิดกี่โมง"),
        ("The ﬁrst ofﬁce", "FIRST OFFICE"),
    ] {
        let scores = Index::of(&["nothing of the kind", passage, "1234"]).scores(question);
        assert!(scores[1] > 0.0 && scores[0] == 0.0 && scores[2] == 0.0, "{question}: {scores:?}");
    }
}

#[test]
fn a_rarer_word_weighs_more_and_one_in_every_passage_nothing() {
    let passages: Vec<String> =
        (0..20).map(|n| format!("the report part{n} {}", if n < 5 { "tax" } else { "fee" })).collect();
    let passages: Vec<&str> = passages.iter().map(String::as_str).collect();
    let index = Index::of(&passages);
    let scores = index.scores("the tax report of part7");
    assert_eq!(scores.iter().filter(|score| **score > 0.0).count(), 6);
    assert!(scores[7] > scores[0] && scores[0] > 0.0, "{scores:?}");
    assert!(index.scores("the report").iter().all(|score| *score == 0.0));
}

#[test]
fn pieces_end_where_the_text_does() {
    let code = "```\nlet a = 1;\n\nlet b = 2;\n```\n";
    let text = format!("# One\n\nFirst. Second one.\n\n{code}\n## Two\nThird.\n");
    assert_eq!(
        pieces(&text, 40),
        ["# One\n\nFirst. Second one.\n\n", &format!("{code}\n"), "## Two\nThird.\n"]
    );
    assert_eq!(pieces("One two. Three four! Five", 12), ["One two. ", "Three four! ", "Five"]);
    assert_eq!(pieces("一。二三。四", 10), ["一。", "二三。", "四"]);
    assert_eq!(pieces("ééé", 3), ["é", "é", "é"]);
    assert_eq!(pieces("", 10), [""; 0]);
}

#[test]
fn what_is_read_is_the_whole_document_and_what_leaves_has_none_of_it() {
    let body = report();
    let headed = format!("# Harbour of Aurora\n{body}");
    let asked =
        request(vec![Message::text(Role::System, "Be brief."), user(&[&headed, "What of the orchard?"])]);
    let reading = reading(&asked).unwrap();
    assert_eq!(reading.chunks.concat(), headed);
    assert_eq!((reading.of_chunks, reading.of_bytes), (reading.chunks.len(), headed.len()));
    let told = |answers: &[&str]| {
        let found = |(chunk, answer): (usize, &&str)| Found {
            chunk,
            question: "Is it there?".into(),
            answer: (*answer).to_owned(),
        };
        let found: Vec<Found> = answers.iter().enumerate().map(found).collect();
        let (request, told) = reading.report(&found);
        (texts_of(&request), told)
    };
    let (sent, count) = told(&["yes", "three acres"]);
    assert_eq!((sent.len(), sent[0].as_str(), sent[2].as_str()), (3, "Be brief.", "What of the orchard?"));
    assert!(sent[1].contains("- part 1: yes\n- part 2: three acres\n") && count == 2, "{sent:?}");
    let long = "a".repeat(300);
    let (sent, count) = told(&vec![long.as_str(); 200]);
    assert!(sent[1].len() < ANSWERS + 300 && count < 200, "{count}");
    let plan = texts_of(&reading.plan(None, true)).concat();
    assert!(plan.contains("What of the orchard?") && plan.contains("# Harbour of Aurora"), "{plan}");
    assert!(!plan.contains("harbour harbour"));
    let mut facts = crate::samples::facts("auto");
    reading.bound(&mut facts);
    for request in [reading.plan(None, true), reading.report(&[]).0] {
        let leaving = crate::inspect::inspect(&request);
        assert!(leaving.prompt_tokens_at_most <= facts.prompt_tokens_at_most);
        assert!(leaving.bytes_at_most <= facts.bytes_at_most);
    }
}

#[test]
fn plans_and_answers_are_what_was_asked_for_or_nothing() {
    let reading = reading(&request(vec![user(&[&report().repeat(9), "What of the orchard?"])])).unwrap();
    let questions = |plan: &str| reading.questions(plan);
    let many = (0..20).map(|n| format!("\"q{n}\"")).collect::<Vec<_>>().join(",");
    let most = MOST_CALLS / reading.chunks.len();
    assert!((2..8).contains(&most), "{most}");
    assert_eq!(questions(&format!("{{\"questions\":[{many}]}}")).map(|asked| asked.len()), Some(most));
    assert_eq!(questions(r#" {"questions":[" a ","a",""]} "#), Some(vec!["a".into()]));
    for bad in ["", "[]", r#"{"questions":[]}"#, r#"{"questions":"a"}"#, r#"{"questions":["a"],"b":1}"#] {
        assert_eq!(questions(bad), None, "{bad}");
    }
    assert_eq!(found(r#"{"found":true,"answer":" 4 % "}"#), Ok(Some("4 %".into())));
    assert_eq!(found(r#"{"found":false,"answer":"4 %"}"#), Ok(None));
    assert_eq!(found("4 %"), Err(Misshapen));
    let long = format!(r#"{{"found":true,"answer":"{}"}}"#, "é".repeat(900));
    assert_eq!(found(&long).unwrap().unwrap().chars().count(), 300);
}

fn any_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-zé一 ]{1,40}",
        Just("\n\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("```\n".to_owned()),
        Just("\n# head\n".to_owned()),
        Just(". ".to_owned()),
        "\\PC{1,10}",
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn pieces_joined_are_the_text(text in any_text(), most in 0..120_usize) {
        let found = pieces(&text, most);
        prop_assert_eq!(found.concat(), text.as_str());
        for piece in &found {
            prop_assert!(!piece.is_empty() && (piece.len() <= most || piece.chars().count() == 1), "{piece:?}");
        }
        prop_assert_eq!(&found, &pieces(&text, most));
    }

    #[test]
    fn what_is_asked_for_word_by_word_is_found_within_the_limit(
        seeds in proptest::collection::vec("[b-df-hj-np-tv-z]{4,8}", 40..90), which: prop::sample::Index, parts in 1..4_usize,
    ) {
        let mut seeds = seeds;
        seeds.sort();
        seeds.dedup();
        let mut paragraphs: Vec<String> = seeds.iter().map(|seed| paragraph(seed)).collect();
        let sentence = "quaint auditors inspect every invoice in Aurora";
        let place = which.index(paragraphs.len());
        paragraphs[place] = format!("{sentence}. {}", paragraph("ooo"));
        let texts: Vec<String> = paragraphs.chunks(paragraphs.len().div_ceil(parts)).map(|some| some.concat()).collect();
        let mut content: Vec<&str> = texts.iter().map(String::as_str).collect();
        content.push(sentence);
        let asked = request(vec![user(&content)]);
        let first = chosen(&asked);
        let sent = texts_of(&first.request);
        prop_assert!(sent[..sent.len() - 1].iter().any(|text| text.contains(sentence)), "{sent:?}");
        let bytes: usize = sent[..sent.len() - 1].iter().map(String::len).sum();
        prop_assert!(bytes <= MOST_SENT, "{bytes}");
        prop_assert_eq!(&chosen(&asked).request.task, &first.request.task);
        for (seed, _) in seeds.iter().enumerate().filter(|(at, _)| *at != place).map(|(at, seed)| (seed, at)) {
            prop_assert!(!sent.iter().any(|text| text.contains(seed.as_str())), "{seed} has nothing to do with it");
        }
    }

    #[test]
    fn of_any_document_no_more_leaves_than_the_limit_and_nothing_is_made_up(
        text in proptest::collection::vec(any_text(), 20..60), question in "[a-z一 ]{1,60}",
    ) {
        let body = text.concat().repeat(1 + LEAST_DOCUMENT / text.concat().len().max(1));
        let asked = request(vec![user(&[&body, &question])]);
        if let Parted::Chosen(chosen) = passages(&asked) {
            let sent = texts_of(&chosen.request);
            prop_assert!(sent[0].len() <= MOST_SENT);
            prop_assert!(sent[0].split(GAP).all(|run| body.contains(run)));
            prop_assert_eq!(&sent[1], &question);
        }
    }
}

/// The text parts of a conversation.
fn texts_of(request: &Request) -> Vec<String> {
    let Task::Chat(chat) = &request.task else { unreachable!("it is a chat") };
    let parts = chat.messages.iter().flat_map(|message| &message.content);
    parts.filter_map(|part| if let Part::Text(text) = part { Some(text.clone()) } else { None }).collect()
}
