//! What is wrong with a text of policies, and where.

use std::fmt;

/// Most errors that are kept of one text: a file with more is broken as a whole, and the first ones say how.
const MAX_ERRORS: usize = 20;
/// Most characters shown of a line: what fits beside each other on a screen.
const MAX_SHOWN: usize = 120;

/// Something wrong with a text of policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    /// Where it begins; `None` where it is about the text as a whole.
    pub place: Option<Place>,
    /// What, in one sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A place in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The line itself, as much of it as fits on a screen.
    pub text: String,
}

impl Place {
    /// The place of a byte offset. An offset behind the end or inside a character counts as the nearest place before it.
    pub(super) fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..text.floor_char_boundary(offset)).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(start..).unwrap_or_default().chars().count() + 1;
        let line = text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
        Self { line: before.matches('\n').count() + 1, column, text: window(line, column) }
    }
}

/// The part of a long line around a column.
fn window(line: &str, column: usize) -> String {
    let skip = if column > MAX_SHOWN { column - MAX_SHOWN / 2 } else { 0 };
    line.chars().skip(skip).take(MAX_SHOWN).map(|char| if char.is_control() { ' ' } else { char }).collect()
}

impl PolicyError {
    pub(super) fn at(text: &str, offset: usize, message: impl Into<String>) -> Self {
        Self { place: Some(Place::of(text, offset)), ..Self::without_place(message) }
    }

    pub(super) fn on_line(text: &str, line: usize, message: impl Into<String>) -> Self {
        let lines = text.split_inclusive('\n').take(line.saturating_sub(1));
        Self::at(text, lines.map(str::len).sum(), message)
    }

    pub(super) fn without_place(message: impl Into<String>) -> Self {
        Self { place: None, message: message.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for PolicyError {
    /// One line, and where there is a place, the line of the text below it:
    ///
    /// ```text
    /// line 4, column 17: unknown attribute `tierr`: did you mean `tier`?
    ///     when { resource.tierr == Tier::"cloud" };
    /// ```
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "line {}, column {}: ", place.line, place.column)?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, ": {hint}")?;
        }
        match &self.place {
            Some(place) if !place.text.trim().is_empty() => write!(f, "\n    {}", place.text.trim()),
            _ => Ok(()),
        }
    }
}

/// Everything that is wrong with a text of policies, in the order of the text. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PolicyErrors {
    errors: Vec<PolicyError>,
    /// Errors beyond those that are kept.
    more: usize,
}

impl PolicyErrors {
    /// `None` when nothing is wrong.
    pub(super) fn of(mut errors: Vec<PolicyError>) -> Option<Self> {
        let place = |error: &PolicyError| error.place.as_ref().map(|place| (place.line, place.column));
        errors.sort_by(|a, b| (place(a), &a.message).cmp(&(place(b), &b.message)));
        // Cedar checks a policy once for each action, and says the same thing each time.
        errors.dedup();
        let more = errors.len().saturating_sub(MAX_ERRORS);
        errors.truncate(MAX_ERRORS);
        (!errors.is_empty()).then_some(Self { errors, more })
    }

    /// Each by itself, the first ones of very many.
    pub fn iter(&self) -> impl Iterator<Item = &PolicyError> {
        self.errors.iter()
    }
}

impl From<PolicyError> for PolicyErrors {
    fn from(error: PolicyError) -> Self {
        Self { errors: vec![error], more: 0 }
    }
}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            write!(f, "{newline}{error}")?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_characters_and_shows_its_line() {
        let place = Place::of("a\nbäc\nd", 5);
        assert_eq!((place.line, place.column, place.text.as_str()), (2, 3, "bäc"));
        // Inside a character, and behind the end.
        assert_eq!(Place::of("ä", 1).column, 1);
        assert_eq!(Place::of("a\n", 99).line, 2);
        let long = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let place = Place::of(&long, 500);
        assert!(place.text.contains('X') && place.text.len() <= MAX_SHOWN, "{place:?}");
    }

    #[test]
    fn of_many_errors_the_first_are_kept_and_the_rest_counted() {
        let errors = (0..30).map(|i| PolicyError::at("x", 0, format!("error {i:02}"))).collect();
        let errors = PolicyErrors::of(errors).expect("there are some");
        assert_eq!(errors.iter().count(), 20);
        assert!(errors.to_string().ends_with("error 19\n    x\nand 10 more"), "{errors}");
        assert_eq!(PolicyErrors::of(Vec::new()), None);
    }
}
