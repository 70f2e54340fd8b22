//! Receipts and stores to test with.

use std::path::Path;
use std::time::Duration;

use inshore_domain::receipt::AnsweredBy;
use inshore_domain::{
    EgressRecord, Exclusion, Money, Outcome, Principal, Profile, Receipt, ReceiptId, RequestId, Sensitivity,
    Strategy, TargetId, Tier, Timestamp, Timings, TraceId, Usage, Verdict,
};
use inshore_store::{Key, Store, StoreError, StoreOptions};

pub(crate) fn key() -> Key {
    Key::from_bytes([7; Key::LEN])
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
        }],
        cost: Money::ZERO,
        in_doubt: Money::ZERO,
        replay: None,
        notes: Vec::new(),
        outcome: Outcome::Answered,
    }
}
