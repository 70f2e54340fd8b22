//! What happened.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::decision::{Strategy, Verdict};
use crate::event::Usage;
use crate::facts::Sensitivity;
use crate::id::{ReceiptId, RequestId, TraceId};
use crate::money::Money;
use crate::request::{Principal, Profile};
use crate::target::{TargetId, Tier};
use crate::time::Timestamp;

/// The record of one request. Written once, when the request is settled; never changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// Names the receipt.
    pub id: ReceiptId,
    /// The request it is for.
    pub request: RequestId,
    /// Joins it to other systems' records.
    pub trace: TraceId,
    /// When the request was admitted.
    pub at: Timestamp,
    /// On whose account it ran.
    pub principal: Principal,
    /// The app's name for what the request was for.
    pub feature: Option<String>,
    /// How soon it was needed.
    pub profile: Profile,
    /// The model as asked.
    pub asked: String,
    /// Where the answer came from; `None` when there was none.
    pub answered_by: Option<AnsweredBy>,
    /// How the steps were run.
    pub strategy: Strategy,
    /// What inspection found.
    pub sensitivity: Sensitivity,
    /// Why each target was taken or excluded.
    pub verdicts: Vec<Verdict>,
    /// Steps that failed before the one that answered: target and what it said.
    pub failed_steps: Vec<(TargetId, String)>,
    /// Tokens used.
    pub usage: Usage,
    /// Times.
    pub timings: Timings,
    /// What left the device, call by call; empty when nothing did.
    pub egress: Vec<EgressRecord>,
    /// What it cost; zero on the device.
    pub cost: Money,
    /// What calls of this request may have cost besides, where nobody knows.
    pub in_doubt: Money,
    /// The answer was given before and has been replayed.
    pub replay: Option<Replay>,
    /// What else the caller should know: a cap that is nearly used up, a count of tokens that cannot be right.
    pub notes: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Receipt {
    /// Bytes of all outbound calls of this request.
    pub fn bytes_out(&self) -> u64 {
        self.egress.iter().map(|record| record.bytes_out).sum()
    }
}

/// An answer from the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// The receipt of the request that it was made for.
    pub of: ReceiptId,
    /// What making it cost then, and did not cost again.
    pub saved: Money,
}

/// The target that gave the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweredBy {
    /// Which target.
    pub target: TargetId,
    /// How far away it is.
    pub tier: Tier,
    /// The model as the target named it.
    pub model: String,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A whole answer was given.
    Answered,
    /// The caller went away.
    Cancelled,
    /// It failed: a stable code and a sentence.
    Failed {
        /// For machines.
        code: String,
        /// For people; never holds prompt text.
        message: String,
    },
}

/// Times, all from admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// Until the work began at the target that answered.
    pub queued: Duration,
    /// Until the first piece of the answer; `None` when there was none.
    pub first_token: Option<Duration>,
    /// Until the end.
    pub total: Duration,
}

/// One outbound call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressRecord {
    /// Which target was called.
    pub target: TargetId,
    /// Host and port.
    pub destination: String,
    /// Bytes of the request as HTTP sees it: request line, headers and body, without TLS framing.
    pub bytes_out: u64,
    /// Bytes of the response head and body received so far, likewise.
    pub bytes_in: u64,
    /// The receipt that the other side wrote for this call, by its id there, where the other side is another Inshore.
    pub remote_receipt: Option<String>,
}

/// Where a backend notes what it sends, while it sends it: what was sent counts also when the call fails.
#[derive(Debug, Clone, Default)]
pub struct EgressLog(Arc<Mutex<Vec<EgressRecord>>>);

impl EgressLog {
    /// Opens a record for a call that is about to be sent, and names it.
    pub fn open(&self, record: EgressRecord) -> usize {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.push(record);
        records.len() - 1
    }

    /// Adds to a record opened before.
    pub fn add(&self, record: usize, bytes_out: u64, bytes_in: u64) {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(record) = records.get_mut(record) {
            record.bytes_out += bytes_out;
            record.bytes_in += bytes_in;
        }
    }

    /// Names the other side's receipt in a record opened before.
    pub fn name_remote_receipt(&self, record: usize, receipt: String) {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(record) = records.get_mut(record) {
            record.remote_receipt = Some(receipt);
        }
    }

    /// What has been noted so far.
    pub fn snapshot(&self) -> Vec<EgressRecord> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
