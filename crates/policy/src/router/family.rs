//! The task family of a request. What is learned about answers holds within a family and not across: a threshold that is
//! right for multiple choice is wrong for sums.

use std::fmt;
use std::str::FromStr;

/// What is known of a request before it is answered.
#[derive(Debug, Clone, Copy, Default)]
pub struct Prompt<'a> {
    /// What the user wrote last, and nothing of the conversation before: the task is there.
    pub text: &'a str,
    /// Whether tools are offered.
    pub tools: bool,
    /// Whether an answer in JSON is asked for.
    pub json: bool,
}

/// A kind of task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// Tools are offered.
    ToolCall,
    /// Fields are taken out of a text, or JSON is asked for.
    Extraction,
    /// One of several lettered answers.
    MultipleChoice,
    /// Code is written, changed or explained.
    Code,
    /// Something is computed.
    Math,
    /// A text into another language.
    Translate,
    /// A text becomes shorter.
    Summarise,
    /// A text becomes another one of about its length.
    Rewrite,
    /// One of several named labels.
    Classify,
    /// Everything else.
    Chat,
}

/// Words of tasks about code.
const CODE: [&str; 10] =
    ["function", "code", "python", "javascript", "typescript", "rust", "sql", "regex", "refactor", "bug"];

/// Words of tasks that ask for a number.
const MATH: [&str; 17] = [
    "how many",
    "how much",
    "how long",
    "how far",
    "how old",
    "calculate",
    "compute",
    "what percent",
    "percentage",
    "solve",
    "evaluate",
    "find",
    "average",
    "total",
    "sum",
    "what is",
    "probability",
];

impl Family {
    /// All, in the order in which they are tried.
    pub const ALL: [Family; 10] = [
        Self::ToolCall,
        Self::Extraction,
        Self::MultipleChoice,
        Self::Code,
        Self::Math,
        Self::Translate,
        Self::Summarise,
        Self::Rewrite,
        Self::Classify,
        Self::Chat,
    ];

    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ToolCall => "tool-call",
            Self::Extraction => "extraction",
            Self::MultipleChoice => "multiple-choice",
            Self::Code => "code",
            Self::Math => "math",
            Self::Translate => "translate",
            Self::Summarise => "summarise",
            Self::Rewrite => "rewrite",
            Self::Classify => "classify",
            Self::Chat => "chat",
        }
    }

    /// The first family whose signs the request has. Looks at the first and last 1,000 bytes: instructions stand at the ends of a text.
    pub fn of(prompt: Prompt<'_>) -> Self {
        if prompt.tools {
            return Self::ToolCall;
        }
        if prompt.json {
            return Self::Extraction;
        }
        let ends = ends(prompt.text);
        let lower = ends.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| says(&lower, word));
        Self::ALL.into_iter().find(|family| family.fits(&ends, &has)).unwrap_or(Self::Chat)
    }

    fn fits(self, ends: &str, has: &dyn Fn(&[&str]) -> bool) -> bool {
        match self {
            Self::ToolCall => false,
            Self::Extraction => {
                has(&["extract", "as json", "in json", "json object", "json schema", "list all the"])
            }
            Self::MultipleChoice => choices(ends) >= 3,
            Self::Code => {
                ends.contains("```")
                    || has(&CODE)
                    || ["fn ", "def ", "#include", "class ", "public static", "SELECT "]
                        .iter()
                        .any(|sign| ends.lines().any(|line| line.trim_start().starts_with(sign)))
            }
            Self::Math => {
                let numbers = super::numbers::numbers(ends).count();
                let asks = has(&MATH);
                ends.contains("\\frac") || ends.contains("\\sqrt") || (numbers >= 2 && asks)
            }
            Self::Translate => has(&["translate", "translation", "übersetze", "traduire", "traduce"]),
            Self::Summarise => has(&[
                "summarise",
                "summarize",
                "summary",
                "tl;dr",
                "in a few sentences",
                "key points",
                "shorten",
            ]),
            Self::Rewrite => has(&[
                "rewrite",
                "rephrase",
                "paraphrase",
                "proofread",
                "grammar",
                "improve",
                "more formal",
                "edit this",
            ]),
            Self::Classify => has(&[
                "classify",
                "category",
                "categorise",
                "categorize",
                "sentiment",
                "spam",
                "label",
                "positive or negative",
            ]),
            Self::Chat => true,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Family {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|family| family.as_str() == text).ok_or(())
    }
}

/// Bytes at either end of a request that are looked at.
const END: usize = 1_000;

fn ends(text: &str) -> String {
    if text.len() <= 2 * END {
        return text.to_owned();
    }
    let (mut head, mut tail) = (END, text.len() - END);
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    [text.get(..head), text.get(tail..)].map(Option::unwrap_or_default).join("\n")
}

/// Whether words stand in a text by themselves.
fn says(text: &str, words: &str) -> bool {
    text.match_indices(words).any(|(at, _)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        let after = text.get(at + words.len()..).and_then(|after| after.chars().next());
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}

/// Lines that begin with the next letter and a point or a bracket: `A. 0`, `(B) 4`, `C) 2`.
pub(super) fn choices(text: &str) -> u32 {
    let mut next = 'A';
    let mut found = 0;
    for line in text.lines() {
        let line = line.trim_start().trim_start_matches('(');
        let rest = line.strip_prefix(next).or_else(|| line.strip_prefix(next.to_ascii_lowercase()));
        if rest.is_some_and(|rest| rest.starts_with(['.', ')', ':'])) {
            found += 1;
            next = char::from_u32(u32::from(next) + 1).filter(char::is_ascii_uppercase).unwrap_or('A');
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Family) {
        assert_eq!(Family::of(Prompt { text, ..Prompt::default() }), expected, "{text}");
    }

    #[test]
    fn requests_are_told_apart_by_their_words() {
        check("Translate into French: the cat", Family::Translate);
        check("Please summarise the following mail.", Family::Summarise);
        check("Rephrase this so that it sounds kinder: no.", Family::Rewrite);
        check("A farmer has 12 cows and sells 5. How many are left?", Family::Math);
        check("Find $\\frac{1}{2}+x$.", Family::Math);
        check("Which is red?\nA. grass\nB. blood\nC. snow\nAnswer:", Family::MultipleChoice);
        check("Write a Python function that sorts names", Family::Code);
        check("Extract the invoice number", Family::Extraction);
        check("Is the sentiment of this good?", Family::Classify);
        check("Hello, how are you?", Family::Chat);
        check("", Family::Chat);
    }

    #[test]
    fn what_the_request_asks_for_goes_before_its_words() {
        let text = "Translate into French";
        assert_eq!(Family::of(Prompt { text, tools: true, json: true }), Family::ToolCall);
        assert_eq!(Family::of(Prompt { text, tools: false, json: true }), Family::Extraction);
    }

    #[test]
    fn words_within_words_and_in_the_middle_of_long_texts_do_not_count() {
        check("She is a classical pianist with a rusty encoder", Family::Chat);
        let long = format!("{}translate{}", "é".repeat(900), "ü".repeat(900));
        check(&long, Family::Chat);
        check(&format!("{} translate", "é".repeat(3_000)), Family::Translate);
    }

    #[test]
    fn names_come_back() {
        for family in Family::ALL {
            assert_eq!(family.as_str().parse(), Ok(family));
        }
        assert_eq!("poetry".parse::<Family>(), Err(()));
    }
}
