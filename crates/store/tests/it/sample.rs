//! Receipts and stores to test with.

use std::path::Path;
use std::time::Duration;

use inshore_domain::receipt::AnsweredBy;
use inshore_domain::{
    Amounts, Claim, EgressRecord, Exclusion, Measure, Money, Outcome, Principal, Profile, Receipt, ReceiptId,
    RequestId, Reservation, ReservationId, Sensitivity, Strategy, TargetId, Tier, Timestamp, Timings,
    TraceId, Usage, Verdict, Window,
};
use inshore_store::{Key, Store, StoreError, StoreOptions};
use tokio::sync::RwLock;

pub(crate) fn key() -> Key {
    Key::from_bytes([7; Key::LEN])
}

/// Milliseconds in an hour, a day and a month of 30 days.
pub(crate) const HOUR: u64 = 3_600_000;
pub(crate) const DAY: u64 = 24 * HOUR;
pub(crate) const MONTH: u64 = 30 * DAY;

/// Some time after the epoch.
pub(crate) fn at(millis: u64) -> Timestamp {
    Timestamp::from_unix_millis(millis)
}

/// The reservation with this number.
pub(crate) fn id(number: u128) -> ReservationId {
    ReservationId::from_bits(number)
}

/// Money and nothing else.
pub(crate) fn money(money: u64) -> Amounts {
    Amounts { money, ..Amounts::default() }
}

/// A cap of money in its first window.
pub(crate) fn claim(cap: &str, window: Window, limit: u64) -> Claim {
    Claim {
        cap: cap.into(),
        subject: String::new(),
        measure: Measure::Money,
        window,
        since: at(0),
        renews: Some(at(MONTH)),
        limit,
        warn_at: None,
    }
}

/// One call that costs this at worst, made `number` milliseconds after the epoch for the receipt with the same number.
pub(crate) fn reservation(number: u128, worst: u64, claims: Vec<Claim>) -> Reservation {
    let calls = u64::from(claims.iter().any(|claim| claim.measure == Measure::Calls));
    Reservation {
        id: id(number),
        receipt: ReceiptId::from_bits(number),
        target: TargetId("openai/gpt-5-mini".into()),
        at: at(number as u64),
        amounts: Amounts { calls, ..money(worst) },
        claims,
    }
}

/// Held alone while a test starts a process. Between its fork and its exec a child has the files of every store that is open
/// then, locks too; a store that is closed just then would stay locked for that moment.
pub(crate) static STARTING: RwLock<()> = RwLock::const_new(());

/// Closes a store so that it can be opened again at once.
pub(crate) async fn close(store: &Store) {
    let _nobody_starts = STARTING.read().await;
    store.close().await.unwrap();
}

/// Opens the store that lies in a folder.
pub(crate) fn open(folder: &Path) -> Result<Store, StoreError> {
    Store::open(StoreOptions::new(folder.join("inshore.db"), key()))
}

/// An everyday receipt with this number as its id.
pub(crate) fn receipt(number: u128) -> Receipt {
    let target = TargetId("device/inshore-default".into());
    Receipt {
        id: ReceiptId::from_bits(number),
        request: RequestId::from_bits(number ^ 0xffff),
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
            Verdict::new(target.clone(), Ok(0)),
            Verdict::new(TargetId("openai/gpt-5-mini".into()), Err(Exclusion::NotPermitted)),
        ],
        failed_steps: Vec::new(),
        usage: Usage {
            prompt_tokens: 900,
            cached_tokens: 880,
            cache_write_tokens: 0,
            output_tokens: 12,
            reasoning_tokens: 0,
        },
        timings: Timings {
            queued: Duration::from_micros(300),
            first_token: Some(Duration::from_millis(35)),
            total: Duration::from_millis(180),
        },
        egress: vec![EgressRecord {
            target,
            destination: "edge.local:8080".into(),
            bytes_out: 1200,
            bytes_in: 800,
            remote_receipt: None,
        }],
        cost: Money::ZERO,
        in_doubt: Money::ZERO,
        replay: None,
        notes: Vec::new(),
        outcome: Outcome::Answered,
    }
}
