use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use inshore_domain::revision::Part;
use inshore_domain::*;
use inshore_policy::{Feature, Features, Rules, Settings};
use inshore_runtime::{Entry, LogReader, RunErrorKind, Spending};
use proptest::prelude::{ProptestConfig, any, prop, prop_assert, prop_assert_eq, proptest};

use crate::scripted::{Hand, Script, World, answer, by_hand, request, text, world};

/// What a client makes of a log.
#[derive(Debug, Default)]
struct Page {
    blocks: Vec<(BlockKind, String)>,
    begun: Vec<(String, Part)>,
    replaced: usize,
    finalised: Option<Option<String>>,
    ended: Option<Option<RunErrorKind>>,
    /// The text at each step.
    texts: Vec<String>,
}

impl Page {
    fn take(&mut self, entry: Entry) {
        assert!(self.ended.is_none(), "nothing follows the end");
        let revision = match entry {
            Entry::Ended(error) => return self.ended = Some(error.map(|error| error.kind)),
            Entry::Revision(revision) => revision,
        };
        assert!(self.finalised.is_none(), "nothing changes after it is final");
        match revision {
            Revision::Begun { target, part, .. } => self.begun.push((target.0, part)),
            Revision::Opened { block, kind } => {
                assert_eq!(block as usize, self.blocks.len());
                self.blocks.push((kind, String::new()));
            }
            Revision::Appended { block, text } => self.blocks[block as usize].1.push_str(&text),
            Revision::Replaced { block, span, text } => {
                self.replaced += 1;
                let old: Vec<char> = self.blocks[block as usize].1.chars().collect();
                let new = old[..span.start]
                    .iter()
                    .copied()
                    .chain(text.chars())
                    .chain(old[span.end..].iter().copied());
                self.blocks[block as usize].1 = new.collect();
            }
            Revision::Finalised { kept_draft, .. } => self.finalised = Some(kept_draft),
        }
        self.texts.push(self.text());
    }

    fn text(&self) -> String {
        let text = |(kind, text): &(BlockKind, String)| (*kind == BlockKind::Text).then(|| text.clone());
        self.blocks.iter().filter_map(text).collect()
    }

    fn calls(&self) -> Vec<&str> {
        let name = |(kind, _): &'_ (BlockKind, String)| matches!(kind, BlockKind::ToolCall { .. });
        self.blocks.iter().filter(|block| name(block)).map(|(_, arguments)| arguments.as_str()).collect()
    }
}

async fn read(mut log: LogReader) -> Page {
    let mut page = Page::default();
    while let Some((_, entry)) = log.next().await {
        page.take(entry);
    }
    page
}

fn draft(world: &World) -> Request {
    let mut request = request(world, "auto");
    request.hints.strategy = Some(Strategy::Draft);
    request
}

async fn last(world: &World) -> Receipt {
    world.store.receipts(1).await.unwrap().remove(0)
}

fn finish() -> Result<Event, BackendError> {
    Ok(Event::Finished { index: 0, reason: FinishReason::Stop })
}

fn usage(tokens: u32) -> Result<Event, BackendError> {
    Ok(Event::Usage(Usage { prompt_tokens: 10, output_tokens: tokens, ..Usage::default() }))
}

/// Lets everything happen that can.
async fn settle_down() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_draft_is_shown_and_the_few_words_that_differ_take_its_place() {
    let (hand, fed) = by_hand();
    let world = world(&[answer(&["We meet ", "on Tuesday ", "at ten o'clock in the usual room."])], &[fed]);
    let given = world.runtime.generate(draft(&world)).await.unwrap();
    assert_eq!(given.strategy, Strategy::Draft);
    settle_down().await;
    for item in [text("We meet on Wednesday at ten o'clock in the usual room."), finish(), usage(12)] {
        hand.send(item).unwrap();
    }
    drop(hand);
    let page = read(given.log).await;
    assert_eq!(page.text(), "We meet on Wednesday at ten o'clock in the usual room.");
    assert!(page.texts.contains(&"We meet on Tuesday at ten o'clock in the usual room.".to_owned()));
    assert_eq!(page.begun, [("device/small".into(), Part::Draft), ("cloud/big".into(), Part::Final)]);
    assert_eq!((page.replaced, page.finalised, page.ended), (1, Some(None), Some(None)));
    let receipt = last(&world).await;
    assert_eq!((receipt.strategy, receipt.outcome), (Strategy::Draft, Outcome::Answered));
    assert_eq!(receipt.answered_by.unwrap().target.0, "cloud/big");
    assert_eq!((receipt.cost.micros, receipt.usage.output_tokens), (10 + 48, 12));
    assert_eq!(receipt.notes, ["the draft of `device/small` made way for the answer of `cloud/big`"]);
}

#[tokio::test]
async fn a_draft_stays_when_the_other_answer_fails() {
    let refused = || Script::Refuse(BackendErrorKind::RateLimited, 0);
    let broken = || Script::Play(vec![text("It"), Err(BackendError::new(BackendErrorKind::Failed, "broke"))]);
    for (script, doubt, why) in [(refused(), false, "refused as the script says"), (broken(), true, "broke")]
    {
        let world = world(&[answer(&["A short ", "draft"])], &[script]);
        let given = world.runtime.generate(draft(&world)).await.unwrap();
        let page = read(given.log).await;
        assert_eq!((page.text().as_str(), page.ended), ("A short draft", Some(None)));
        assert_eq!(page.finalised, Some(Some(why.into())));
        let receipt = last(&world).await;
        assert_eq!(receipt.answered_by.unwrap().target.0, "device/small");
        assert_eq!((receipt.cost.micros, receipt.in_doubt.micros > 0), (0, doubt));
        assert!(receipt.notes[0].contains("is the answer: "), "{:?}", receipt.notes);
    }
}

#[tokio::test]
async fn a_cap_without_room_leaves_the_draft() {
    let world = world(&[answer(&["draft"])], &[]);
    let cap = crate::spend::cap(Measure::Money, Window::Day, 5);
    world.runtime.set_spending(Spending { caps: vec![cap], ..Spending::default() });
    let page = read(world.runtime.generate(draft(&world)).await.unwrap().log).await;
    assert_eq!((page.text().as_str(), page.ended), ("draft", Some(None)));
    assert_eq!(world.backends[1].calls.load(Ordering::SeqCst), 0);
    assert_eq!(last(&world).await.strategy, Strategy::Direct);
}

#[tokio::test(start_paused = true)]
async fn a_draft_is_final_when_patience_is_at_its_end() {
    let world = world(&[answer(&["draft"])], &[Script::Silent]);
    let page = read(world.runtime.generate(draft(&world)).await.unwrap().log).await;
    assert_eq!((page.text().as_str(), page.ended), ("draft", Some(None)));
    assert_eq!(page.finalised, Some(Some("it had not answered after 10000 ms".into())));
    assert_eq!(last(&world).await.answered_by.unwrap().target.0, "device/small");
}

#[tokio::test]
async fn a_better_answer_that_overtakes_grows_and_gives_way_again_when_it_breaks_off() {
    let ((slow, device), (fast, cloud)) = (by_hand(), by_hand());
    let world = world(&[device], &[cloud]);
    let given = world.runtime.generate(draft(&world)).await.unwrap();
    let mut log = given.log;
    let mut page = Page::default();
    slow.send(text("Dear")).unwrap();
    settle_down().await;
    fast.send(text("Hello A")).unwrap();
    settle_down().await;
    fast.send(text("nn")).unwrap();
    settle_down().await;
    while let Some((_, entry)) = log.ready() {
        page.take(entry);
    }
    assert_eq!(page.texts.last().unwrap(), "Hello Ann");
    slow.send(text(" Ann")).unwrap();
    settle_down().await;
    assert!(log.ready().is_none(), "the draft goes on unseen");
    fast.send(Err(BackendError::new(BackendErrorKind::Unreachable, "the line is dead"))).unwrap();
    for item in [text(", yes"), finish()] {
        slow.send(item).unwrap();
    }
    drop(slow);
    while let Some((_, entry)) = log.next().await {
        page.take(entry);
    }
    assert_eq!((page.text().as_str(), page.ended), ("Dear Ann, yes", Some(None)));
    assert_eq!(page.finalised, Some(Some("the line is dead".into())));
}

fn call(arguments: &str) -> [Result<Event, BackendError>; 3] {
    let delta = |delta| Ok(Event::Delta { index: 0, delta });
    [
        delta(Delta::ToolCall { call: 0, id: "c1".into(), name: "send_mail".into() }),
        delta(Delta::ToolArguments { call: 0, fragment: arguments.into() }),
        Ok(Event::Finished { index: 0, reason: FinishReason::ToolCalls }),
    ]
}

#[tokio::test]
async fn tools_are_never_called_from_a_draft() {
    // While it is a draft, a call is not shown; the better answer's is.
    let (hand, fed) = by_hand();
    let world = world(&[Script::Play(call("draft").into())], &[fed]);
    let given = world.runtime.generate(draft(&world)).await.unwrap();
    settle_down().await;
    for item in call("better") {
        hand.send(item).unwrap();
    }
    drop(hand);
    let page = read(given.log).await;
    assert_eq!((page.calls(), page.ended.clone()), (vec!["better"], Some(None)));
    // Once it is the answer, its calls are the answer's.
    let world = crate::scripted::world(
        &[Script::Play(call("draft").into())],
        &[Script::Refuse(BackendErrorKind::Failed, 0)],
    );
    let page = read(world.runtime.generate(draft(&world)).await.unwrap().log).await;
    assert_eq!((page.calls(), page.ended.clone()), (vec!["draft"], Some(None)));
}

#[tokio::test]
async fn whoever_takes_one_text_gets_one_and_never_a_mixture() {
    let said = |answer: inshore_runtime::Answer| async move {
        let deltas = answer.events.filter_map(|event| async {
            match event.unwrap() {
                Event::Delta { delta: Delta::Text { text, .. }, .. } => Some(text),
                _ => None,
            }
        });
        (answer.target.id.0.clone(), deltas.collect::<String>().await)
    };
    let world = world(&[answer(&["draft"])], &[answer(&["better"])]);
    let given = world.runtime.run(draft(&world)).await.unwrap();
    assert_eq!(said(given).await, ("cloud/big".into(), "better".into()));
    assert_eq!(last(&world).await.strategy, Strategy::Draft);

    let refused = Script::Refuse(BackendErrorKind::Failed, 0);
    let world = crate::scripted::world(&[answer(&["the ", "draft"])], &[refused]);
    let given = world.runtime.run(draft(&world)).await.unwrap();
    assert_eq!(said(given).await, ("device/small".into(), "the draft".into()));
    assert!(last(&world).await.notes[0].contains("refused as the script says"));

    let world = crate::scripted::world(&[answer(&["draft"])], &[]);
    let mut features = Features::default();
    let plain = Feature { plain: Some(Plain::Draft), strategy: Some(Strategy::Draft), ..Feature::default() };
    features.set("note", plain);
    world.runtime.set_rules(Rules::shipped(Settings { features, ..Settings::default() }));
    let mut asked = request(&world, "auto");
    asked.hints.feature = Some("note".into());
    let given = world.runtime.run(asked).await.unwrap();
    assert_eq!(said(given).await, ("device/small".into(), "draft".into()));
    assert_eq!(world.backends[1].calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn without_either_answer_there_is_an_error_and_a_receipt() {
    let refuse = || [Script::Refuse(BackendErrorKind::Failed, 0)];
    let world = world(&refuse(), &refuse());
    let error = world.runtime.generate(draft(&world)).await.unwrap_err();
    assert_eq!(error.kind, RunErrorKind::Backend(BackendErrorKind::Failed));
    let receipt = last(&world).await;
    assert_eq!((receipt.failed_steps.len(), receipt.answered_by), (2, None));
    // The one that failed to make a draft does not keep the other from answering.
    let world = crate::scripted::world(&refuse(), &[answer(&["better"])]);
    let page = read(world.runtime.generate(draft(&world)).await.unwrap().log).await;
    assert_eq!((page.text().as_str(), page.finalised), ("better", Some(None)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_come_back_cancels_both_and_one_that_does_reads_on() {
    let ((slow, device), (_fast, cloud)) = (by_hand(), by_hand());
    let world = world(&[device], &[cloud]);
    let mut given = world.runtime.generate(draft(&world)).await.unwrap();
    slow.send(text("Dear")).unwrap();
    let mut passed = 0;
    while let Some((place, entry)) = given.log.next().await {
        passed = place;
        if matches!(entry, Entry::Revision(Revision::Appended { .. })) {
            break;
        }
    }
    drop(given.log);
    settle_down().await;
    slow.send(text(" Ann")).unwrap();
    let error = world.runtime.resume("other", given.receipt, passed).unwrap_err();
    assert_eq!(error.kind, RunErrorKind::UnknownAnswer);
    let mut again = world.runtime.resume("test", given.receipt, passed).unwrap();
    let next = Entry::Revision(Revision::Appended { block: 0, text: " Ann".into() });
    assert_eq!(again.next().await, Some((passed + 1, next)));
    drop(again);
    world.runtime.shutdown().await;
    assert_eq!([0, 1].map(|place| world.backends[place].live.load(Ordering::SeqCst)), [0, 0]);
    let receipt = last(&world).await;
    assert_eq!(receipt.outcome, Outcome::Cancelled);
    assert!(receipt.in_doubt.micros > 0, "the cloud may have worked on it");
    let mut log = world.runtime.resume("test", given.receipt, passed + 1).unwrap();
    assert!(
        matches!(log.next().await, Some((_, Entry::Ended(Some(error)))) if error.kind == RunErrorKind::Abandoned)
    );
}

#[tokio::test]
async fn without_a_better_target_the_log_has_one_answer() {
    let world = world(&[answer(&["Good", " day"])], &[]);
    let mut asked = draft(&world);
    asked.model = "device".into();
    let page = read(world.runtime.generate(asked).await.unwrap().log).await;
    assert_eq!(page.texts, ["", "", "Good", "Good day", "Good day"]);
    assert_eq!((page.begun, page.replaced), (vec![("device/small".into(), Part::Final)], 0));
}

/// One side of an interleaving: pieces, and how it ends.
type Side = (Vec<String>, bool);

async fn interleave(draft_side: &Side, better_side: &Side, turns: &[bool]) -> (Page, Receipt) {
    let ((slow, device), (fast, cloud)) = (by_hand(), by_hand());
    let world = world(&[device], &[cloud]);
    let given = world.runtime.generate(draft(&world)).await.unwrap();
    let mut sides = [script(draft_side), script(better_side)];
    let hands: [Hand; 2] = [slow, fast];
    for turn in turns {
        let side = usize::from(*turn);
        if let Some(item) = sides[side].pop() {
            let _ = hands[side].send(item);
        }
        settle_down().await;
    }
    for (side, hand) in sides.into_iter().zip(hands) {
        side.into_iter().rev().for_each(|item| drop(hand.send(item)));
    }
    let page = tokio::time::timeout(Duration::from_secs(60), read(given.log)).await.expect("it ends");
    (page, last(&world).await)
}

/// The items of one side, the last first.
fn script((pieces, whole): &Side) -> Vec<Result<Event, BackendError>> {
    let mut items: Vec<_> = pieces.iter().map(|piece| text(piece)).collect();
    if *whole {
        items.extend([finish(), usage(3)]);
    } else {
        items.push(Err(BackendError::new(BackendErrorKind::Failed, "broke")));
    }
    items.reverse();
    items
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn whatever_comes_first_the_end_is_one_of_the_two_answers_whole(
        draft_side in (prop::collection::vec("[a-dü ]{1,6}", 1..6), any::<bool>()),
        better_side in (prop::collection::vec("[a-dü ]{1,6}", 1..6), any::<bool>()),
        turns in prop::collection::vec(any::<bool>(), 0..16),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (page, receipt) = runtime.block_on(interleave(&draft_side, &better_side, &turns));
        let [draft_text, better_text] = [&draft_side, &better_side].map(|(pieces, _)| pieces.concat());
        match (better_side.1, draft_side.1) {
            (true, _) => prop_assert_eq!((page.text(), page.finalised), (better_text, Some(None))),
            (false, true) => prop_assert_eq!((page.text(), page.finalised.map(|why| why.is_some())), (draft_text, Some(true))),
            (false, false) => prop_assert!(page.finalised.is_none() && page.ended.flatten().is_some()),
        }
        prop_assert_eq!(receipt.outcome == Outcome::Answered, better_side.1 || draft_side.1);
        prop_assert_eq!(receipt.in_doubt.micros == 0, better_side.1);
    }
}
