//! Finds what is sensitive in a text: identifiers, secrets, markings.
//!
//! One pass looks at each word once ([`scan`]); what may begin something is handed to who knows it: [`numbers`] with [`national`],
//! [`dates`] and [`contacts`] for what is written in digits, [`codes`] for letters with digits, [`network`] for addresses of machines,
//! [`secrets`], [`markings`]. Disguises are taken off first ([`normal`]): full-width and foreign digits, letters that pose as others,
//! what has no width, percent and JSON escapes.
//!
//! What is guaranteed: the same text always gives the same findings; they do not overlap, are in the order of the text, and begin and
//! end between characters. What is not: that everything is found. No detector finds everything, so what was found can make a
//! request more sensitive than somebody said, never less.

mod checks;
mod codes;
mod configured;
mod contacts;
mod dates;
mod encoded;
pub mod kinds;
mod markings;
mod national;
mod network;
pub(crate) mod normal;
mod numbers;
mod people;
mod scan;
mod secrets;
#[cfg(test)]
mod tests;
mod vocabulary;

use inshore_domain::{Finding, Sensitivity};

use configured::Configured;
pub use configured::{Check, DetectorError, Recogniser, Settings};
pub use kinds::{KINDS, Kind, kind};
use normal::Normal;
use scan::{Scan, settle};

/// Findings that are less sure than this are not reported: what the checks leave open is wrong more often than right below it.
pub const LEAST_CONFIDENCE: u8 = 60;

/// Finds sensitive things. Made once for an installation; looking changes nothing in it.
#[derive(Debug, Clone, Default)]
pub struct Detector {
    configured: Configured,
}

impl Detector {
    /// With what an installation adds and changes.
    pub fn new(settings: Settings) -> Result<Self, DetectorError> {
        Ok(Self { configured: Configured::new(settings)? })
    }

    /// What is sensitive in the text, in its order, without overlaps.
    pub fn find(&self, text: &str) -> Vec<Finding> {
        self.find_in(&Normal::of(text), self.configured.least(None))
    }

    /// The same, as sure as this feature asks for.
    pub fn find_for(&self, feature: Option<&str>, text: &str) -> Vec<Finding> {
        self.find_in(&Normal::of(text), self.configured.least(feature))
    }

    /// The same for a text whose disguises are off; spans are those of the original.
    pub(crate) fn find_in(&self, normal: &Normal<'_>, least: u8) -> Vec<Finding> {
        let mut found = Scan::new(&normal.text, 0).run();
        self.configured.find(&normal.text, &mut found);
        found.retain(|one| {
            one.confidence >= least && !self.configured.allows(normal.text.get(one.span.clone()))
        });
        let finding = |one: scan::Found| Finding {
            kind: one.kind,
            span: normal.span(one.span.start, one.span.end),
            confidence: one.confidence,
        };
        settle(found).into_iter().map(finding).collect()
    }

    /// The confidence that findings need where no feature is named.
    pub(crate) fn least(&self) -> u8 {
        self.configured.least(None)
    }

    /// How sensitive a text with these findings is.
    pub fn label(&self, findings: &[Finding]) -> Sensitivity {
        let label = |finding: &Finding| {
            let own = self.configured.label(finding.kind);
            own.or_else(|| kind(finding.kind).map(|kind| kind.label)).unwrap_or_default()
        };
        findings.iter().map(label).max().unwrap_or(Sensitivity::Public)
    }
}
