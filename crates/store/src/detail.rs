//! The lists of a receipt, as bytes: a version, then postcard.
//!
//! Postcard writes fields by position, so these types are a file format: what is here is never reordered or changed,
//! new variants go to the end, and anything else takes a new version. Words of the domain that are sets of names
//! travel as their names, so that a reordered enum there cannot change what an old receipt says.

use std::time::Duration;

use inshore_domain::{
    Capability, Claim, Currency, EgressRecord, Exclusion, Measure, Money, Receipt, ReceiptId, Replay,
    Sensitivity, TargetId, Timestamp, Verdict, Window,
};
use serde::{Deserialize, Serialize};

use crate::rows::clamp;

/// The first byte of every detail.
const VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
struct DetailRow {
    verdicts: Vec<VerdictRow>,
    failed_steps: Vec<(String, String)>,
    egress: Vec<EgressRow>,
    in_doubt: MoneyRow,
    replay: Option<ReplayRow>,
    notes: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct MoneyRow {
    micros: i64,
    currency: String,
}

#[derive(Serialize, Deserialize)]
struct ReplayRow {
    of: [u8; 16],
    saved: MoneyRow,
}

#[derive(Serialize, Deserialize)]
struct VerdictRow {
    target: String,
    outcome: Result<u64, ExclusionRow>,
    policies: Vec<String>,
}

#[derive(Serialize, Deserialize)]
enum ExclusionRow {
    NotAsked,
    NotPermitted,
    TooSensitive { found: String, permitted: String },
    Incapable(String),
    ContextTooSmall { needed: u32, window: u32 },
    Down,
    TooSlow { expected_micros: u64, budget_micros: u64 },
    NoPrice,
    Forbidden(Vec<String>),
    OverCap { claim: ClaimRow, left: u64, wanted: u64 },
    Offline,
    BelowQuality { expected: u8, floor: u8 },
}

#[derive(Serialize, Deserialize)]
struct ClaimRow {
    cap: String,
    subject: String,
    measure: String,
    window: String,
    since: u64,
    renews: Option<u64>,
    limit: u64,
    warn_at: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct EgressRow {
    target: String,
    destination: String,
    bytes_out: u64,
    bytes_in: u64,
    remote_receipt: Option<String>,
}

/// The lists of a receipt.
#[derive(Debug, PartialEq)]
pub(crate) struct Detail {
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) failed_steps: Vec<(TargetId, String)>,
    pub(crate) egress: Vec<EgressRecord>,
    pub(crate) in_doubt: Money,
    pub(crate) replay: Option<Replay>,
    pub(crate) notes: Vec<String>,
}

/// A detail that this version cannot read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadDetail {
    #[error("detail is empty")]
    Empty,
    #[error("detail has version {0}, and this version knows {VERSION}")]
    Version(u8),
    #[error("detail does not decode: {0}")]
    Bytes(#[from] postcard::Error),
    #[error("detail has the unknown word `{0}`")]
    Word(String),
}

/// Writes the lists of a receipt down. Texts longer than a column may be are cut like those.
pub(crate) fn encode(receipt: &Receipt) -> Vec<u8> {
    let row = DetailRow {
        verdicts: receipt.verdicts.iter().map(verdict_to_row).collect(),
        failed_steps: receipt
            .failed_steps
            .iter()
            .map(|(target, said)| (clamp(&target.0).to_owned(), clamp(said).to_owned()))
            .collect(),
        egress: receipt.egress.iter().map(egress_to_row).collect(),
        in_doubt: money_to_row(receipt.in_doubt),
        replay: receipt.replay.map(replay_to_row),
        notes: receipt.notes.iter().map(|note| clamp(note).to_owned()).collect(),
    };
    // Into a Vec, postcard only fails for values it cannot express (maps of unknown length); there are none here.
    postcard::to_extend(&row, vec![VERSION]).unwrap_or_default()
}

/// Reads what [`encode`] wrote. Any bytes give a detail or an error.
pub(crate) fn decode(bytes: &[u8]) -> Result<Detail, BadDetail> {
    let (version, rest) = bytes.split_first().ok_or(BadDetail::Empty)?;
    if *version != VERSION {
        return Err(BadDetail::Version(*version));
    }
    let row: DetailRow = postcard::from_bytes(rest)?;
    Ok(Detail {
        verdicts: row.verdicts.into_iter().map(verdict_from_row).collect::<Result<_, _>>()?,
        failed_steps: row.failed_steps.into_iter().map(|(target, said)| (TargetId(target), said)).collect(),
        egress: row.egress.into_iter().map(egress_from_row).collect(),
        in_doubt: money_from_row(row.in_doubt)?,
        replay: row.replay.map(replay_from_row).transpose()?,
        notes: row.notes,
    })
}

fn money_to_row(money: Money) -> MoneyRow {
    MoneyRow { micros: money.micros, currency: money.currency.code().to_owned() }
}

fn money_from_row(row: MoneyRow) -> Result<Money, BadDetail> {
    let currency = Currency::new(&row.currency).ok_or(BadDetail::Word(row.currency))?;
    Ok(Money { micros: row.micros, currency })
}

fn replay_to_row(replay: Replay) -> ReplayRow {
    ReplayRow { of: replay.of.to_bits().to_be_bytes(), saved: money_to_row(replay.saved) }
}

fn replay_from_row(row: ReplayRow) -> Result<Replay, BadDetail> {
    let of = ReceiptId::from_bits(u128::from_be_bytes(row.of));
    Ok(Replay { of, saved: money_from_row(row.saved)? })
}

fn verdict_to_row(verdict: &Verdict) -> VerdictRow {
    let outcome = match &verdict.outcome {
        Ok(place) => Ok(*place as u64),
        Err(exclusion) => Err(exclusion_to_row(exclusion)),
    };
    let policies = verdict.policies.iter().map(|id| clamp(id).to_owned()).collect();
    VerdictRow { target: clamp(&verdict.target.0).to_owned(), outcome, policies }
}

fn verdict_from_row(row: VerdictRow) -> Result<Verdict, BadDetail> {
    let outcome = match row.outcome {
        Ok(place) => Ok(usize::try_from(place).unwrap_or(usize::MAX)),
        Err(exclusion) => Err(exclusion_from_row(exclusion)?),
    };
    // What the request was expected to take is not kept: the receipt says what it took.
    Ok(Verdict { target: TargetId(row.target), outcome, policies: row.policies, estimate: None })
}

fn exclusion_to_row(exclusion: &Exclusion) -> ExclusionRow {
    match exclusion {
        Exclusion::NotAsked => ExclusionRow::NotAsked,
        Exclusion::NotPermitted => ExclusionRow::NotPermitted,
        Exclusion::TooSensitive { found, permitted } => ExclusionRow::TooSensitive {
            found: found.as_str().to_owned(),
            permitted: permitted.as_str().to_owned(),
        },
        Exclusion::Incapable(capability) => ExclusionRow::Incapable(capability.as_str().to_owned()),
        Exclusion::ContextTooSmall { needed, window } => {
            ExclusionRow::ContextTooSmall { needed: *needed, window: *window }
        }
        Exclusion::Down => ExclusionRow::Down,
        Exclusion::TooSlow { expected, budget } => ExclusionRow::TooSlow {
            expected_micros: inshore_domain::time::micros(*expected),
            budget_micros: inshore_domain::time::micros(*budget),
        },
        Exclusion::NoPrice => ExclusionRow::NoPrice,
        Exclusion::Forbidden { reasons } => {
            ExclusionRow::Forbidden(reasons.iter().map(|reason| clamp(reason).to_owned()).collect())
        }
        Exclusion::OverCap { claim, left, wanted } => {
            ExclusionRow::OverCap { claim: claim_to_row(claim), left: *left, wanted: *wanted }
        }
        Exclusion::Offline => ExclusionRow::Offline,
        Exclusion::BelowQuality { expected, floor } => {
            ExclusionRow::BelowQuality { expected: *expected, floor: *floor }
        }
    }
}

fn claim_to_row(claim: &Claim) -> ClaimRow {
    ClaimRow {
        cap: clamp(&claim.cap).to_owned(),
        subject: clamp(&claim.subject).to_owned(),
        measure: claim.measure.as_str().to_owned(),
        window: claim.window.as_str().to_owned(),
        since: claim.since.unix_millis(),
        renews: claim.renews.map(Timestamp::unix_millis),
        limit: claim.limit,
        warn_at: claim.warn_at,
    }
}

fn claim_from_row(row: ClaimRow) -> Result<Claim, BadDetail> {
    let measure = Measure::ALL.into_iter().find(|measure| measure.as_str() == row.measure);
    let window = Window::ALL.into_iter().find(|window| window.as_str() == row.window);
    Ok(Claim {
        measure: measure.ok_or(BadDetail::Word(row.measure))?,
        window: window.ok_or(BadDetail::Word(row.window))?,
        cap: row.cap,
        subject: row.subject,
        since: Timestamp::from_unix_millis(row.since),
        renews: row.renews.map(Timestamp::from_unix_millis),
        limit: row.limit,
        warn_at: row.warn_at,
    })
}

fn exclusion_from_row(row: ExclusionRow) -> Result<Exclusion, BadDetail> {
    Ok(match row {
        ExclusionRow::NotAsked => Exclusion::NotAsked,
        ExclusionRow::NotPermitted => Exclusion::NotPermitted,
        ExclusionRow::TooSensitive { found, permitted } => {
            Exclusion::TooSensitive { found: sensitivity(found)?, permitted: sensitivity(permitted)? }
        }
        ExclusionRow::Incapable(word) => Exclusion::Incapable(capability(word)?),
        ExclusionRow::ContextTooSmall { needed, window } => Exclusion::ContextTooSmall { needed, window },
        ExclusionRow::Down => Exclusion::Down,
        ExclusionRow::TooSlow { expected_micros, budget_micros } => Exclusion::TooSlow {
            expected: Duration::from_micros(expected_micros),
            budget: Duration::from_micros(budget_micros),
        },
        ExclusionRow::NoPrice => Exclusion::NoPrice,
        ExclusionRow::Forbidden(reasons) => Exclusion::Forbidden { reasons },
        ExclusionRow::OverCap { claim, left, wanted } => {
            Exclusion::OverCap { claim: Box::new(claim_from_row(claim)?), left, wanted }
        }
        ExclusionRow::Offline => Exclusion::Offline,
        ExclusionRow::BelowQuality { expected, floor } => Exclusion::BelowQuality { expected, floor },
    })
}

fn sensitivity(word: String) -> Result<Sensitivity, BadDetail> {
    word.parse().map_err(|_| BadDetail::Word(word))
}

fn capability(word: String) -> Result<Capability, BadDetail> {
    Capability::ALL.into_iter().find(|capability| capability.as_str() == word).ok_or(BadDetail::Word(word))
}

fn egress_to_row(record: &EgressRecord) -> EgressRow {
    EgressRow {
        target: clamp(&record.target.0).to_owned(),
        destination: clamp(&record.destination).to_owned(),
        bytes_out: record.bytes_out,
        bytes_in: record.bytes_in,
        remote_receipt: record.remote_receipt.as_deref().map(|id| clamp(id).to_owned()),
    }
}

fn egress_from_row(row: EgressRow) -> EgressRecord {
    EgressRecord {
        target: TargetId(row.target),
        destination: row.destination,
        bytes_out: row.bytes_out,
        bytes_in: row.bytes_in,
        remote_receipt: row.remote_receipt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn detail() -> Detail {
        let verdict = |target: &str, outcome| Verdict::new(TargetId(target.into()), outcome);
        let claim = Claim {
            cap: "daily".into(),
            subject: "ada".into(),
            measure: Measure::Money,
            window: Window::Day,
            since: Timestamp::from_unix_millis(1_700_000_000_000),
            renews: Some(Timestamp::from_unix_millis(1_700_086_400_000)),
            limit: 1_000_000,
            warn_at: None,
        };
        let (found, permitted) = (Sensitivity::Restricted, Sensitivity::Internal);
        Detail {
            verdicts: vec![
                verdict("a", Ok(0)),
                verdict("b", Err(Exclusion::NotAsked)),
                verdict("c", Err(Exclusion::NotPermitted)),
                verdict("d", Err(Exclusion::TooSensitive { found, permitted })),
                verdict("e", Err(Exclusion::Incapable(Capability::Vision))),
                verdict("f", Err(Exclusion::ContextTooSmall { needed: 9000, window: 4096 })),
                verdict("g", Err(Exclusion::Down)),
                verdict(
                    "h",
                    Err(Exclusion::TooSlow {
                        expected: Duration::from_millis(900),
                        budget: Duration::from_millis(300),
                    }),
                ),
                verdict("i", Err(Exclusion::NoPrice)),
                Verdict {
                    policies: vec!["no-cloud".into()],
                    ..verdict("j", Err(Exclusion::Forbidden { reasons: vec!["not at night".into()] }))
                },
                verdict("k", Err(Exclusion::OverCap { claim: Box::new(claim), left: 5, wanted: 7 })),
                verdict("l", Err(Exclusion::Offline)),
                verdict("m", Err(Exclusion::BelowQuality { expected: 40, floor: 70 })),
            ],
            failed_steps: vec![(TargetId("a".into()), "no answer".into())],
            egress: vec![EgressRecord {
                target: TargetId("a".into()),
                destination: "host:443".into(),
                bytes_out: 700,
                bytes_in: u64::MAX,
                remote_receipt: Some("rcpt_on_the_node".into()),
            }],
            in_doubt: Money { micros: 12, currency: Currency::USD },
            replay: Some(Replay { of: ReceiptId::from_bits(3), saved: Money::ZERO }),
            notes: vec!["the cap `daily` is used to 83 %".into()],
        }
    }

    fn bytes_of(detail: &Detail) -> Vec<u8> {
        let row = DetailRow {
            verdicts: detail.verdicts.iter().map(verdict_to_row).collect(),
            failed_steps: detail
                .failed_steps
                .iter()
                .map(|(target, said)| (target.0.clone(), said.clone()))
                .collect(),
            egress: detail.egress.iter().map(egress_to_row).collect(),
            in_doubt: money_to_row(detail.in_doubt),
            replay: detail.replay.map(replay_to_row),
            notes: detail.notes.clone(),
        };
        postcard::to_extend(&row, vec![VERSION]).unwrap()
    }

    /// The file format. Receipts written by every released version must stay readable: a change here needs a new
    /// [`VERSION`] beside the old one.
    #[test]
    fn the_bytes_are_the_ones_that_were_agreed_on() {
        let bytes = bytes_of(&detail());
        assert_eq!(decode(&bytes).unwrap(), detail());
        let lines: Vec<String> =
            bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
        insta::assert_snapshot!("detail_bytes", lines.join("\n"));
    }

    #[test]
    fn unknown_versions_and_words_are_named() {
        assert!(matches!(decode(&[]), Err(BadDetail::Empty)));
        assert!(matches!(decode(&[9, 0, 0, 0]), Err(BadDetail::Version(9))));
        let row = VerdictRow {
            target: "a".into(),
            outcome: Err(ExclusionRow::Incapable("flying".into())),
            policies: Vec::new(),
        };
        assert!(matches!(verdict_from_row(row), Err(BadDetail::Word(word)) if word == "flying"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_detail_or_an_error(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }

        #[test]
        fn a_changed_byte_is_a_detail_or_an_error(at: prop::sample::Index, value: u8) {
            let mut bytes = bytes_of(&detail());
            let at = at.index(bytes.len());
            bytes[at] = value;
            let _ = decode(&bytes);
        }
    }
}
