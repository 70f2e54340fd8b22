//! What inspection found, without a network.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::cap::Claim;
use crate::decision::{Hybrid, Prefer, Strategy};
use crate::request::{Principal, Profile};
use crate::target::{Capabilities, TargetId};

/// How much harm it would do if the text became known. Ordered: later is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Sensitivity {
    /// May be known to anyone.
    Public,
    /// For the organisation. The default for text nobody has judged.
    #[default]
    Internal,
    /// For named people.
    Confidential,
    /// Never leaves the device, whatever the rules say.
    Restricted,
}

impl Sensitivity {
    /// All, from harmless to harmful.
    pub const ALL: [Sensitivity; 4] = [Self::Public, Self::Internal, Self::Confidential, Self::Restricted];

    /// The word used on the wire, in config and in receipts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Confidential => "confidential",
            Self::Restricted => "restricted",
        }
    }
}

impl fmt::Display for Sensitivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is none of the four levels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a sensitivity: expected public, internal, confidential or restricted")]
pub struct BadSensitivity(pub String);

impl FromStr for Sensitivity {
    type Err = BadSensitivity;
    fn from_str(text: &str) -> Result<Self, BadSensitivity> {
        Self::ALL
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| BadSensitivity(text.chars().take(64).collect()))
    }
}

/// Something sensitive that was found in the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What it is: `email`, `iban`, `api-key`.
    pub kind: &'static str,
    /// Where: byte offsets into the inspected text.
    pub span: std::ops::Range<usize>,
    /// 0 to 100: how sure the detector is.
    pub confidence: u8,
}

/// Whether a target can be expected to answer now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Health {
    /// Answered last time, or was never asked.
    #[default]
    Up,
    /// Failed several times in a row and is left alone for a while.
    Down,
}

/// Everything `decide` may look at. Two equal values always lead to the same Decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The model as asked.
    pub model: String,
    /// The app's name for what the request is for.
    pub feature: Option<String>,
    /// On whose account it runs.
    pub principal: Principal,
    /// The groups that the config puts the user into.
    pub groups: Vec<String>,
    /// How soon it is needed.
    pub profile: Profile,
    /// The worst of what was found and what the caller said.
    pub sensitivity: Sensitivity,
    /// How sensitive the text is that would leave, where values are masked first; `None`: as sensitive as it is here.
    pub leaving: Option<Sensitivity>,
    /// What was found.
    pub findings: Vec<Finding>,
    /// A low estimate of the prompt's tokens: only what is clearly too long is left out by it.
    pub prompt_tokens: u32,
    /// The prompt has no more tokens than this, whatever the tokenizer: what money is set aside for.
    pub prompt_tokens_at_most: u32,
    /// Most tokens one answer may have; `None` when the caller set no limit.
    pub max_output_tokens: Option<u32>,
    /// How many answers are asked for, over all prompts.
    pub answers: u32,
    /// A call made for it sends no more bytes than this, request line and headers included.
    pub bytes_at_most: u64,
    /// What a target must be able to do.
    pub needs: Capabilities,
    /// The time to first token the caller can live with.
    pub latency_budget: Option<Duration>,
    /// The quality that the feature needs, 0 to 100.
    pub quality_floor: Option<u8>,
    /// The regions where the work may be done; `None`: anywhere. The device is always one of them.
    pub regions: Option<Vec<String>>,
    /// Work may leave the device for this feature: a feature can be switched to the device alone.
    pub egress: bool,
    /// What is preferred among the targets that may and can; `None`: what the installation prefers.
    pub prefer: Option<Prefer>,
    /// How the steps are to be run; `None`: the best target first, and the others after it.
    pub strategy: Option<Strategy>,
    /// How a draft is run, where there is one.
    pub hybrid: Hybrid,
    /// Targets that are not to be expected to answer now; any target not listed is up.
    pub down: Vec<TargetId>,
    /// Targets whose last call failed, lately; a target that is down is one of them for as long as it has not answered again.
    pub failing: Vec<TargetId>,
    /// Median time to first token measured for a target, where there are measurements: for the request's feature if it has been
    /// measured often enough.
    pub first_token: Vec<(TargetId, Duration)>,
    /// What is left of the caps that cover the request, for each target that a cap covers.
    pub headroom: Vec<Headroom>,
    /// The state of this machine.
    pub device: DeviceState,
}

impl Facts {
    /// How sensitive what leaves is.
    pub fn leaving(&self) -> Sensitivity {
        self.leaving.unwrap_or(self.sensitivity)
    }
}

/// What is left of a cap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headroom {
    /// The calls it is about: those to this target.
    pub target: TargetId,
    /// The cap, and which of its counters.
    pub claim: Claim,
    /// What is neither settled nor reserved.
    pub left: u64,
}

/// The state of this machine, as far as it can be told. `None`: it cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceState {
    /// There is no network to anywhere else.
    pub offline: bool,
    /// The network is paid by the byte, or slow.
    pub metered: Option<bool>,
    /// It runs on its battery.
    pub on_battery: Option<bool>,
    /// Charge of the battery in percent.
    pub battery_percent: Option<u8>,
    /// It is throttled for heat, or about to be.
    pub hot: Option<bool>,
    /// Share of memory that is available, in percent.
    pub memory_available_percent: Option<u8>,
    /// Requests that wait for a device model or are in work there.
    pub queue_depth: u32,
}
