//! Whether code in an answer can be read as code.
//!
//! JSON and TOML are parsed. Of other languages it is only told whether brackets and strings are closed: cut-off and garbled code fails
//! that, and no parser of a dozen languages has to be carried along.

use super::Found;

/// Languages whose brackets and strings can be told by [`closed`]; in others (shell, Perl, Haskell) quotes mean other things.
const BRACED: [&str; 20] = [
    "rust",
    "rs",
    "c",
    "cpp",
    "c++",
    "java",
    "javascript",
    "js",
    "typescript",
    "ts",
    "go",
    "python",
    "py",
    "csharp",
    "cs",
    "kotlin",
    "swift",
    "tsx",
    "jsx",
    "scala",
];

pub(super) fn readable(text: &str) -> Found {
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(fence) = line.trim_start().strip_prefix("```") else { continue };
        let language = fence.trim().to_lowercase();
        let mut body = String::new();
        let mut ended = false;
        for line in lines.by_ref() {
            if line.trim_start().starts_with("```") {
                ended = true;
                break;
            }
            body.push_str(line);
            body.push('\n');
        }
        if !ended {
            return Found::Wanting("a block of code is not ended".into());
        }
        let fine = match language.as_str() {
            "json" => serde_json::from_str::<serde::de::IgnoredAny>(&body).is_ok(),
            "toml" => toml::from_str::<toml::Table>(&body).is_ok(),
            other if BRACED.contains(&other) => closed(&body, other),
            _ => true,
        };
        if !fine {
            return Found::Wanting(format!("a block of `{language}` cannot be read"));
        }
    }
    Found::Fine
}

/// Whether every bracket and string is closed.
fn closed(code: &str, language: &str) -> bool {
    let python = matches!(language, "python" | "py");
    // Rust's lifetimes, and generics of others, have single quotes that close nothing.
    let single = !matches!(language, "rust" | "rs" | "c" | "cpp" | "c++" | "java" | "scala");
    let mut open = Vec::new();
    let mut rest = code;
    while let Some(letter) = rest.chars().next() {
        let skipped = if python && (rest.starts_with("\"\"\"") || rest.starts_with("'''")) {
            let (quotes, inside) = rest.split_at(3);
            match inside.find(quotes) {
                Some(end) => end + 6,
                None => return false,
            }
        } else if (python && letter == '#') || (!python && rest.starts_with("//")) {
            rest.find('\n').unwrap_or(rest.len())
        } else if !python && rest.starts_with("/*") {
            match rest.find("*/") {
                Some(end) => end + 2,
                None => return false,
            }
        } else if !single && letter == '\'' {
            character(rest)
        } else if matches!(letter, '"' | '\'' | '`') {
            match string(rest, letter) {
                Some(length) => length,
                None => return false,
            }
        } else {
            match letter {
                '(' | '[' | '{' => open.push(letter),
                ')' | ']' | '}' => {
                    let pair = match letter {
                        ')' => '(',
                        ']' => '[',
                        _ => '{',
                    };
                    if open.pop() != Some(pair) {
                        return false;
                    }
                }
                _ => {}
            }
            letter.len_utf8()
        };
        rest = rest.get(skipped..).unwrap_or_default();
    }
    open.is_empty()
}

/// The bytes of the string that begins here; `None` when it does not end. Only backquotes go over the end of a line.
fn string(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (place, letter) in rest.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' if quote == '\'' => return None,
            _ if letter == quote => return Some(place + letter.len_utf8()),
            _ => {}
        }
    }
    None
}

/// The bytes of a character literal, or of the quote alone where it is none.
fn character(rest: &str) -> usize {
    let mut letters = rest.char_indices().skip(1);
    let end = match letters.next() {
        // The escaped character may itself be a quote.
        Some((_, '\\')) => letters.nth(1).and_then(|(place, letter)| match letter {
            '\'' => Some(place),
            _ => letters.take(8).find(|(_, letter)| *letter == '\'').map(|(place, _)| place),
        }),
        Some(_) => letters.next().filter(|(_, letter)| *letter == '\'').map(|(place, _)| place),
        None => None,
    };
    end.map_or(1, |place| place + 1)
}
