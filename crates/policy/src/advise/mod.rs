//! Where the work of planned features should be placed, told before any of it is sent.
//!
//! For each of four placements (the device, an edge node, the cloud, and the device first with the cloud for a share): whether it
//! is possible, how soon it answers, what it costs and what leaves the device in a month. What may and can is what
//! [`crate::Prepared::decide`] says, and what a request costs is what [`crate::cost()`] says of it: nothing is decided here in another way.
//!
//! Layout: this file what is asked and answered; `speed` how long answers take, measured or assumed; `seat` one target as it
//! would serve one feature; `outlook` the four placements; `recommend` which one, why, and the settings that make it so.
//!
//! What is not looked at: caps, what is down now, the state of the machine. A plan is about ordinary days.

mod outlook;
mod recommend;
mod seat;
mod speed;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use inshore_domain::{Capabilities, Capability, Currency, Money, Target, TargetId};

use crate::feature::{Feature, presets};
use crate::rules::Rules;

pub use outlook::{Fit, Outlook, Percent, Placement, Reason};
pub use speed::{Basis, Sample, Seen, Timed};

/// The days of a month, for everything here.
pub const DAYS: u64 = 30;
/// The share in percent that a hybrid is assumed to send on where nobody says another: one answer in five that is not good enough
/// is what a small model that fits its work leaves. It is said beside every figure that depends on it.
pub const USUAL_ESCALATED: u8 = 20;

/// A feature that somebody plans.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// The app's name for it.
    pub name: String,
    /// What it needs, as the config will say it.
    pub feature: Feature,
    /// What a target must be able to do.
    pub needs: Capabilities,
    /// Requests in a month of [`DAYS`] days.
    pub requests: u64,
    /// Tokens of a usual prompt.
    pub prompt_tokens: u32,
    /// Tokens of a usual answer.
    pub answer_tokens: u32,
    /// The share of requests that a hybrid sends on, in percent: an assumption of whoever plans.
    pub escalated: u8,
}

impl Planned {
    /// A feature of this name as it usually is: the preset, where there is one, with the volume and size that such a feature has.
    pub fn usual(name: &str) -> Self {
        let feature = presets().find(|(preset, _)| *preset == name).map(|(_, feature)| feature);
        // One person's day at work; file-scan and bulk-classify are one machine's.
        let (a_day, prompt_tokens, answer_tokens) = match name {
            "inline-completion" => (2_000, 300, 12),
            "subject-line" => (30, 400, 12),
            "chat" => (50, 1_500, 300),
            "rewrite" => (40, 400, 300),
            "code-refactor" => (20, 4_000, 1_000),
            "confidential-synthesis" => (5, 12_000, 800),
            "file-scan" => (500, 2_000, 50),
            "nightly-report" => (1, 20_000, 1_500),
            "bulk-classify" => (2_000, 300, 5),
            _ => (100, 500, 200),
        };
        let capability = if name == "inline-completion" { Capability::Completion } else { Capability::Chat };
        Self {
            name: name.to_owned(),
            feature: feature.unwrap_or_default(),
            needs: Capabilities::NONE.with(capability),
            requests: a_day * DAYS,
            prompt_tokens,
            answer_tokens,
            escalated: USUAL_ESCALATED,
        }
    }

    /// Tokens of an answer: longer ones are cut off where the feature says so.
    fn answer(&self) -> u32 {
        self.answer_tokens.min(self.feature.max_output_tokens.unwrap_or(u32::MAX))
    }
}

/// A target that may be compared, and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// As it is configured.
    pub target: Arc<Target>,
    /// It is not configured: a well-known one, to compare with.
    pub reference: bool,
    /// The model and the machine, where it is on the device.
    pub here: Option<Here>,
    /// The time for one token of an answer, as somebody says it.
    pub a_token: Option<Duration>,
    /// What was measured, whatever it was for.
    pub seen: Option<Seen>,
    /// What was measured for one feature.
    pub seen_for: BTreeMap<String, Seen>,
}

/// A model on the device, as far as its speed and its answers follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Here {
    /// Weights.
    pub parameters: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Cores of the machine that compute.
    pub cores: u32,
}

impl Candidate {
    /// A target that nothing is known of beside its description.
    pub fn of(target: Arc<Target>) -> Self {
        Self { target, reference: false, here: None, a_token: None, seen: None, seen_for: BTreeMap::new() }
    }
}

/// What advice is given from.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The policies and what is preferred. Settings of features are not read: a plan has its own.
    pub rules: &'a Rules,
    /// All targets.
    pub candidates: &'a [Candidate],
    /// The currency of what costs nothing.
    pub currency: Currency,
}

/// What is advised for one feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Advice {
    /// One for each of [`Placement::ALL`], in that order.
    pub outlooks: Vec<Outlook>,
    /// `None`: no placement is possible.
    pub recommended: Option<Placement>,
    /// Why, in one sentence.
    pub because: String,
    /// The settings for the feature that make it so; `None` without a recommendation.
    pub settings: Option<Feature>,
    /// Where requests would go with these settings and what is configured and known today, in order.
    pub runs_on: Vec<TargetId>,
    /// What whoever follows the advice should know.
    pub notes: Vec<String>,
}

impl Advice {
    /// The placement that is recommended.
    pub fn best(&self) -> Option<&Outlook> {
        self.outlooks.iter().find(|outlook| Some(outlook.placement) == self.recommended)
    }

    /// What the recommended placement costs in a month.
    pub fn cost(&self) -> Option<Money> {
        self.best().and_then(|outlook| outlook.cost)
    }
}

/// Compares the placements of a planned feature, and recommends one.
pub fn advise(plan: &Planned, ground: &Ground<'_>) -> Advice {
    let seats = seat::seats(plan, ground.candidates);
    let outlooks = outlook::all(plan, ground, &seats);
    recommend::recommend(plan, ground, &seats, outlooks)
}

#[cfg(test)]
mod tests;
