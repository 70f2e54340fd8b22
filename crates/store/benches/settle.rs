//! What reserving and settling cost: one caller that waits for each commit, and many at once.
//!
//! `cargo bench -p inshore-store`. The first figures are what a request waits for; the throughput is how many requests a
//! second the store can carry. After each, the median and the 99th percentile of what a caller waited, and the processor time
//! of the whole process for one request (Linux only), which tells more than the time on a machine that is shared.
#![expect(clippy::unwrap_used, reason = "a bench that cannot open its store has nothing to measure")]
#![expect(clippy::print_stdout, reason = "percentiles are not among what criterion prints")]

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use inshore_domain::receipt::AnsweredBy;
use inshore_domain::{
    Amounts, Claim, Closing, Exclusion, Measure, Money, Outcome, Principal, Profile, Receipt, ReceiptId,
    RequestId, Reservation, ReservationId, Sensitivity, Strategy, TargetId, Tier, Timestamp, Timings,
    TraceId, Usage, Verdict, Window,
};
use inshore_store::{Key, Store, StoreOptions};
use tokio::runtime::Runtime;

/// Connections in DESIGN.md's budget of requests a second.
const CALLERS: u64 = 64;
/// 21 May 2026.
const NOW: u64 = 1_780_000_000_000;

fn receipt(number: u128) -> Receipt {
    let target = TargetId("device/inshore-default".into());
    let other = |name: &str| Verdict::new(TargetId(name.into()), Err(Exclusion::NotPermitted));
    Receipt {
        id: id(number),
        request: RequestId::from_bits(number.wrapping_mul(0xd6e8_feb8_6659_fd93)),
        trace: TraceId::new(number.wrapping_mul(0xd6e8_feb8_6659_fd93_0123_4567)),
        at: Timestamp::from_unix_millis(NOW),
        principal: Principal { app: "editor".into(), user: Some("ann".into()), organisation: None },
        feature: Some("inline-completion".into()),
        profile: Profile::Realtime,
        asked: "auto".into(),
        answered_by: Some(AnsweredBy {
            target: target.clone(),
            tier: Tier::Device,
            model: "inshore-default".into(),
        }),
        strategy: Strategy::Fallback,
        sensitivity: Sensitivity::Internal,
        verdicts: vec![
            Verdict::new(target, Ok(0)),
            other("edge/workstation"),
            other("openai/gpt-5-mini"),
            other("anthropic/claude-haiku"),
            other("mistral/small"),
        ],
        failed_steps: Vec::new(),
        usage: Usage { prompt_tokens: 900, cached_tokens: 880, output_tokens: 12, ..Usage::default() },
        timings: Timings {
            queued: Duration::from_micros(300),
            first_token: Some(Duration::from_millis(35)),
            total: Duration::from_millis(180),
        },
        egress: Vec::new(),
        cost: Money::ZERO,
        in_doubt: Money::ZERO,
        replay: None,
        notes: Vec::new(),
        outcome: Outcome::Answered,
    }
}

/// As real ids are: time above, randomness below.
fn id(number: u128) -> ReceiptId {
    let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c);
    ReceiptId::new(Timestamp::from_unix_millis(NOW + (number >> 4) as u64), random)
}

/// A call that four caps cover: money of a month, of a day and of one request, and calls of an hour.
fn reservation(number: u128) -> Reservation {
    let claim = |cap: &str, measure, window, renews| Claim {
        cap: cap.into(),
        subject: "ann".into(),
        measure,
        window,
        since: Timestamp::from_unix_millis(NOW),
        renews,
        limit: u64::MAX,
        warn_at: Some(1 << 62),
    };
    let later = Some(Timestamp::from_unix_millis(NOW + 3_600_000));
    Reservation {
        id: ReservationId::from_bits(id(number).to_bits() ^ 1),
        receipt: id(number),
        target: TargetId("openai/gpt-5-mini".into()),
        at: Timestamp::from_unix_millis(NOW),
        amounts: Amounts { money: 12_345, tokens: 4_500, calls: 1, bytes_out: 9_000 },
        claims: vec![
            claim("monthly", Measure::Money, Window::Month, later),
            claim("daily", Measure::Money, Window::Day, later),
            claim("hourly", Measure::Calls, Window::Hour, later),
            claim("request", Measure::Money, Window::Request, None),
        ],
    }
}

/// What a request does with the store.
#[derive(Clone, Copy)]
enum Request {
    /// Answered on the device: a receipt.
    Device,
    /// Answered elsewhere: a reservation, then a receipt that settles it.
    Elsewhere,
}

impl Request {
    /// How long the caller waited.
    async fn run(self, store: &Store, number: u128) -> Duration {
        let receipt = receipt(number);
        let Self::Elsewhere = self else {
            let started = Instant::now();
            store.settle(receipt, Vec::new()).await.unwrap();
            return started.elapsed();
        };
        let reservation = reservation(number);
        let used = Amounts { money: 2_345, tokens: 900, calls: 1, bytes_out: 8_000 };
        let principal = receipt.principal.clone();
        let started = Instant::now();
        let reserved = store.reserve(reservation, &principal, Some("inline-completion")).await.unwrap();
        store.settle(receipt, vec![(reserved.id, Closing::Settled(used))]).await.unwrap();
        started.elapsed()
    }
}

/// A store with some rows in it, so that the trees have their working height.
fn store(runtime: &Runtime, folder: &std::path::Path) -> Store {
    let store = Store::open(StoreOptions::new(folder.join("bench.db"), Key::from_bytes([7; 32]))).unwrap();
    runtime.block_on(async {
        let waiting: Vec<_> = (0..20_000).map(|number| store.settle(receipt(number), Vec::new())).collect();
        for settled in waiting {
            settled.await.unwrap();
        }
    });
    store
}

/// What the callers of a benchmark waited, and what it cost.
#[derive(Default)]
struct Waits {
    each: Vec<Duration>,
    processor: Duration,
}

impl Waits {
    fn print(mut self, name: &str) {
        self.each.sort_unstable();
        let at = |share: f64| {
            let place = (self.each.len() as f64 * share) as usize;
            self.each.get(place).map_or(0.0, |wait| wait.as_secs_f64() * 1e6)
        };
        let processor = self.processor.as_secs_f64() * 1e6 / self.each.len().max(1) as f64;
        println!("{name}: p50 {:.1} µs, p99 {:.1} µs, processor {processor:.1} µs\n", at(0.5), at(0.99));
    }
}

/// Processor time of this process so far, in all threads.
fn processor() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanos = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// `callers` at once, each with `rounds` requests, on the workers of the runtime as requests are.
fn run(
    runtime: &Runtime,
    store: &Store,
    request: Request,
    callers: u64,
    rounds: u64,
    next: &mut u128,
) -> Waits {
    let before = processor();
    let running: Vec<_> = (0..callers)
        .map(|_| {
            let (store, first) = (store.clone(), *next);
            *next += u128::from(rounds);
            runtime.spawn(async move {
                let mut waits = Vec::with_capacity(rounds as usize);
                for number in (first..).take(rounds as usize) {
                    waits.push(request.run(&store, number).await);
                }
                waits
            })
        })
        .collect();
    let each = running.into_iter().flat_map(|caller| runtime.block_on(caller).unwrap()).collect();
    Waits { each, processor: processor() - before }
}

fn settle(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = store(&runtime, folder.path());
    let mut next: u128 = 1 << 40;
    for (name, request) in [("settle", Request::Device), ("reserve and settle", Request::Elsewhere)] {
        for (callers, who) in [(1, "one caller"), (CALLERS, "64 callers")] {
            let mut group = criterion.benchmark_group(name);
            group.throughput(Throughput::Elements(callers));
            let mut all = Waits::default();
            group.bench_function(who, |bencher| {
                bencher.iter_custom(|rounds| {
                    let started = Instant::now();
                    let waits = run(&runtime, &store, request, callers, rounds, &mut next);
                    let took = started.elapsed();
                    all.each.extend(&waits.each);
                    all.processor += waits.processor;
                    if callers == 1 { waits.each.iter().sum() } else { took }
                });
            });
            group.finish();
            all.print(&format!("{name}, {who}"));
        }
    }
    runtime.block_on(store.close()).unwrap();
}

fn headroom(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store =
        Store::open(StoreOptions::new(folder.path().join("bench.db"), Key::from_bytes([7; 32]))).unwrap();
    let reservation = reservation(1);
    let claims = reservation.claims.clone();
    runtime.block_on(store.reserve(reservation, &Principal::default(), None)).unwrap();
    criterion.bench_function("headroom of four claims", |bencher| bencher.iter(|| store.headroom(&claims)));
    runtime.block_on(store.close()).unwrap();
}

criterion_group!(benches, settle, headroom);
criterion_main!(benches);
