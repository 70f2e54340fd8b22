use std::sync::atomic::Ordering;

use futures_util::StreamExt;
use inshore_domain::Strategy;
use inshore_domain::request::{Chat, Message, Part, Role};
use inshore_domain::*;
use inshore_policy::{Feature, Features, Rules, Settings, split};
use inshore_runtime::Spending;
use proptest::prelude::*;
// The domain has a Strategy too.
use proptest::strategy::Strategy as Gen;

use crate::scripted::{Script, World, answer, request, world};

const FEATURE: &str = "reports";
pub(crate) const QUESTION: &str = "How much did pensions rise?";

pub(crate) fn splitting(device: &[Script], cloud: &[Script], more: Feature) -> World {
    let world = world(device, cloud);
    world.runtime.set_rules(Rules::shipped(settings(more)));
    world
}

fn settings(more: Feature) -> Settings {
    let mut features = Features::default();
    features.set(FEATURE, Feature { strategy: Some(Strategy::Split), ..more });
    Settings { features, ..Settings::default() }
}

/// A paragraph that fills a passage by itself and is about nothing else.
pub(crate) fn paragraph(word: &str) -> String {
    format!("{}\n\n", vec![word; 700 / (word.len() + 1)].join(" "))
}

fn about_pensions(more: &str) -> String {
    format!("Pensions rose by 4.1 %. {more} {}", paragraph("usual"))
}

pub(crate) fn report(more: &str) -> String {
    let others = ["harbour", "weather", "orchard", "railway", "library"].map(paragraph).concat().repeat(4);
    format!("{others}{}{others}", about_pensions(more))
}

pub(crate) fn asked(world: &World, parts: &[&str]) -> Request {
    let mut request = request(world, "auto");
    let content = parts.iter().map(|part| Part::Text((*part).to_owned())).collect();
    let messages = vec![Message { content, ..Message::text(Role::User, "") }];
    request.task = Task::Chat(Chat { messages, ..Chat::default() });
    request.hints.feature = Some(FEATURE.into());
    request
}

pub(crate) async fn run(world: &World, request: Request) -> (String, Receipt) {
    let mut given = world.runtime.run(request).await.unwrap();
    let mut said = String::new();
    while let Some(event) = given.events.next().await {
        if let Event::Delta { delta: Delta::Text { text, .. }, .. } = event.unwrap() {
            said.push_str(&text);
        }
    }
    (said, world.store.receipt(given.receipt).await.unwrap().unwrap())
}

/// All that a backend got, request by request.
pub(crate) fn seen(world: &World, place: usize) -> Vec<String> {
    let seen = world.backends[place].seen.lock().unwrap();
    seen.iter().map(|request| format!("{:?} {:?}", request.task, request.original)).collect()
}

pub(crate) fn parts(request: &Request) -> Vec<String> {
    let Task::Chat(chat) = &request.task else { unreachable!("it is a chat") };
    let parts = chat.messages.iter().flat_map(|message| &message.content);
    parts.map(|part| if let Part::Text(text) = part { text.clone() } else { String::new() }).collect()
}

#[tokio::test]
async fn only_passages_leave_and_the_receipt_says_what_that_spared() {
    let world = splitting(&[], &[answer(&["By ", "4.1 %."])], Feature::default());
    let document = report("");
    let (said, receipt) = run(&world, asked(&world, &[&document, QUESTION])).await;
    assert_eq!((said.as_str(), receipt.strategy), ("By 4.1 %.", Strategy::Split));
    let sent = parts(&world.backends[1].seen.lock().unwrap()[0]);
    assert_eq!(sent, [format!("{0}{1}{0}", split::GAP, about_pensions("")), QUESTION.to_owned()]);
    let bytes = about_pensions("").len();
    // 10 tokens of prompt at 1 and 2 of answer at 4; the whole is counted as a token for five bytes.
    let whole = document.len().div_ceil(5) + QUESTION.len().div_ceil(5) + 4 + 2 * 4;
    assert_eq!(
        receipt.notes,
        [
            format!("of the document 1 of 41 passages were sent, {bytes} of {} bytes", document.len()),
            format!(
                "sending the whole document would have cost about 0.{whole:06} USD, and this cost 0.000018 USD"
            ),
        ]
    );
    assert_eq!(receipt.cost.micros, 18);
}

#[tokio::test]
async fn what_is_set_aside_is_for_the_passages() {
    let world = splitting(
        &[],
        &[answer(&["By 4.1 %."])],
        Feature { max_output_tokens: Some(10), ..Feature::default() },
    );
    // The whole has some 29,000 bytes, and each might be a token; so might each of a passage and what providers add.
    let cap = crate::spend::cap(Measure::Money, Window::Day, 3_000);
    world.runtime.set_spending(Spending { caps: vec![cap], ..Spending::default() });
    let (_, receipt) = run(&world, asked(&world, &[&report(""), QUESTION])).await;
    assert_eq!(receipt.answered_by.unwrap().target.0, "cloud/big");
}

#[tokio::test]
async fn passages_are_masked_with_what_the_whole_tells() {
    let world =
        splitting(&[], &[answer(&["[EMAIL_1] knows."])], Feature { mask: true, ..Feature::default() });
    // That this is part of an address is told elsewhere in the document.
    let document = format!("{}{}", report("Ask quimbyada about it."), "Mail: quimbyada@mailhost.example\n\n");
    let (said, receipt) = run(&world, asked(&world, &[&document, QUESTION])).await;
    let sent = &seen(&world, 1)[0];
    assert!(
        sent.contains("Pensions rose") && !sent.contains("quimby") && !sent.contains("mailhost"),
        "{sent}"
    );
    assert_eq!(said, "quimbyada@mailhost.example knows.");
    assert!(receipt.notes[0].starts_with("of the document 1 of "), "{:?}", receipt.notes);
    assert_eq!(receipt.notes[1], "masked before the call: EMAIL 1");
}

#[tokio::test]
async fn the_device_has_the_whole_when_no_other_answers() {
    let refuse = Script::Refuse(BackendErrorKind::Failed, 0);
    let world = splitting(&[answer(&["4.1 %"])], &[refuse], Feature::default());
    let document = report("");
    let (said, receipt) = run(&world, asked(&world, &[&document, QUESTION])).await;
    assert_eq!((said.as_str(), receipt.answered_by.unwrap().target.0.as_str()), ("4.1 %", "device/small"));
    assert_eq!(parts(&world.backends[0].seen.lock().unwrap()[0]), [document.as_str(), QUESTION]);
    assert_eq!(receipt.notes.len(), 1, "{:?}", receipt.notes);
}

#[tokio::test]
async fn a_document_of_which_nothing_fits_stays_whatever_the_policies_say() {
    let world = splitting(&[answer(&["About harbours."])], &[], Feature::default());
    let (_, receipt) = run(&world, asked(&world, &[&report(""), "Resümee?"])).await;
    assert_eq!(
        (receipt.answered_by.as_ref().unwrap().target.0.as_str(), receipt.bytes_out()),
        ("device/small", 0)
    );
    assert_eq!(receipt.notes, ["what of the request may leave could not be told, so none of it does"]);

    let settings = Settings { without_shipped: true, ..settings(Feature::default()) };
    world.runtime.set_rules(Rules::parse("permit (principal, action, resource);", settings).unwrap());
    let mut request = asked(&world, &[&report(""), "Resümee?"]);
    request.model = "cloud".into();
    let error = world.runtime.run(request).await.unwrap_err();
    assert!(error.message.contains("nothing of it does"), "{error:?}");
    assert_eq!(world.backends[1].calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_short_request_runs_as_if_nobody_had_asked_for_it_to_be_split() {
    let world = splitting(&[answer(&["yes"])], &[], Feature::default());
    let (_, receipt) = run(&world, asked(&world, &["Pensions rose.", QUESTION])).await;
    assert_eq!((receipt.strategy, receipt.notes.len()), (Strategy::Fallback, 0));
    assert_eq!(receipt.answered_by.unwrap().target.0, "device/small");
}

/// What the caller does, and what the cloud does first.
#[derive(Debug, Clone)]
struct Case {
    secret: Vec<String>,
    place: usize,
    one_part: bool,
    mask: bool,
    refused: usize,
    revisions: bool,
}

fn any_case() -> impl Gen<Value = Case> {
    let secret = prop::collection::vec("[b-df-hj-np-tv-z]{5,9}", 3..8);
    (secret, 0..40_usize, any::<[bool; 3]>(), 0..3_usize).prop_map(
        |(secret, place, [one_part, mask, revisions], refused)| Case {
            secret,
            place,
            one_part,
            mask,
            refused,
            revisions,
        },
    )
}

async fn leaves(case: &Case) -> Vec<String> {
    let overloaded = BackendErrorKind::Overloaded;
    let mut cloud = vec![Script::Refuse(overloaded, 9); case.refused];
    cloud.push(answer(&["4.1 %"]));
    let world = splitting(&[answer(&["4.1 %"])], &cloud, Feature { mask: case.mask, ..Feature::default() });
    let document = report("");
    let mut paragraphs: Vec<&str> = document.split_inclusive("\n\n").collect();
    let secret = format!("{} {}", case.secret.join(" "), paragraph("hidden"));
    paragraphs.insert(case.place, &secret);
    let document = paragraphs.concat();
    let both = format!("{document}{QUESTION}");
    let request = if case.one_part { asked(&world, &[&both]) } else { asked(&world, &[&document, QUESTION]) };
    if case.revisions {
        let mut log = world.runtime.generate(request).await.unwrap().log;
        while log.next().await.is_some() {}
    } else {
        run(&world, request).await;
    }
    seen(&world, 1)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn no_part_of_what_has_nothing_to_do_with_the_question_leaves(case in any_case()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let seen = runtime.block_on(leaves(&case));
        prop_assert!(!seen.is_empty());
        let secret: Vec<char> = case.secret.join(" ").chars().collect();
        for part in secret.windows(5).map(|part| part.iter().collect::<String>()) {
            prop_assert!(!seen.iter().any(|request| request.contains(&part)), "`{part}` of {case:?}");
        }
    }
}
