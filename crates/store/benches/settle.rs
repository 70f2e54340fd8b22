//! What settling costs: one caller that waits for each commit, and many at once.
//!
//! `cargo bench -p inshore-store`. The first figure is what a request waits for its receipt; the second, times the
//! callers, is how many requests a second the store can carry.
#![expect(clippy::unwrap_used, reason = "a bench that cannot open its store has nothing to measure")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use inshore_domain::receipt::AnsweredBy;
use inshore_domain::{
    Exclusion, Money, Outcome, Principal, Profile, Receipt, ReceiptId, RequestId, Sensitivity, Strategy,
    TargetId, Tier, Timestamp, Timings, TraceId, Usage, Verdict,
};
use inshore_store::{Key, Store, StoreOptions};
use tokio::runtime::Runtime;

/// Connections in DESIGN.md's budget of requests a second.
const CALLERS: u64 = 64;

fn receipt(number: u128) -> Receipt {
    let target = TargetId("device/inshore-default".into());
    let other = |name: &str| Verdict::new(TargetId(name.into()), Err(Exclusion::NotPermitted));
    Receipt {
        // As real ids do: time above, randomness below.
        id: ReceiptId::new(
            Timestamp::from_unix_millis(1_780_000_000_000 + (number >> 4) as u64),
            number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c),
        ),
        request: RequestId::from_bits(number.wrapping_mul(0xd6e8_feb8_6659_fd93)),
        trace: TraceId::new(number),
        at: Timestamp::from_unix_millis(1_780_000_000_000),
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

/// A store with some rows in it, so that the trees have their working height.
fn store(runtime: &Runtime, folder: &std::path::Path) -> Store {
    let store = Store::open(StoreOptions::new(folder.join("bench.db"), Key::from_bytes([7; 32]))).unwrap();
    runtime.block_on(async {
        let waiting: Vec<_> = (0..20_000).map(|number| store.settle(receipt(number))).collect();
        for settled in waiting {
            settled.await.unwrap();
        }
    });
    store
}

fn settle(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = store(&runtime, folder.path());
    let mut next: u128 = 1 << 40;
    let mut group = criterion.benchmark_group("settle");

    group.bench_function("one caller", |bencher| {
        bencher.iter_custom(|rounds| {
            let store = store.clone();
            let first = next;
            next += u128::from(rounds);
            // On a worker, as requests are.
            let measured = runtime.spawn(async move {
                let mut took = Duration::ZERO;
                for number in (first..).take(rounds as usize) {
                    let receipt = receipt(number);
                    let started = Instant::now();
                    store.settle(receipt).await.unwrap();
                    took += started.elapsed();
                }
                took
            });
            runtime.block_on(measured).unwrap()
        });
    });

    group.throughput(Throughput::Elements(CALLERS));
    group.bench_function("64 callers, each one receipt", |bencher| {
        bencher.iter_custom(|rounds| {
            let started = Instant::now();
            let callers: Vec<_> = (0..CALLERS)
                .map(|_| {
                    let (store, first) = (store.clone(), next);
                    next += u128::from(rounds);
                    runtime.spawn(async move {
                        for number in (first..).take(rounds as usize) {
                            store.settle(black_box(receipt(number))).await.unwrap();
                        }
                    })
                })
                .collect();
            for caller in callers {
                runtime.block_on(caller).unwrap();
            }
            started.elapsed()
        });
    });
    group.finish();
    runtime.block_on(store.close()).unwrap();
}

criterion_group!(benches, settle);
criterion_main!(benches);
