use futures_util::StreamExt;
use inshore_domain::Strategy;
use inshore_domain::*;
use inshore_policy::{Feature, split};
use proptest::prelude::*;
// The domain has a Strategy too.
use proptest::strategy::Strategy as Gen;

use crate::scripted::{Script, World, answer};
use crate::split::{QUESTION, asked, paragraph, parts, report, run, seen, splitting};

fn chunked() -> Feature {
    Feature { split: Some(Split::Chunks), ..Feature::default() }
}

fn chunks(document: &str) -> Vec<&str> {
    split::pieces(document, split::CHUNK)
}

const NOTHING: &str = r#"{"found": false, "answer": ""}"#;

fn found(text: &str) -> Script {
    answer(&["{\"found\": true, ", &format!("\"answer\": \"{text}\"}}")])
}

/// What the device says of each chunk when it is asked so many questions of each: this about pensions to the first question, and nothing else.
fn reader(document: &str, questions: usize, about_pensions: &str) -> Vec<Script> {
    let of = |chunk: &&str| {
        let first = if chunk.contains("Pensions") { found(about_pensions) } else { answer(&[NOTHING]) };
        std::iter::once(first).chain(vec![answer(&[NOTHING]); questions - 1]).collect::<Vec<_>>()
    };
    chunks(document).iter().flat_map(of).collect()
}

fn plan() -> Script {
    answer(&[r#"{"questions": ["How much?", "#, r#""Since when?", "How much?"]}"#])
}

/// The place of the chunk about pensions, from 1.
fn place(document: &str) -> usize {
    1 + chunks(document).iter().position(|chunk| chunk.contains("Pensions")).unwrap()
}

#[tokio::test]
async fn the_device_reads_and_only_what_it_found_leaves() {
    let document = report("");
    let device = reader(&document, 2, "by 4.1 %");
    let world = splitting(&device, &[plan(), answer(&["By ", "4.1 %."])], chunked());
    let (said, receipt) = run(&world, asked(&world, &[&document, QUESTION])).await;
    assert_eq!((said.as_str(), receipt.strategy), ("By 4.1 %.", Strategy::Split));
    let seen = world.backends[1].seen.lock().unwrap().clone();
    let planned = parts(&seen[0])[0].clone();
    assert!(
        planned.contains(QUESTION) && planned.contains(&format!("{} bytes in 6 parts.", document.len())),
        "{planned}"
    );
    let given =
        "[The document is not given here. It was read part by part for this task; this was found in it:";
    let expected = format!("\n{given}\n- part {}: by 4.1 %\n]\n", place(&document));
    assert_eq!(parts(&seen[1]), [expected.as_str(), QUESTION]);
    let asked_first = parts(&world.backends[0].seen.lock().unwrap()[0])[0].clone();
    assert!(asked_first.contains(chunks(&document)[0]) && asked_first.ends_with("Question: How much?"));
    // Two calls of 10 tokens of prompt at 1 and 2 of answer at 4.
    assert_eq!((receipt.cost.micros, receipt.egress.len()), (36, 2));
    assert_eq!(receipt.answered_by.as_ref().unwrap().target.0, "cloud/big");
    assert_eq!(receipt.notes[0], "the device read 6 of 6 chunks of the document, for 2 questions");
    assert_eq!(
        receipt.notes[1],
        format!("1 of 1 answers of the device stood in the place of {} bytes", document.len())
    );
    assert!(receipt.notes[2].ends_with("and this cost 0.000036 USD"), "{:?}", receipt.notes);
}

#[tokio::test]
async fn without_a_plan_the_question_itself_is_asked_and_a_chunk_that_fails_is_named() {
    let document = report("");
    for bad in ["What do you mean?", r#"{"questions": []}"#, r#"{"questions": ["a"], "and": 1}"#] {
        let mut device = reader(&document, 1, "by 4.1 %");
        device[0] = Script::Refuse(BackendErrorKind::Failed, 0);
        device[1] = answer(&["It says nothing of that."]);
        let world = splitting(&device, &[answer(&[bad]), answer(&["4.1 %"])], chunked());
        let (said, receipt) = run(&world, asked(&world, &[&document, QUESTION])).await;
        assert_eq!(said, "4.1 %");
        assert!(receipt.notes[0].contains("so the question itself was asked"), "{:?}", receipt.notes);
        assert!(receipt.notes[1].ends_with("for 1 questions"), "{:?}", receipt.notes);
        assert!(
            receipt.notes[2].starts_with("chunks that could not be read to the end: 1, 2 ("),
            "{:?}",
            receipt.notes
        );
    }
}

#[tokio::test]
async fn the_device_answers_from_what_it_found_when_no_other_does() {
    let document = report("");
    let mut device = reader(&document, 1, "by 4.1 %");
    device.push(answer(&["By 4.1 %."]));
    let refuse = Script::Refuse(BackendErrorKind::Failed, 0);
    let world = splitting(&device, &[refuse.clone(), refuse], chunked());
    let (said, receipt) = run(&world, asked(&world, &[&document, QUESTION])).await;
    assert_eq!(
        (said.as_str(), receipt.answered_by.as_ref().unwrap().target.0.as_str()),
        ("By 4.1 %.", "device/small")
    );
    assert!(
        receipt.notes.iter().any(|note| note.starts_with("no other target answered")),
        "{:?}",
        receipt.notes
    );
    assert_eq!(receipt.failed_steps.len(), 2);
}

#[tokio::test]
async fn without_a_reader_nothing_is_sent() {
    let world = splitting(&[], &[], chunked());
    let mut request = asked(&world, &[&report(""), QUESTION]);
    request.model = "cloud".into();
    let error = world.runtime.run(request).await.unwrap_err();
    assert!(error.message.contains("no model of the device can read"), "{error:?}");
    let device = vec![Script::Refuse(BackendErrorKind::Failed, 0); 12];
    let world = splitting(&device, &[plan()], chunked());
    let error = world.runtime.run(asked(&world, &[&report(""), QUESTION])).await.unwrap_err();
    assert!(error.message.contains("refused as the script says"), "{error:?}");
}

#[tokio::test]
async fn answers_of_the_device_are_masked_and_put_back() {
    let document = report("Ask ada.quimby@mailhost.example about it.");
    let device = reader(&document, 2, "ada.quimby@mailhost.example knows");
    let cloud = [plan(), answer(&["Ask [EMAIL", "_1]."])];
    let world = splitting(&device, &cloud, Feature { mask: true, ..chunked() });
    let (said, receipt) = run(&world, asked(&world, &[&document, QUESTION])).await;
    assert_eq!(said, "Ask ada.quimby@mailhost.example.");
    let sent = seen(&world, 1);
    assert!(sent[1].contains("[EMAIL_1] knows") && !sent.concat().contains("quimby"), "{sent:?}");
    assert!(receipt.notes.contains(&"masked before the call: EMAIL 1".to_owned()), "{:?}", receipt.notes);
}

#[tokio::test(start_paused = true)]
async fn all_work_ends_when_the_caller_leaves() {
    let world = splitting(&vec![Script::Hang; 6], &[plan()], chunked());
    let request = asked(&world, &[&report(""), QUESTION]);
    let running = world.runtime.run(request);
    let left = tokio::time::timeout(std::time::Duration::from_secs(60), running).await;
    assert!(left.is_err(), "it hangs");
    world.runtime.shutdown().await;
    let live = world.backends[0].live.load(std::sync::atomic::Ordering::SeqCst);
    let calls = world.backends[0].calls.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!((live, calls), (0, 4), "four at a time");
    let receipt = world.store.receipts(1).await.unwrap().remove(0);
    assert_eq!((receipt.outcome, receipt.egress.len()), (Outcome::Cancelled, 1));
}

/// What the device says, call by call.
#[derive(Debug, Clone)]
enum Says {
    Nothing,
    Found(String),
    Nonsense,
    Fails,
}

fn any_reader() -> impl Gen<Value = Vec<Says>> {
    let one = prop_oneof![
        Just(Says::Nothing),
        "[aeiou ]{1,400}".prop_map(Says::Found),
        Just(Says::Nonsense),
        Just(Says::Fails),
    ];
    prop::collection::vec(one, 16)
}

async fn leaves(
    secret: &str,
    place: usize,
    reader: &[Says],
    (planned, mask): (bool, bool),
) -> (World, Vec<String>) {
    let document = report("");
    let mut paragraphs: Vec<&str> = document.split_inclusive("\n\n").collect();
    let secret = format!("{secret} {}", paragraph("hidden"));
    paragraphs.insert(place, &secret);
    let script = |says: &Says| match says {
        Says::Nothing => answer(&[NOTHING]),
        Says::Found(text) => found(text),
        Says::Nonsense => answer(&[&document]),
        Says::Fails => Script::Refuse(BackendErrorKind::Failed, 0),
    };
    let device: Vec<Script> = reader.iter().map(script).collect();
    let first = if planned { plan() } else { answer(&["no"]) };
    let world = splitting(&device, &[first, answer(&["4.1 %"])], Feature { mask, ..chunked() });
    let request = asked(&world, &[&paragraphs.concat(), QUESTION]);
    if let Ok(mut given) = world.runtime.run(request).await {
        while given.events.next().await.is_some() {}
    }
    let seen = seen(&world, 1);
    (world, seen)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn nothing_of_the_document_leaves_but_answers(
        secret in "[b-df-hj-np-tv-z]{5,9}( [b-df-hj-np-tv-z]{5,9}){2,6}", place in 0..40_usize, reader in any_reader(), ways in any::<(bool, bool)>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (_world, seen) = runtime.block_on(leaves(&secret, place, &reader, ways));
        prop_assert!(!seen.is_empty() && seen.len() <= 2);
        let secret: Vec<char> = secret.chars().collect();
        let parts = secret.windows(5).map(|part| part.iter().collect::<String>());
        let words = ["harbour", "weather", "orchard", "railway", "library", "usual", "hidden", "4.1"];
        for part in parts.chain(words.map(str::to_owned)) {
            prop_assert!(!seen.iter().any(|request| request.contains(&part)), "`{part}`");
        }
        let answers = seen.last().map_or(0, String::len);
        prop_assert!(answers <= split::ANSWERS + 2_000, "{answers}");
    }
}
