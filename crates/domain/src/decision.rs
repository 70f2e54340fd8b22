//! Where a request will run, and why.

use std::fmt;
use std::time::Duration;

use crate::cap::{Claim, Shown};
use crate::facts::Sensitivity;
use crate::money::Money;
use crate::target::{Capability, TargetId};

/// How the steps of a Decision are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// The one step, or an error.
    Direct,
    /// The steps in order until one yields its first token.
    Fallback,
    /// The first step, which is on the device, answers at once; the best of the others works beside it, and its answer takes the
    /// draft's place. See [`Hybrid`].
    Draft,
    /// The steps in order, the smallest first, until one gives an answer that stands up to its checks.
    Cascade,
    /// The steps in order, those away from the device first: each of these gets what is needed of a long document, and not the document
    /// ([`Split`]). The device, where it is a step, comes after them and has the whole: it answers when none of the others does. With [`Split::Chunks`] the first of the device's steps reads the
    /// document for the others.
    Split,
}

impl Strategy {
    /// The word used in receipts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fallback => "fallback",
            Self::Draft => "draft",
            Self::Cascade => "cascade",
            Self::Split => "split",
        }
    }

    /// All, in the order they are shown.
    pub const ALL: [Strategy; 5] = [Self::Direct, Self::Fallback, Self::Draft, Self::Cascade, Self::Split];
}

/// What leaves of a long document with [`Strategy::Split`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Split {
    /// The passages that have to do with the question.
    #[default]
    Passages,
    /// Nothing of the text: the device reads it, chunk by chunk, and what it answers leaves.
    Chunks,
}

impl Split {
    /// All.
    pub const ALL: [Split; 2] = [Self::Passages, Self::Chunks];

    /// The word used in config.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passages => "passages",
            Self::Chunks => "chunks",
        }
    }
}

/// How [`Strategy::Draft`] is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hybrid {
    /// From admission: when the better answer has not taken the draft's place by then, the draft stays.
    pub patience: Duration,
    /// What callers get that cannot take revisions.
    pub plain: Plain,
}

impl Default for Hybrid {
    /// Ten seconds: after that the reader has read the draft, and a text that changes under one's eyes is worse than a plain one.
    fn default() -> Self {
        Self { patience: Duration::from_secs(10), plain: Plain::default() }
    }
}

/// What callers get of a draft and its better answer when they can take only one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Plain {
    /// The better answer, and the draft only where there is no better one.
    #[default]
    Final,
    /// The draft, at once. No other target is called.
    Draft,
}

impl Plain {
    /// Both.
    pub const ALL: [Plain; 2] = [Self::Final, Self::Draft];

    /// The word used in config.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Final => "final",
            Self::Draft => "draft",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What comes first among the targets that may and can take a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Prefer {
    /// The nearest.
    #[default]
    Local,
    /// The cheapest.
    Cost,
    /// The one that is the first to begin its answer.
    Speed,
    /// The one with the best answers.
    Quality,
}

impl Prefer {
    /// All, in the order they are shown.
    pub const ALL: [Prefer; 4] = [Self::Local, Self::Cost, Self::Speed, Self::Quality];

    /// The word used in config and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Cost => "cost",
            Self::Speed => "speed",
            Self::Quality => "quality",
        }
    }
}

impl fmt::Display for Prefer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Where.
    pub target: TargetId,
}

/// What `decide` found: an order of steps, and one verdict for each target there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// How the steps are run.
    pub strategy: Strategy,
    /// In the order to try them; what their order means is the strategy's matter. Empty: the request is refused, and the verdicts
    /// say why.
    pub steps: Vec<Step>,
    /// One for each target, in the order the targets were given.
    pub verdicts: Vec<Verdict>,
}

/// Taken or excluded, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Which target.
    pub target: TargetId,
    /// `Ok`: permitted and able, with its place in the order of preference (0 first). `Err`: excluded. With
    /// [`Strategy::Direct`] only the first is a step; [`Strategy::Draft`], [`Strategy::Cascade`] and [`Strategy::Split`] have an order of
    /// their own.
    pub outcome: Result<usize, Exclusion>,
    /// Ids of the policies that permitted or forbade it; empty where none was needed.
    pub policies: Vec<String>,
    /// What the request is expected to take there, where that can be told.
    pub estimate: Option<Estimate>,
}

impl Verdict {
    /// A verdict that no policy was needed for, without an estimate.
    pub fn new(target: TargetId, outcome: Result<usize, Exclusion>) -> Self {
        Self { target, outcome, policies: Vec::new(), estimate: None }
    }
}

/// What a request is expected to take at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// What it will cost, usually.
    pub cost: Money,
    /// What it can cost at most: what is set aside for it.
    pub cost_at_most: Money,
    /// Median time to first token so far.
    pub first_token: Option<Duration>,
    /// How good the answer is expected to be, 0 to 100.
    pub quality: Option<u8>,
}

/// Why a target is out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exclusion {
    /// The request asked for another model.
    NotAsked,
    /// The config does not permit this target.
    NotPermitted,
    /// The text is more sensitive than this target may see.
    TooSensitive {
        /// What was found.
        found: Sensitivity,
        /// What is permitted.
        permitted: Sensitivity,
    },
    /// It lacks something the request needs.
    Incapable(Capability),
    /// The prompt, and the answer asked for, do not fit.
    ContextTooSmall {
        /// Tokens needed: an estimate of the prompt, and the answer's limit where one is set.
        needed: u32,
        /// Tokens there are.
        window: u32,
    },
    /// It failed several times in a row and is left alone for a while.
    Down,
    /// It is not expected to answer within the latency budget, and another target is.
    TooSlow {
        /// Measured median time to first token.
        expected: Duration,
        /// What the caller can live with.
        budget: Duration,
    },
    /// It has no price, and the config does not say that it is free.
    NoPrice,
    /// The policies forbid it, or none of them permits it.
    Forbidden {
        /// What the policies that forbid it say of themselves; empty where none permits it.
        reasons: Vec<String>,
    },
    /// A cap has no room for it.
    OverCap {
        /// Which.
        claim: Box<Claim>,
        /// What is left of it.
        left: u64,
        /// What the call needs at worst.
        wanted: u64,
    },
    /// There is no network.
    Offline,
    /// Its answers are not good enough for this feature.
    BelowQuality {
        /// What is expected of it.
        expected: u8,
        /// What the feature needs.
        floor: u8,
    },
}

impl Exclusion {
    /// A stable word for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotAsked => "not_asked",
            Self::NotPermitted => "not_permitted",
            Self::TooSensitive { .. } => "too_sensitive",
            Self::Incapable(_) => "incapable",
            Self::ContextTooSmall { .. } => "context_too_small",
            Self::Down => "down",
            Self::TooSlow { .. } => "too_slow",
            Self::NoPrice => "no_price",
            Self::Forbidden { .. } => "forbidden",
            Self::OverCap { .. } => "over_cap",
            Self::Offline => "offline",
            Self::BelowQuality { .. } => "below_quality",
        }
    }
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked => f.write_str("the request asked for another model"),
            Self::NotPermitted => f.write_str("the config does not permit this target"),
            Self::TooSensitive { found, permitted } => {
                write!(f, "the text is {found} and this target may see {permitted} at most")
            }
            Self::Incapable(capability) => write!(f, "it cannot do `{}`", capability.as_str()),
            Self::ContextTooSmall { needed, window } => {
                write!(f, "the request needs {needed} tokens and the context window holds {window}")
            }
            Self::Down => f.write_str("it failed several times in a row and is left alone for a while"),
            Self::TooSlow { expected, budget } => {
                write!(
                    f,
                    "first token expected after {} ms, budget {} ms",
                    expected.as_millis(),
                    budget.as_millis()
                )
            }
            Self::NoPrice => f.write_str("it has no price and is not declared free"),
            Self::Forbidden { reasons } if reasons.is_empty() => f.write_str("no policy permits it"),
            Self::Forbidden { reasons } => write!(f, "forbidden: {}", reasons.join("; ")),
            Self::OverCap { claim, left, wanted } => {
                let shown = |amount| Shown { measure: claim.measure, amount };
                let (left, wanted) = (shown(*left), shown(*wanted));
                write!(f, "the cap `{}` has {left} left and the request may need {wanted}", claim.cap)
            }
            Self::Offline => f.write_str("there is no network"),
            Self::BelowQuality { expected, floor } => {
                write!(f, "its quality is {expected} and this feature needs {floor}")
            }
        }
    }
}
