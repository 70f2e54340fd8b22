//! A look at the text before Cedar parses it: how many policies there are, where each begins, and that none is deeper than
//! what Cedar's recursive parts can take.

use super::error::{PolicyError, PolicyErrors};

/// Longest text of policies. The shipped ones have 3 KiB; what people write by hand is below 50, and at this size parsing takes
/// tens of milliseconds.
pub(super) const MAX_TEXT: usize = 256 << 10;
/// Most policies, the shipped ones included. Each costs about a third of a microsecond for each target: five targets and this
/// many policies cost a request a third of a millisecond, which is nearly all that the daemon may add.
pub const MAX_POLICIES: usize = 200;
/// Most tokens in one policy. An expression is never deeper than its tokens are many, and freeing one, which Cedar does by
/// recursion, takes up to 200 bytes of stack a level: 2 MiB, the stack of a thread, are far away.
const MAX_TOKENS: usize = 2_000;
/// Most brackets open at the same time. Cedar's parser descends dozens of levels for each; nobody reads more than ten.
const MAX_NESTING: usize = 50;

/// Where each statement begins, in bytes. A text without its last semicolon has a last statement all the same.
///
/// # Errors
/// When a limit is passed, with the line where.
pub(super) fn statements(text: &str) -> Result<Vec<usize>, PolicyErrors> {
    if text.len() > MAX_TEXT {
        let message = format!("the policies have {} bytes, and {MAX_TEXT} at most are read", text.len());
        return Err(PolicyError::without_place(message).into());
    }
    let mut scan = Scan::default();
    let mut rest = text.char_indices().peekable();
    while let Some((at, char)) = rest.next() {
        match char {
            '/' if rest.peek().is_some_and(|(_, next)| *next == '/') => {
                // As in Cedar, where a carriage return alone ends a comment too.
                while rest.next_if(|(_, char)| !matches!(char, '\n' | '\r')).is_some() {}
            }
            '"' => {
                scan.token(text, at)?;
                while let Some((_, char)) = rest.next() {
                    match char {
                        '\\' => drop(rest.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            char if char.is_whitespace() => {}
            char if is_word(char) => {
                scan.token(text, at)?;
                while rest.next_if(|(_, char)| is_word(*char)).is_some() {}
            }
            char => scan.punctuation(text, at, char)?,
        }
    }
    Ok(scan.starts)
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

#[derive(Default)]
struct Scan {
    starts: Vec<usize>,
    /// Tokens of the statement that is open; 0 between statements.
    tokens: usize,
    nesting: usize,
}

impl Scan {
    fn token(&mut self, text: &str, at: usize) -> Result<(), PolicyErrors> {
        if self.tokens == 0 {
            if self.starts.len() == MAX_POLICIES {
                let message = format!("there are more than {MAX_POLICIES} policies");
                return Err(PolicyError::at(text, at, message).into());
            }
            self.starts.push(at);
        }
        self.tokens += 1;
        if self.tokens > MAX_TOKENS {
            let message = format!("this policy is too long: it has more than {MAX_TOKENS} words and signs");
            return Err(PolicyError::at(text, at, message).hint("make several policies of it").into());
        }
        Ok(())
    }

    fn punctuation(&mut self, text: &str, at: usize, char: char) -> Result<(), PolicyErrors> {
        self.token(text, at)?;
        match char {
            '(' | '[' | '{' => self.nesting += 1,
            ')' | ']' | '}' => self.nesting = self.nesting.saturating_sub(1),
            // Also inside brackets: a bracket that is never closed must not make one statement of all that follows.
            ';' => (self.tokens, self.nesting) = (0, 0),
            _ => {}
        }
        if self.nesting > MAX_NESTING {
            let message = format!("more than {MAX_NESTING} brackets are open here");
            return Err(PolicyError::at(text, at, message).into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(text: &str) -> Vec<usize> {
        statements(text).expect("within the limits")
    }

    fn refusal(text: &str) -> String {
        statements(text).expect_err("too much").to_string()
    }

    #[test]
    fn semicolons_in_texts_and_comments_end_nothing() {
        assert!(starts("").is_empty());
        assert_eq!(starts(" // permit; \n permit; forbid"), [14, 22]);
        assert_eq!(starts(r#"a "x;\";" b; c"#), [0, 13]);
        assert_eq!(starts("\"never closed; a; b"), [0]);
        assert_eq!(starts("// a\rb; c"), [5, 8]);
    }

    #[test]
    fn each_limit_is_named_with_its_place() {
        let line = "permit(principal, action, resource);\n";
        assert_eq!(starts(&line.repeat(MAX_POLICIES)).len(), MAX_POLICIES);
        let many = refusal(&line.repeat(MAX_POLICIES + 1));
        assert!(many.starts_with("line 201, column 1: there are more than 200 policies"), "{many}");
        let deep = refusal(&format!("permit(principal, action, resource) when {}", "(".repeat(60)));
        assert!(deep.contains("more than 50 brackets are open here"), "{deep}");
        let long = refusal(&format!("permit(principal, action, resource) when {{ x{}", ".a".repeat(5_000)));
        assert!(long.contains("this policy is too long"), "{long}");
        let big = refusal(&" ".repeat(MAX_TEXT + 1));
        assert_eq!(big, "the policies have 262145 bytes, and 262144 at most are read");
    }
}
