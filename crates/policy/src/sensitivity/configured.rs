//! What an installation adds: recognisers of its own, what it allows, other labels and thresholds.

use std::collections::{BTreeMap, BTreeSet};

use inshore_domain::Sensitivity;
use regex::{Regex, RegexBuilder};

use super::checks::{luhn, mod11_10, mod97, verhoeff};
use super::scan::Found;
use super::{LEAST_CONFIDENCE, kinds};

/// Recognisers of one installation: each reads every text once more.
const MAX_RECOGNISERS: usize = 64;
/// Bytes of a compiled pattern: what a few hundred alternatives take.
const MAX_PATTERN: usize = 1 << 20;
/// How far before a match a context word may stand, in bytes.
const CONTEXT: usize = 60;

/// What an installation adds to the detector and changes in it.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Looked for besides what the detector knows.
    pub recognisers: Vec<Recogniser>,
    /// Never a finding: a text in any case, or with an `@` in front every e-mail address of that domain.
    pub allow: Vec<String>,
    /// How sensitive text with a finding of a kind is, where that is not as declared in [`super::KINDS`].
    pub labels: BTreeMap<String, Sensitivity>,
    /// Findings that are less sure are not reported, 0 to 100; `None`: [`LEAST_CONFIDENCE`].
    pub least: Option<u8>,
    /// The same for single features.
    pub features: BTreeMap<String, u8>,
}

/// Something that only one installation knows: numbers of its customers, names of its projects.
#[derive(Debug, Clone)]
pub struct Recogniser {
    /// The kind of its findings.
    pub kind: String,
    /// A regular expression, as the crate `regex` reads it.
    pub pattern: String,
    /// What the digits of a match must satisfy.
    pub check: Option<Check>,
    /// Words of which one must stand before a match, in any case; empty: none must.
    pub context: Vec<String>,
    /// How sure a match is, 0 to 100.
    pub confidence: u8,
    /// How sensitive text with a match is.
    pub label: Sensitivity,
}

/// Check digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// ISO/IEC 7812-1.
    Luhn,
    /// ISO/IEC 7064 MOD 97-10, with remainder 1, letters included.
    Mod97,
    /// ISO/IEC 7064 MOD 11,10.
    Mod11,
    /// Verhoeff's.
    Verhoeff,
}

impl Check {
    fn holds(self, text: &str) -> bool {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_digit).map(|byte| byte - b'0').collect();
        match self {
            Self::Luhn => luhn(&digits),
            Self::Mod97 => mod97(text.bytes().filter(u8::is_ascii_alphanumeric)) == Some(1),
            Self::Mod11 => mod11_10(&digits),
            Self::Verhoeff => verhoeff(&digits),
        }
    }
}

/// Settings that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DetectorError {
    /// The pattern is no regular expression, or compiles to too much.
    #[error("the pattern of the recogniser `{kind}` cannot be used: {message}")]
    Pattern {
        /// Whose.
        kind: String,
        /// What is wrong with it.
        message: String,
    },
    /// More recognisers or kinds than there may be.
    #[error("there are more than {0} recognisers or kinds of findings")]
    TooMany(usize),
}

/// Settings, ready to be used.
#[derive(Debug, Clone, Default)]
pub(super) struct Configured {
    recognisers: Vec<Ready>,
    allow: BTreeSet<String>,
    labels: BTreeMap<String, Sensitivity>,
    least: Option<u8>,
    features: BTreeMap<String, u8>,
}

#[derive(Debug, Clone)]
struct Ready {
    kind: &'static str,
    pattern: Regex,
    check: Option<Check>,
    context: Vec<String>,
    confidence: u8,
}

impl Configured {
    pub(super) fn new(settings: Settings) -> Result<Self, DetectorError> {
        if settings.recognisers.len() > MAX_RECOGNISERS {
            return Err(DetectorError::TooMany(MAX_RECOGNISERS));
        }
        let mut labels = BTreeMap::new();
        let mut recognisers = Vec::with_capacity(settings.recognisers.len());
        for one in settings.recognisers {
            let kind = kinds::kept(&one.kind).ok_or(DetectorError::TooMany(kinds::MAX_KINDS))?;
            let pattern = RegexBuilder::new(&one.pattern).size_limit(MAX_PATTERN).build();
            let pattern = pattern.map_err(|error| DetectorError::Pattern {
                kind: one.kind.clone(),
                message: error.to_string(),
            })?;
            labels.insert(one.kind, one.label);
            let context = one.context.iter().map(|word| word.to_lowercase()).collect();
            recognisers.push(Ready {
                kind,
                pattern,
                check: one.check,
                context,
                confidence: one.confidence.min(100),
            });
        }
        labels.extend(settings.labels);
        let allow = settings.allow.iter().map(|text| text.to_lowercase()).collect();
        Ok(Self { recognisers, allow, labels, least: settings.least, features: settings.features })
    }

    pub(super) fn find(&self, text: &str, found: &mut Vec<Found>) {
        for one in &self.recognisers {
            for hit in one.pattern.find_iter(text).filter(|hit| !hit.is_empty()) {
                let checked = one.check.is_none_or(|check| check.holds(hit.as_str()));
                if checked && one.announced(text, hit.start()) {
                    found.push(Found { kind: one.kind, span: hit.range(), confidence: one.confidence });
                }
            }
        }
    }

    pub(super) fn allows(&self, text: Option<&str>) -> bool {
        if self.allow.is_empty() {
            return false;
        }
        let text = text.unwrap_or_default().to_lowercase();
        let domain = text.rfind('@').and_then(|at| text.get(at..));
        self.allow.contains(&text) || domain.is_some_and(|domain| self.allow.contains(domain))
    }

    pub(super) fn label(&self, kind: &str) -> Option<Sensitivity> {
        self.labels.get(kind).copied()
    }

    pub(super) fn least(&self, feature: Option<&str>) -> u8 {
        let own = feature.and_then(|feature| self.features.get(feature)).copied();
        own.or(self.least).unwrap_or(LEAST_CONFIDENCE)
    }
}

impl Ready {
    fn announced(&self, text: &str, start: usize) -> bool {
        if self.context.is_empty() {
            return true;
        }
        let mut from = start.saturating_sub(CONTEXT);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        let before = text.get(from..start).unwrap_or_default().to_lowercase();
        self.context.iter().any(|word| before.contains(word.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Detector;
    use super::*;

    fn recogniser(pattern: &str) -> Recogniser {
        Recogniser {
            kind: "customer-number".into(),
            pattern: pattern.into(),
            check: Some(Check::Luhn),
            context: vec!["Customer".into()],
            confidence: 80,
            label: Sensitivity::Confidential,
        }
    }

    fn detector(settings: Settings) -> Detector {
        Detector::new(settings).unwrap()
    }

    #[test]
    fn a_recogniser_needs_its_check_and_its_word() {
        let settings = Settings { recognisers: vec![recogniser(r"C-\d{4}")], ..Settings::default() };
        let detector = detector(settings);
        let found = detector.find("our customer C-1230 and customer C-1231, but");
        assert_eq!(
            found.iter().map(|one| (one.kind, one.span.clone())).collect::<Vec<_>>(),
            [("customer-number", 13..19)]
        );
        assert_eq!(detector.label(&found), Sensitivity::Confidential);
        assert_eq!(detector.find("a part C-1230"), []);
    }

    #[test]
    fn what_is_allowed_is_no_finding() {
        let allow = vec!["Info@Example.org".into(), "@example.net".into()];
        let detector = detector(Settings { allow, ..Settings::default() });
        assert_eq!(detector.find("info@example.org, anna@example.net"), []);
        assert_eq!(detector.find("anna@example.org").len(), 1);
    }

    #[test]
    fn labels_and_thresholds_are_those_of_the_installation() {
        let labels = BTreeMap::from([("email".to_owned(), Sensitivity::Confidential)]);
        let features = BTreeMap::from([("chat".to_owned(), 99)]);
        let detector = detector(Settings { labels, features, ..Settings::default() });
        let found = detector.find("anna@example.org");
        assert_eq!(detector.label(&found), Sensitivity::Confidential);
        assert_eq!(detector.find_for(Some("chat"), "anna@example.org"), []);
        assert_eq!(detector.find_for(Some("mail"), "anna@example.org").len(), 1);
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let settings =
            |pattern: &str| Settings { recognisers: vec![recogniser(pattern)], ..Settings::default() };
        assert!(matches!(Detector::new(settings("(")), Err(DetectorError::Pattern { .. })));
        assert!(matches!(Detector::new(settings(r"\w{1000}{1000}")), Err(DetectorError::Pattern { .. })));
        let many = Settings { recognisers: vec![recogniser("a"); 65], ..Settings::default() };
        assert_eq!(Detector::new(many).unwrap_err(), DetectorError::TooMany(64));
    }
}
