//! Translates GBNF, llama.cpp's grammar notation (grammars/README.md there), to the Lark that llguidance reads.
//!
//! GBNF works on characters, Lark on lexemes that are as long as possible: so every literal is cut into single characters,
//! and each character becomes a lexeme of its own. Tokens named by number or text (`<[7]>`, `<think>`) are not translated.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Groups within groups that are read. People write a handful.
const MAX_DEPTH: usize = 100;
/// The most times that something may be asked for: as many as llama.cpp allows (`MAX_REPETITION_THRESHOLD`).
const MAX_REPETITION: u32 = 2000;
/// Symbols in the translation: what llguidance reads in a second or so.
const MAX_SYMBOLS: usize = 200_000;

/// The Lark text, or why the grammar cannot be read.
pub(crate) fn to_lark(source: &str) -> Result<String, String> {
    let mut reader = Reader { rest: source, names: BTreeMap::new(), symbols: 0, line: 1 };
    let mut rules = Vec::new();
    reader.skip(true);
    while !reader.rest.is_empty() {
        rules.push(reader.rule()?);
        reader.skip(true);
    }
    let defined: Vec<usize> = rules.iter().map(|(name, _)| *name).collect();
    for (name, index) in &reader.names {
        if !defined.contains(index) {
            return Err(format!("the grammar has no rule `{name}`"));
        }
    }
    let Some(root) = reader.names.get("root") else {
        return Err("the grammar has no rule `root`".to_owned());
    };
    let mut lark = format!("%llguidance {{}}\nstart: r{root}\n");
    for (name, body) in &rules {
        // A later definition of the same rule wins, as in llama.cpp.
        let last = rules.iter().rposition(|(other, _)| other == name).and_then(|at| rules.get(at));
        if last.is_some_and(|(_, other)| std::ptr::eq(other, body)) {
            let _ = writeln!(lark, "r{name}: {body}");
        }
    }
    Ok(lark)
}

struct Reader<'a> {
    rest: &'a str,
    names: BTreeMap<String, usize>,
    symbols: usize,
    line: usize,
}

impl Reader<'_> {
    fn error<T>(&self, what: &str) -> Result<T, String> {
        Err(format!("the grammar is wrong in line {}: {what}", self.line))
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.rest = self.rest.get(next.len_utf8()..).unwrap_or_default();
        self.line += usize::from(next == '\n');
        Some(next)
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.rest.strip_prefix(text);
        if let Some(rest) = found {
            self.rest = rest;
        }
        found.is_some()
    }

    /// White space and comments; line ends too, if asked for.
    fn skip(&mut self, lines: bool) {
        while let Some(next) = self.peek() {
            match next {
                ' ' | '\t' => {}
                '\r' | '\n' if lines => {}
                '#' => {
                    while self.peek().is_some_and(|next| next != '\n') {
                        self.bump();
                    }
                    continue;
                }
                _ => return,
            }
            self.bump();
        }
    }

    fn name(&mut self) -> Option<usize> {
        let end = self.rest.find(|next: char| !(next.is_ascii_alphanumeric() || next == '-' || next == '_'));
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        if name.is_empty() {
            return None;
        }
        self.rest = rest;
        let next = self.names.len();
        Some(*self.names.entry(name.to_owned()).or_insert(next))
    }

    fn rule(&mut self) -> Result<(usize, String), String> {
        let Some(name) = self.name() else { return self.error("a rule's name is expected") };
        self.skip(true);
        if !self.eat("::=") {
            return self.error("`::=` is expected");
        }
        self.skip(true);
        let body = self.alternatives(0)?;
        self.skip(false);
        match self.peek() {
            None | Some('\n' | '\r') => Ok((name, body)),
            Some(other) => self.error(&format!("`{other}` is not expected here")),
        }
    }

    fn alternatives(&mut self, depth: usize) -> Result<String, String> {
        if depth > MAX_DEPTH {
            return self.error(&format!("more than {MAX_DEPTH} groups lie in each other"));
        }
        let mut all = self.sequence(depth)?;
        loop {
            // Inside of a group lines may end anywhere; outside, a line that begins with `|` goes on.
            let (before, line) = (self.rest, self.line);
            self.skip(true);
            if self.eat("|") {
                self.skip(true);
                let next = self.sequence(depth)?;
                let _ = write!(all, " | {next}");
            } else {
                (self.rest, self.line) = (before, line);
                return Ok(all);
            }
        }
    }

    fn sequence(&mut self, depth: usize) -> Result<String, String> {
        let mut parts: Vec<String> = Vec::new();
        loop {
            self.skip(depth > 0);
            let part = match self.peek() {
                Some('"') => self.literal()?,
                Some('[') => self.class()?,
                Some('.') => {
                    self.bump();
                    self.symbol()?;
                    "/(?s:.)/".to_owned()
                }
                Some('(') => {
                    self.bump();
                    self.skip(true);
                    let inner = self.alternatives(depth + 1)?;
                    self.skip(true);
                    if !self.eat(")") {
                        return self.error("`)` is expected");
                    }
                    format!("({inner})")
                }
                Some('<') => return self.error("tokens cannot be named in a grammar here"),
                Some(next) if next.is_ascii_alphanumeric() || next == '_' || next == '-' => {
                    let Some(name) = self.name() else { return self.error("a name is expected") };
                    self.symbol()?;
                    format!("r{name}")
                }
                _ => break,
            };
            let repeated = self.repetition(part, depth)?;
            parts.push(repeated);
        }
        Ok(if parts.is_empty() { "\"\"".to_owned() } else { parts.join(" ") })
    }

    fn symbol(&mut self) -> Result<(), String> {
        self.symbols += 1;
        if self.symbols > MAX_SYMBOLS {
            return self.error(&format!("it has more than {MAX_SYMBOLS} symbols"));
        }
        Ok(())
    }

    fn repetition(&mut self, mut part: String, depth: usize) -> Result<String, String> {
        // `(..)` also around a single symbol, so that what follows cannot be read as part of it. A second sign applies to
        // the whole, which makes it a group within a group.
        for _ in depth..=MAX_DEPTH {
            self.skip(false);
            part = match self.peek() {
                Some(sign @ ('*' | '+' | '?')) => {
                    self.bump();
                    format!("({part}){sign}")
                }
                Some('{') => {
                    self.bump();
                    let (least, most) = self.bounds()?;
                    let most = most.map(|most| most.to_string()).unwrap_or_default();
                    format!("({part}){{{least},{most}}}")
                }
                _ => return Ok(part),
            };
        }
        self.error(&format!("more than {MAX_DEPTH} groups lie in each other"))
    }

    fn bounds(&mut self) -> Result<(u32, Option<u32>), String> {
        self.skip(true);
        let least = if self.peek() == Some(',') { 0 } else { self.number()? };
        self.skip(true);
        let most = if self.eat(",") {
            self.skip(true);
            if self.peek() == Some('}') { None } else { Some(self.number()?) }
        } else {
            Some(least)
        };
        self.skip(true);
        if !self.eat("}") {
            return self.error("`}` is expected");
        }
        if least.max(most.unwrap_or(0)) > MAX_REPETITION {
            return self.error(&format!("more than {MAX_REPETITION} repetitions are asked for"));
        }
        if most.is_some_and(|most| most < least) {
            return self.error("the bounds of a repetition are the wrong way round");
        }
        Ok((least, most))
    }

    fn number(&mut self) -> Result<u32, String> {
        let end = self.rest.find(|next: char| !next.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        let Ok(number) = digits.parse() else { return self.error("a number is expected") };
        self.rest = rest;
        Ok(number)
    }

    fn literal(&mut self) -> Result<String, String> {
        self.bump();
        let mut parts = Vec::new();
        loop {
            match self.peek() {
                None | Some('\n') => return self.error("a text does not end"),
                Some('"') => break,
                Some(_) => {
                    let next = self.character()?;
                    self.symbol()?;
                    parts.push(format!("/{}/", escaped(next)));
                }
            }
        }
        self.bump();
        Ok(match parts.len() {
            0 => "\"\"".to_owned(),
            1 => parts.concat(),
            _ => format!("({})", parts.join(" ")),
        })
    }

    fn class(&mut self) -> Result<String, String> {
        self.bump();
        let negated = self.eat("^");
        let mut class = String::new();
        loop {
            match self.peek() {
                None => return self.error("a set of characters does not end"),
                Some(']') => break,
                Some(_) => {}
            }
            let first = self.character()?;
            class.push_str(&escaped(first));
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.bump();
                let last = self.character()?;
                if last < first {
                    return self.error("a range of characters is the wrong way round");
                }
                let _ = write!(class, "-{}", escaped(last));
            }
        }
        self.bump();
        self.symbol()?;
        match (class.is_empty(), negated) {
            (true, false) => self.error("a set of characters is empty"),
            (true, true) => Ok("/(?s:.)/".to_owned()),
            (false, _) => Ok(format!("/[{}{class}]/", if negated { "^" } else { "" })),
        }
    }

    /// One character, escaped or not.
    fn character(&mut self) -> Result<char, String> {
        let Some(next) = self.bump() else { return self.error("it ends too early") };
        if next != '\\' {
            return Ok(next);
        }
        match self.bump() {
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('x') => self.hex(2),
            Some('u') => self.hex(4),
            Some('U') => self.hex(8),
            Some(other @ ('\\' | '"' | '[' | ']' | '-' | '^' | '/' | '\'')) => Ok(other),
            _ => self.error("an escape is not known"),
        }
    }

    fn hex(&mut self, digits: usize) -> Result<char, String> {
        let text = self.rest.get(..digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let found = text.and_then(|text| u32::from_str_radix(text, 16).ok()).and_then(char::from_u32);
        let Some(found) = found else { return self.error("an escape names no character") };
        self.rest = self.rest.get(digits..).unwrap_or_default();
        Ok(found)
    }
}

/// A character as a regular expression, by its number unless it is a plain letter or digit.
fn escaped(character: char) -> String {
    if character.is_ascii_alphanumeric() {
        character.to_string()
    } else {
        format!("\\x{{{:x}}}", u32::from(character))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_grammar_becomes_lark() {
        let lark = to_lark("root ::= \"ab\" x* # note\nx ::= [a-c^]{1,2} |\n \"\"\n").unwrap();
        assert_eq!(
            lark,
            "%llguidance {}\nstart: r0\nr0: (/a/ /b/) (r1)*\nr1: (/[a-c\\x{5e}]/){1,2} | \"\"\n"
        );
    }

    #[test]
    fn errors_name_the_line() {
        assert_eq!(
            to_lark("root ::= \"a\"\nx := y").unwrap_err(),
            "the grammar is wrong in line 2: `::=` is expected"
        );
        assert_eq!(to_lark("root ::= y").unwrap_err(), "the grammar has no rule `y`");
    }

    #[test]
    fn signs_upon_signs_have_an_end() {
        let signs = |count: usize| to_lark(&format!("root ::= \"a\"{}", "?".repeat(count)));
        assert_eq!(signs(2).unwrap(), "%llguidance {}\nstart: r0\nr0: ((/a/)?)?\n");
        // As many as these are more than any stack holds calls.
        let error = signs(1_000_000).unwrap_err();
        assert_eq!(error, "the grammar is wrong in line 1: more than 100 groups lie in each other");
        assert!(to_lark(&format!("root ::= {}\"a\"{}", "(".repeat(90), ")?".repeat(90))).is_ok());
    }

    proptest! {
        /// Foreign text is an error or a grammar, never a panic.
        #[test]
        fn any_text_is_survived(text in "(root ::= )?[-a-c|()\\[\\]{}*+?.,^\"\\\\xu0-9#\n: =<>é]{0,80}") {
            let _ = to_lark(&text);
        }
    }
}
