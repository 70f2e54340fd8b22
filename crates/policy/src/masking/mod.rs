//! Values that must not leave the device are replaced by placeholders before a call, and put back into its answer.
//!
//! Use: a [`Mask`] is made for a request, or kept for a conversation. [`Mask::apply`] changes a copy of the request; the copy is what
//! leaves. A [`Restorer`] made from the mask takes the events of the answer as they come and gives events with the values in their places.
//! When the mask is dropped, the values are wiped.
//!
//! What is guaranteed of a request that `apply` changed: outside of placeholders no text of it holds a masked value, nor any five
//! characters in a row of one (letters and digits in any case; with a sign or space among them, exactly; without any letter or digit they
//! are nobody's). Texts are compared without their disguises. The same value has the same placeholder everywhere; another writing of it, or a
//! part, has the same number and a further letter. What looked like a placeholder before is replaced like a value. The body as it came in is
//! dropped.
//!
//! What is guaranteed of an answer: however it is cut, the same text comes out; what is held back is only what may become a placeholder.
//! A placeholder that a model altered in case, brackets or spaces is put back where it can be nothing else. Where that is not certain, or the
//! model invented one, it stays as it is and a [`Note`] says so.
//!
//! What is not: images and prompts of token ids are counted ([`Masked::opaque`]), not changed. What the detector does not find is not
//! masked. Log-probabilities of an answer are those of the tokens that came, placeholders included.

mod json;
mod parts;
mod placeholder;
mod restore;
#[cfg(test)]
mod tests;
mod texts;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use inshore_domain::{Finding, Request};
use zeroize::Zeroizing;

use crate::sensitivity::normal::Normal;
use crate::sensitivity::{Detector, kind};
use parts::Parts;
use placeholder::{DATA, End, MAX_FORMS, NAME, Name, Seen, Sighting, TEXT};
pub use restore::{Note, Restorer};
use texts::Form;

/// Values that one mask holds. A long mail thread has some hundred; more than this is an export, not a prompt.
pub const MAX_VALUES: usize = 10_000;

/// What stands for what.
#[derive(Default)]
pub struct Mask {
    entries: Vec<Entry>,
    by_name: BTreeMap<Name, u32>,
    /// Entries by the hash of their value.
    by_value: BTreeMap<u64, Vec<u32>>,
    /// The number and the writings so far of values that are the same but for case and signs.
    same: BTreeMap<(&'static str, u64), u32>,
    numbers: BTreeMap<&'static str, u32>,
    parts: Parts,
    /// What read like a doubtful placeholder in requests: it is nothing to remark on in answers.
    familiar: BTreeSet<Name>,
}

struct Entry {
    name: Name,
    value: Zeroizing<String>,
}

impl fmt::Debug for Mask {
    /// Without the values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mask").field("values", &self.entries.len()).finish_non_exhaustive()
    }
}

/// What was done to a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Masked {
    /// Places that were replaced, by the word in their placeholders: `EMAIL`, 3.
    pub replaced: BTreeMap<&'static str, u32>,
    /// Images and prompts of token ids, which cannot be looked at.
    pub opaque: u32,
}

/// There is more to mask than a mask may hold. The request is not to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request holds more than {MAX_VALUES} values to mask")]
pub struct TooManyValues;

/// The places of one text that are replaced, in its order.
#[derive(Default)]
struct Plan {
    spans: Vec<(Range<usize>, u32)>,
}

impl Mask {
    /// Nothing is masked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces in every text of the request what the detector finds, and what earlier calls masked. After an error the request may
    /// be changed in part, and must not be sent.
    pub fn apply(&mut self, detector: &Detector, request: &mut Request) -> Result<Masked, TooManyValues> {
        request.original = None;
        let mut plans: Vec<Plan> = Vec::new();
        let mut masked = Masked::default();
        let mut failed = false;
        // First what there is to mask in all texts, then all texts: a surname may stand in front of the name it is from.
        masked.opaque = texts::each(request, &mut |text, form| {
            let plan = self.plan(detector, text, form);
            failed |= plan.is_err();
            plans.push(plan.unwrap_or_default());
        });
        let mut plans = plans.into_iter();
        texts::each(request, &mut |text, form| {
            let plan = plans.next().unwrap_or_default();
            failed = failed || self.replace(text, form, plan, &mut masked).is_err();
        });
        if failed { Err(TooManyValues) } else { Ok(masked) }
    }

    /// What is masked.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn plan(&mut self, detector: &Detector, text: &str, form: Form) -> Result<Plan, TooManyValues> {
        let normal = Normal::of(text);
        let mut spans = self.lookalikes(text);
        let escaped = spans.len();
        for finding in detector.find_in(&normal, detector.least()) {
            let Some(word) = placeholder_word(&finding) else { continue };
            let before = spans.get(..escaped).unwrap_or_default();
            let after = before.partition_point(|(span, _)| span.start < finding.span.end);
            let clear = after
                .checked_sub(1)
                .and_then(|at| before.get(at))
                .is_none_or(|(span, _)| span.end <= finding.span.start);
            if clear {
                spans.push((finding.span, word));
            }
        }
        spans.sort_by_key(|(span, _)| span.start);
        let ranges: Vec<Range<usize>> = spans.iter().map(|(span, _)| span.clone()).collect();
        let mut plan = Plan::default();
        for piece in cut(text, form, &ranges) {
            let of = spans.partition_point(|(span, _)| span.start < piece.span.end).saturating_sub(1);
            let Some((_, word)) = spans.get(of) else { continue };
            let raw = text.get(piece.span.clone()).unwrap_or_default();
            let value = if piece.string { json::unescape(raw) } else { None };
            let entry = self.learn(word, value.as_deref().unwrap_or(raw))?;
            plan.spans.push((piece.span, entry));
        }
        Ok(plan)
    }

    /// What reads like a placeholder before anything is masked.
    fn lookalikes(&mut self, text: &str) -> Vec<(Range<usize>, &'static str)> {
        let mut found = Vec::new();
        let (mut at, mut before) = (0, ' ');
        while let Some(character) = text.get(at..).and_then(|rest| rest.chars().next()) {
            let first = text.as_bytes().get(at).copied().unwrap_or(0);
            let mut next = at + character.len_utf8();
            if placeholder::may_begin(first, before)
                && let Seen::One(Sighting { name, length, certain, .. }) =
                    placeholder::read(text.get(at..).unwrap_or_default(), before, End::Whole)
            {
                if certain {
                    found.push((at..at + length, TEXT));
                    next = at + length;
                } else if self.familiar.len() < MAX_VALUES {
                    self.familiar.insert(name);
                }
            }
            before = text.get(..next).and_then(|done| done.chars().next_back()).unwrap_or(' ');
            at = next;
        }
        found
    }

    fn replace(
        &mut self,
        text: &mut String,
        form: Form,
        plan: Plan,
        masked: &mut Masked,
    ) -> Result<(), TooManyValues> {
        let mut plan = plan.spans;
        self.add_parts(text, form, &mut plan)?;
        if plan.is_empty() {
            return Ok(());
        }
        if form == Form::Name {
            let entry = self.entry(NAME, text, None)?;
            let name = self.entries.get(entry as usize).map(|entry| entry.name);
            *text = name.map(|name| name.to_string()).unwrap_or_default();
            *masked.replaced.entry(NAME).or_default() += 1;
            return Ok(());
        }
        let mut out = String::with_capacity(text.len() + plan.len() * 4);
        let (mut at, mut inside) = (0, json::Inside::default());
        for (span, entry) in plan {
            let Some(entry) = self.entries.get(entry as usize) else { continue };
            let between = text.get(at..span.start).unwrap_or_default();
            out.push_str(between);
            inside.pass(between);
            let quote = if form == Form::Json && !inside.string { "\"" } else { "" };
            // Writing to a string cannot fail.
            let _ = fmt::Write::write_fmt(&mut out, format_args!("{quote}[{}]{quote}", entry.name));
            inside.pass(text.get(span.clone()).unwrap_or_default());
            at = span.end;
            *masked.replaced.entry(entry.name.word).or_default() += 1;
        }
        out.push_str(text.get(at..).unwrap_or_default());
        *text = out;
        Ok(())
    }

    /// Adds the parts of masked values to the places of a text.
    fn add_parts(
        &mut self,
        text: &str,
        form: Form,
        plan: &mut Vec<(Range<usize>, u32)>,
    ) -> Result<(), TooManyValues> {
        let normal = Normal::of(text);
        let taken: Vec<(usize, usize)> = plan.iter().map(|(span, _)| normal.place(span)).collect();
        let hits = self.parts.find(&normal.text, &taken);
        let ranges: Vec<Range<usize>> = hits.iter().map(|hit| normal.span(hit.start, hit.end)).collect();
        let mut more = Vec::new();
        for piece in cut(text, form, &ranges) {
            let after = plan.partition_point(|(span, _)| span.start < piece.span.end);
            let clear = after
                .checked_sub(1)
                .and_then(|at| plan.get(at))
                .is_none_or(|(span, _)| span.end <= piece.span.start);
            let of = ranges.partition_point(|range| range.start < piece.span.end).saturating_sub(1);
            let owner =
                hits.get(of).and_then(|hit| self.entries.get(hit.owner as usize)).map(|entry| entry.name);
            let Some(owner) = owner.filter(|_| clear) else { continue };
            let raw = text.get(piece.span.clone()).unwrap_or_default();
            let value = if piece.string { json::unescape(raw) } else { None };
            let entry = self.entry(owner.word, value.as_deref().unwrap_or(raw), Some(owner))?;
            more.push((piece.span, entry));
        }
        plan.append(&mut more);
        plan.sort_by_key(|(span, _)| span.start);
        Ok(())
    }

    /// The entry of a value that was found, which is new or known; its parts are looked for from now on.
    fn learn(&mut self, word: &'static str, value: &str) -> Result<u32, TooManyValues> {
        let known = self.entries.len();
        let entry = self.entry(word, value, None)?;
        if self.entries.len() > known && word != TEXT {
            self.parts.add(value, entry, word == PERSON);
        }
        Ok(entry)
    }

    /// The entry of exactly this value. A new one is named after `owner`, of which it is a part, or after what is the same but for case
    /// and signs.
    fn entry(&mut self, word: &'static str, value: &str, owner: Option<Name>) -> Result<u32, TooManyValues> {
        let exact = hash(value.bytes());
        let same =
            |entry: &&u32| self.entries.get(**entry as usize).is_some_and(|entry| *entry.value == value);
        if let Some(known) = self.by_value.get(&exact).and_then(|entries| entries.iter().find(same)) {
            return Ok(*known);
        }
        if self.entries.len() >= MAX_VALUES {
            return Err(TooManyValues);
        }
        let name = self.name(word, value, owner);
        let entry = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        self.entries.push(Entry { name, value: Zeroizing::new(value.to_owned()) });
        self.by_name.insert(name, entry);
        self.by_value.entry(exact).or_default().push(entry);
        Ok(entry)
    }

    fn name(&mut self, word: &'static str, value: &str, owner: Option<Name>) -> Name {
        let letters =
            value.chars().filter(|character| character.is_alphanumeric()).flat_map(char::to_lowercase);
        let folded = (word, hash(letters.flat_map(|letter| u32::from(letter).to_le_bytes())));
        let of = owner.or_else(|| {
            let number = *self.same.get(&folded)?;
            Some(Name { word, number, form: 0 })
        });
        if let Some(of) = of {
            let writings = self.by_name.range(Name { form: 0, ..of }..=Name { form: MAX_FORMS, ..of });
            let form = writings.last().map_or(0, |(name, _)| name.form + 1);
            if form < MAX_FORMS {
                return Name { form, ..of };
            }
        }
        let number = self.numbers.entry(word).or_default();
        *number += 1;
        self.same.insert(folded, *number);
        Name { word, number: *number, form: 0 }
    }

    fn value(&self, name: Name) -> Option<&str> {
        let entry = self.by_name.get(&name)?;
        self.entries.get(*entry as usize).map(|entry| entry.value.as_str())
    }
}

/// Spans of a text as pieces that can be replaced one by one.
fn cut(text: &str, form: Form, spans: &[Range<usize>]) -> Vec<json::Piece> {
    match form {
        Form::Json => json::pieces(text, spans),
        Form::Plain | Form::Name => {
            spans.iter().map(|span| json::Piece { span: span.clone(), string: false }).collect()
        }
    }
}

/// The word in the placeholder of a finding; `None`: there is nothing to hide.
fn placeholder_word(finding: &Finding) -> Option<&'static str> {
    kind(finding.kind).map_or(Some(DATA), |kind| kind.placeholder)
}

/// The word whose values are found by their short words too.
const PERSON: &str = "PERSON";

/// FNV-1a, 64 bits.
fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
