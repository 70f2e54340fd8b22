//! Caps that hold, and what each way for a call to end does to the books.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use inshore_domain::*;
use inshore_runtime::{Registered, RunErrorKind, Spending};
use inshore_store::{SpendBy, SpendQuery};

use crate::scripted::{Script, World, answer, request, target, text, world};

pub(crate) fn cap(measure: Measure, window: Window, limit: u64) -> Cap {
    Cap {
        id: "test".into(),
        measure,
        window,
        limit,
        warn_percent: Some(50),
        app: Covers::All,
        user: Covers::All,
        organisation: Covers::All,
        feature: Covers::All,
        target: Covers::All,
    }
}

fn capped(caps: Vec<Cap>, cloud: &[Script]) -> World {
    let world = world(&[answer(&["here"])], cloud);
    world.runtime.set_spending(Spending { currency: Currency::USD, caps });
    world
}

/// Runs it to its end: the words, and the receipt.
async fn run(world: &World, request: Request) -> (String, Receipt) {
    let given = world.runtime.run(request).await;
    let (said, id) = match given {
        Ok(answer) => {
            let (id, mut said) = (answer.receipt, String::new());
            let mut events = answer.events;
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::Delta { delta: Delta::Text { text, .. }, .. }) => said.push_str(&text),
                    Ok(_) => {}
                    Err(error) => said.push_str(&format!("<{}>", error.kind.code())),
                }
            }
            (said, id)
        }
        Err(error) => (format!("<{}>", error.kind.code()), error.receipt.expect("a receipt")),
    };
    (said, world.store.receipt(id).await.unwrap().unwrap())
}

fn limited(world: &World, model: &str, max_tokens: u32) -> Request {
    let mut request = request(world, model);
    let Task::Chat(chat) = &mut request.task else { unreachable!("it is a chat") };
    chat.sampling.max_tokens = Some(max_tokens);
    request
}

#[tokio::test]
async fn what_was_used_is_settled_and_the_rest_of_the_worst_case_is_free_again() {
    // 10 prompt tokens at 1 micro each, 2 of answer at 4.
    let world =
        capped(vec![cap(Measure::Money, Window::Day, 10_000)], &[answer(&["a", "b"]), answer(&["a", "b"])]);
    for _ in 0..2 {
        let (said, receipt) = run(&world, limited(&world, "cloud", 100)).await;
        assert_eq!((said.as_str(), receipt.cost.micros, receipt.in_doubt.micros), ("ab", 18, 0));
    }
    let all = SpendQuery {
        from: Timestamp::default(),
        to: Timestamp::from_unix_millis(u64::MAX >> 1),
        by: SpendBy::Target,
    };
    let report = world.runtime.spend(all).await.unwrap();
    assert_eq!((report.rows[0].settled.micros, report.rows[0].requests), (36, 2));
    // 13.93 of November's 30 days have passed.
    assert_eq!(report.forecast.map(|money| money.micros), Some(77));
    world.store.verify().await.unwrap();
}

#[tokio::test]
async fn a_call_that_does_not_fit_is_not_made_and_says_when_the_cap_renews() {
    let world = capped(vec![cap(Measure::Calls, Window::Day, 1)], &[answer(&["a"])]);
    assert_eq!(run(&world, request(&world, "cloud")).await.0, "a");
    let refused = world.runtime.run(request(&world, "cloud")).await.unwrap_err();
    assert_eq!(refused.kind, RunErrorKind::NoTarget);
    assert!(refused.message.contains("the cap `test`"), "{}", refused.message);
    // 2023-11-14 22:13:20 UTC and the few milliseconds that have passed.
    let wait = refused.retry_after.expect("it is said when to come again");
    assert!((6_390..=6_400).contains(&wait.as_secs()), "{wait:?}");
    assert_eq!(world.backends[1].calls.load(Ordering::SeqCst), 1);
    // The ladder goes on to the device.
    assert_eq!(run(&world, request(&world, "auto")).await.0, "here");
}

#[tokio::test]
async fn the_reservation_decides_where_the_forecast_was_too_hopeful() {
    // Both requests are decided before either reserves.
    let world = capped(vec![cap(Measure::Calls, Window::Hour, 1)], &[answer(&["a"]), answer(&["b"])]);
    let (first, second) = tokio::join!(
        world.runtime.run(request(&world, "cloud")),
        world.runtime.run(request(&world, "cloud"))
    );
    let answered = [&first, &second].iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!((answered, world.backends[1].calls.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn how_a_call_ends_decides_what_becomes_of_the_reservation() {
    let without_usage =
        Script::Play(vec![text("a"), Ok(Event::Finished { index: 0, reason: FinishReason::Stop })]);
    let broken = Script::Play(vec![
        text("a"),
        Err(BackendError::new(BackendErrorKind::Unreachable, "the connection broke")),
    ]);
    for (script, in_doubt) in [
        (Script::Refuse(BackendErrorKind::RateLimited, 300), false),
        (Script::Refuse(BackendErrorKind::Timeout, 300), true),
        (broken, true),
        (without_usage, true),
    ] {
        let world = capped(vec![cap(Measure::Money, Window::Month, 1_000_000)], &[script]);
        let (said, receipt) = run(&world, limited(&world, "cloud", 10)).await;
        assert_eq!(receipt.cost.micros, 0, "{said}");
        assert_eq!(receipt.in_doubt.micros > 0, in_doubt, "{said}");
        assert_eq!(world.store.in_doubt(10).await.unwrap().len(), usize::from(in_doubt), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_made_again_where_it_cannot_have_cost_anything_and_each_has_a_reservation_of_its_own() {
    let busy = || Script::Refuse(BackendErrorKind::Overloaded, 30);
    let caps = || vec![cap(Measure::Calls, Window::Day, 2)];
    let world = capped(caps(), &[busy(), answer(&["a"])]);
    let (said, receipt) = run(&world, limited(&world, "cloud", 10)).await;
    assert_eq!((said.as_str(), receipt.failed_steps.len(), receipt.in_doubt.micros), ("a", 1, 0));
    assert_eq!(world.backends[1].calls.load(Ordering::SeqCst), 2);

    // Three calls at most.
    let world = capped(caps(), &[busy(), busy(), busy()]);
    assert_eq!(run(&world, limited(&world, "cloud", 10)).await.0, "<overloaded>");
    // What may have been paid is not made again.
    let world = capped(caps(), &[Script::Refuse(BackendErrorKind::Unreachable, 30)]);
    assert_eq!(run(&world, limited(&world, "cloud", 10)).await.0, "<unreachable>");
    assert_eq!(world.store.in_doubt(9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_caller_that_leaves_leaves_the_call_in_doubt() {
    let world = capped(vec![cap(Measure::Money, Window::Month, 1_000_000)], &[Script::Hang]);
    let given = world.runtime.run(limited(&world, "cloud", 10)).await.unwrap();
    // The scripted backend that hangs notes no bytes; this call has sent some.
    let id = given.receipt;
    drop(given);
    world.runtime.shutdown().await;
    let receipt = world.store.receipt(id).await.unwrap().unwrap();
    assert_eq!(receipt.outcome, Outcome::Cancelled);
    assert_eq!(receipt.in_doubt.micros > 0, receipt.bytes_out() > 0);
    world.store.verify().await.unwrap();
}

#[tokio::test]
async fn a_target_that_counts_more_than_it_can_have_used_is_not_believed() {
    let liar = Script::Play(vec![
        text("a"),
        Ok(Event::Finished { index: 0, reason: FinishReason::Stop }),
        Ok(Event::Usage(Usage { prompt_tokens: u32::MAX, output_tokens: u32::MAX, ..Usage::default() })),
    ]);
    let world = capped(vec![cap(Measure::Money, Window::Month, 1_000_000)], &[liar]);
    let (_, receipt) = run(&world, limited(&world, "cloud", 10)).await;
    assert!(receipt.cost.micros < 10_000, "{}", receipt.cost);
    assert!(
        receipt.notes.iter().any(|note| note.contains("more than this call can have cost")),
        "{:?}",
        receipt.notes
    );
    world.store.verify().await.unwrap();
}

#[tokio::test]
async fn a_stream_that_does_not_keep_to_its_limit_is_cut() {
    let endless = Script::Play((0..500).map(|_| text("x")).collect());
    let world = capped(vec![], &[endless]);
    let (said, receipt) = run(&world, limited(&world, "cloud", 20)).await;
    assert_eq!(said, format!("{}<reservation_used_up>", "x".repeat(20 * 16)));
    assert!(receipt.cost.micros > 0 && receipt.in_doubt.micros == 0);
    let Outcome::Failed { message, .. } = receipt.outcome else { panic!("it was cut") };
    assert!(message.contains("was cut"), "{message}");
}

#[tokio::test]
async fn an_answer_that_comes_letter_by_letter_is_not_cut() {
    let mut letters: Vec<_> = (0..80).map(|_| text("x")).collect();
    letters.push(Ok(Event::Finished { index: 0, reason: FinishReason::Stop }));
    letters.push(Ok(Event::Usage(Usage { prompt_tokens: 10, output_tokens: 20, ..Usage::default() })));
    let world = capped(vec![], &[Script::Play(letters)]);
    let (said, receipt) = run(&world, limited(&world, "cloud", 20)).await;
    assert_eq!((said, receipt.outcome), ("x".repeat(80), Outcome::Answered));
}

#[tokio::test]
async fn counting_a_prompt_elsewhere_is_a_call_that_caps_cover() {
    let world = capped(vec![cap(Measure::Calls, Window::Day, 1)], &[answer(&["a"])]);
    assert_eq!(world.runtime.count_tokens(request(&world, "cloud")).await.unwrap(), 42);
    let refused = world.runtime.count_tokens(request(&world, "cloud")).await.unwrap_err();
    assert_eq!(refused.kind, RunErrorKind::NoTarget);
    world.store.verify().await.unwrap();
}

#[tokio::test]
async fn warnings_are_on_the_receipt() {
    let world = capped(vec![cap(Measure::Calls, Window::Day, 4)], &vec![answer(&["a"]); 3]);
    assert!(run(&world, request(&world, "cloud")).await.1.notes.is_empty());
    let (_, receipt) = run(&world, request(&world, "cloud")).await;
    assert_eq!(receipt.notes, ["the cap `test` is used to 50 %"]);
}

/// A provider that bills what it does, and fails in every way there is.
struct Biller {
    billed: AtomicU64,
    /// Billed for calls whose caller was told what they cost.
    told: AtomicU64,
    random: Mutex<u64>,
    price: Price,
}

impl Biller {
    fn random(&self, below: u64) -> u64 {
        let mut state = self.random.lock().unwrap();
        // Knuth's MMIX generator.
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % below
    }
}

impl Backend for Biller {
    fn generate(&self, call: Call) -> BoxFuture<'_, Result<EventStream, BackendError>> {
        Box::pin(async move {
            let way = self.random(10);
            let most = call.request.task.sampling().and_then(|sampling| sampling.max_tokens).unwrap_or(1);
            let usage = Usage {
                prompt_tokens: u32::try_from(self.random(200) + 1).unwrap(),
                output_tokens: u32::try_from(self.random(u64::from(most)) + 1).unwrap(),
                ..Usage::default()
            };
            for _ in 0..self.random(4) {
                tokio::task::yield_now().await;
            }
            if way == 0 {
                return Err(BackendError::new(BackendErrorKind::RateLimited, "refused before any work"));
            }
            let record = inshore_domain::receipt::EgressRecord {
                target: call.target.id.clone(),
                destination: "api".into(),
                bytes_out: 100,
                bytes_in: 0,
                remote_receipt: None,
            };
            call.egress.open(record);
            if way == 1 {
                return Err(BackendError::new(BackendErrorKind::Unreachable, "the request was lost"));
            }
            let bill = u64::try_from(inshore_policy::cost(&self.price, &usage).micros).unwrap();
            self.billed.fetch_add(bill, Ordering::SeqCst);
            if way == 2 {
                return Err(BackendError::new(
                    BackendErrorKind::Timeout,
                    "carried out, and the response lost",
                ));
            }
            let mut events = vec![Ok(Event::Started { model: "m".into() }), text("a")];
            let finished = Ok(Event::Finished { index: 0, reason: FinishReason::Stop });
            match way {
                3 => events.push(Err(BackendError::new(BackendErrorKind::Unreachable, "cut"))),
                4 => events.push(finished),
                _ => {
                    self.told.fetch_add(bill, Ordering::SeqCst);
                    events.extend([finished, Ok(Event::Usage(usage))]);
                }
            }
            Ok(Box::pin(futures_util::stream::iter(events)) as EventStream)
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dollar_hammered_by_sixty_four_streams_is_never_passed_and_every_micro_is_accounted_for() {
    const LIMIT: u64 = 1_000_000;
    let world = capped(vec![cap(Measure::Money, Window::Month, LIMIT)], &[]);
    let mut there = target("cloud/biller", Tier::Cloud);
    let price = Price::flat(Currency::USD, 1_000_000, 4_000_000);
    there.price = Some(price);
    let biller = Arc::new(Biller {
        billed: AtomicU64::new(0),
        told: AtomicU64::new(0),
        random: Mutex::new(42),
        price,
    });
    let entry = Registered { target: Arc::new(there), backend: biller.clone(), embedder: None };
    world.runtime.set_targets(vec![entry]);
    let world = Arc::new(world);
    let tasks = tokio_util::task::TaskTracker::new();
    let settled = Arc::new(AtomicU64::new(0));
    for task in 0..64_u64 {
        let (world, settled) = (world.clone(), settled.clone());
        tasks.spawn(async move {
            for nth in 0..160_u64 {
                let Ok(answer) = world.runtime.run(limited(&world, "cloud", 400)).await else { continue };
                if (task + nth) % 13 == 0 {
                    // The caller goes away.
                    continue;
                }
                let id = answer.receipt;
                let _: Vec<_> = answer.events.collect().await;
                let receipt = world.store.receipt(id).await.unwrap().unwrap();
                settled.fetch_add(u64::try_from(receipt.cost.micros).unwrap(), Ordering::SeqCst);
            }
        });
    }
    tasks.close();
    tokio::time::timeout(Duration::from_secs(120), tasks.wait()).await.expect("it ends");
    world.runtime.shutdown().await;

    let doubts = world.store.in_doubt(usize::MAX).await.unwrap();
    let in_doubt: u64 = doubts.iter().map(|doubt| doubt.amounts.money).sum();
    let (billed, told) = (biller.billed.load(Ordering::SeqCst), biller.told.load(Ordering::SeqCst));
    let settled = settled.load(Ordering::SeqCst);
    assert!(billed > LIMIT / 4, "the cap was reached for: {billed}");
    assert!(settled + in_doubt <= LIMIT, "{settled} settled and {in_doubt} in doubt");
    assert!(billed <= LIMIT, "the provider billed {billed}");
    // A caller that left was told too, perhaps; its call is in doubt all the same.
    assert!(settled <= told, "{settled} settled, {told} told");
    assert!(
        billed - settled <= in_doubt,
        "what is not settled is in doubt: {} of {in_doubt}",
        billed - settled
    );
    let all = SpendQuery {
        from: Timestamp::default(),
        to: Timestamp::from_unix_millis(u64::MAX >> 1),
        by: SpendBy::Target,
    };
    let report = world.runtime.spend(all).await.unwrap();
    let rows: u64 = report.rows.iter().map(|row| u64::try_from(row.settled.micros).unwrap()).sum();
    assert_eq!(rows, settled, "ledger and receipts say the same");
    world.store.verify().await.unwrap();
}
