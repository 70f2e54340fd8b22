//! Takes an answer apart as it comes: text, thoughts, calls.
//!
//! Text goes out at once unless it could be the beginning of markup. What turns out not to be a call goes out as text, so nothing that the model
//! wrote is lost, except white space next to markup. However the answer is cut into pieces on its way in, the same comes out.

use super::Format;
use super::calls::{Call, Scan, Scanned, object, read};

/// A call longer than this is delivered as text; models' contexts are shorter.
const MAX_CALL: usize = 4 << 20;
/// Calls that turn out to be none, after which none is looked for: each is read to its end, which may be the answer's. A model
/// that writes about calls has done so by then.
const MAX_FALSE_STARTS: usize = 100;
/// An answer is taken apart in pieces of at most this size, so that taking a call out of its front moves little.
const SLICE: usize = 4096;
/// A function's name longer than this is none. OpenAI's limit is 64.
const MAX_NAME: usize = 256;

const THINK: &str = "<think>";
const THOUGHT: &str = "</think>";

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// Of the answer itself.
    Text(String),
    /// Of thinking.
    Reasoning(String),
    /// A whole call.
    Call {
        /// The function.
        name: String,
        /// JSON text.
        arguments: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Nothing but white space so far.
    Start,
    Text,
    Thought,
    /// Behind a trigger, or at a bare object.
    Call(Kind),
    /// Behind a call: an end mark may follow.
    After(Kind),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// JSON between two marks.
    Tagged { open: &'static str, close: &'static str },
    /// `<function=name>{…}</function>`.
    Function,
    /// A bare object; it must name a tool that there is.
    Bare,
    /// `[TOOL_CALLS]`.
    Mistral,
}

impl Kind {
    fn of(trigger: &str) -> Self {
        match trigger {
            "<tool_call>" => Self::Tagged { open: "<tool_call>", close: "</tool_call>" },
            "<|tool_call|>" => Self::Tagged { open: "<|tool_call|>", close: "<|/tool_call|>" },
            "<function=" => Self::Function,
            "[TOOL_CALLS]" => Self::Mistral,
            _ => Self::Tagged { open: "<|python_tag|>", close: "<|eom_id|>" },
        }
    }

    fn open(self) -> &'static str {
        match self {
            Self::Tagged { open, .. } => open,
            Self::Function => "<function=",
            Self::Bare => "",
            Self::Mistral => "[TOOL_CALLS]",
        }
    }

    fn close(self) -> &'static str {
        match self {
            Self::Tagged { close, .. } => close,
            Self::Function => "</function>",
            // Llama separates several calls so.
            Self::Bare => ";",
            // The list's separator where names stand in front of arguments; usually nothing.
            Self::Mistral => "",
        }
    }
}

/// Takes one answer apart.
#[derive(Debug)]
pub(crate) struct Parser {
    format: Option<Format>,
    tools: Vec<String>,
    thinks: bool,
    mode: Mode,
    /// What came in and has not gone out.
    buffer: String,
    scan: Option<Scan>,
    calls: usize,
    false_starts: usize,
    /// White space next to markup is not text.
    trim: bool,
}

impl Parser {
    /// `format` with the tools' names when calls are to be found; `thinks` when thoughts are; `thinking` when the prompt ended inside one.
    pub(crate) fn new(format: Option<(Format, Vec<String>)>, thinks: bool, thinking: bool) -> Self {
        let (format, tools) = format.map_or((None, Vec::new()), |(format, tools)| (Some(format), tools));
        let mode = if thinking { Mode::Thought } else { Mode::Start };
        Self {
            format,
            tools,
            thinks: thinks || thinking,
            mode,
            buffer: String::new(),
            scan: None,
            calls: 0,
            false_starts: 0,
            trim: thinking,
        }
    }

    /// How many calls were found.
    pub(crate) fn calls(&self) -> usize {
        self.calls
    }

    /// Whether the next text is thinking.
    pub(crate) fn is_thinking(&self) -> bool {
        self.mode == Mode::Thought
    }

    /// Takes in a piece of the answer.
    pub(crate) fn feed(&mut self, text: &str) -> Vec<Part> {
        // Nothing to find: nothing to hold back.
        if self.format.is_none() && !self.thinks {
            return if text.is_empty() { Vec::new() } else { vec![Part::Text(text.to_owned())] };
        }
        let (mut parts, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let (slice, later) = rest.split_at(rest.floor_char_boundary(SLICE));
            self.buffer.push_str(slice);
            parts.extend(self.work(false));
            rest = later;
        }
        parts
    }

    /// The answer is complete.
    pub(crate) fn finish(&mut self) -> Vec<Part> {
        self.work(true)
    }

    fn work(&mut self, end: bool) -> Vec<Part> {
        let mut parts = Vec::new();
        // Each step takes something out of the buffer or changes the mode towards text; it stops when it does neither.
        while self.step(end, &mut parts) {}
        parts
    }

    fn step(&mut self, end: bool, parts: &mut Vec<Part>) -> bool {
        match self.mode {
            Mode::Start => self.start(end),
            Mode::Text => self.text(end, parts),
            Mode::Thought => self.thought(end, parts),
            Mode::Call(kind) => self.call(kind, end, parts),
            Mode::After(kind) => self.after(kind, end),
        }
    }

    fn start(&mut self, end: bool) -> bool {
        let seen = self.buffer.trim_start();
        let begins = |with: &str| seen.starts_with(with);
        let may_begin = |with: &str| !end && with.starts_with(seen);
        if self.thinks && begins(THINK) {
            let rest = seen.get(THINK.len()..).unwrap_or_default().to_owned();
            (self.buffer, self.mode, self.trim) = (rest, Mode::Thought, true);
            return true;
        }
        if self.thinks && may_begin(THINK) {
            return false;
        }
        if self.format == Some(Format::Llama) && begins("{") {
            self.buffer = seen.to_owned();
            self.enter(Kind::Bare);
            return true;
        }
        if seen.is_empty() && !end {
            return false;
        }
        self.mode = Mode::Text;
        true
    }

    fn enter(&mut self, kind: Kind) {
        self.mode = Mode::Call(kind);
        self.scan = None;
    }

    fn text(&mut self, end: bool, parts: &mut Vec<Part>) -> bool {
        let looks = self.format.filter(|_| self.false_starts < MAX_FALSE_STARTS);
        let triggers = looks.map_or(&[] as &[&str], Format::triggers);
        let first = triggers
            .iter()
            .filter_map(|trigger| Some((self.buffer.find(trigger)?, *trigger)))
            .min_by_key(|(at, _)| *at);
        if let Some((at, trigger)) = first {
            let before: String = self.buffer.drain(..at).collect();
            self.emit(before.trim_end(), parts);
            self.enter(Kind::of(trigger));
            return true;
        }
        let hold = match (end, triggers.is_empty()) {
            (true, _) | (_, true) => 0,
            (false, false) => {
                let held = held_back(&self.buffer, triggers);
                // White space in front of a call is dropped, so it waits for what follows.
                let text = self.buffer.get(..self.buffer.len() - held).unwrap_or_default();
                held + text.len() - text.trim_end().len()
            }
        };
        let ready: String = self.buffer.drain(..self.buffer.len() - hold).collect();
        if end && self.calls > 0 && ready.trim().is_empty() {
            return false;
        }
        self.emit(&ready, parts);
        false
    }

    fn emit(&mut self, text: &str, parts: &mut Vec<Part>) {
        let text = if self.trim { text.trim_start() } else { text };
        if !text.is_empty() {
            self.trim = false;
            parts.push(Part::Text(text.to_owned()));
        }
    }

    fn thought(&mut self, end: bool, parts: &mut Vec<Part>) -> bool {
        let (thought, over) = match self.buffer.find(THOUGHT) {
            Some(at) => {
                let thought: String = self.buffer.drain(..at).collect();
                self.buffer.drain(..THOUGHT.len());
                (thought.trim_end().to_owned(), true)
            }
            None => {
                let held = if end { 0 } else { held_back(&self.buffer, &[THOUGHT]) };
                let text = self.buffer.get(..self.buffer.len() - held).unwrap_or_default();
                let ready = text.trim_end().len();
                (self.buffer.drain(..ready).collect(), false)
            }
        };
        let thought = if self.trim { thought.trim_start() } else { thought.as_str() };
        if !thought.is_empty() {
            self.trim = false;
            parts.push(Part::Reasoning(thought.to_owned()));
        }
        if over {
            (self.mode, self.trim) = (Mode::Start, true);
        }
        // Thoughts come once: a second `<think>` is text.
        self.thinks &= !over;
        over
    }

    /// Not a call after all: what opened it is text, and what follows is looked at again.
    fn give_up(&mut self, kind: Kind, parts: &mut Vec<Part>) -> bool {
        // At least one character, so that the same place is not tried again.
        let opened = kind.open().len().max(1).min(self.buffer.len());
        let opened: String = self.buffer.drain(..opened).collect();
        self.emit(&opened, parts);
        (self.mode, self.scan) = (Mode::Text, None);
        self.false_starts += 1;
        true
    }

    fn call(&mut self, kind: Kind, end: bool, parts: &mut Vec<Part>) -> bool {
        if self.buffer.len() > MAX_CALL {
            return self.give_up(kind, parts);
        }
        if kind == Kind::Bare && self.scan.is_none() && !could_be_call(&self.buffer) {
            return self.give_up(kind, parts);
        }
        let (name, json_at) = match heading(kind, &self.buffer) {
            Heading::More if !end => return false,
            Heading::More | Heading::Not => return self.give_up(kind, parts),
            Heading::Ends(name, at) => (name, at),
        };
        let scan = self.scan.get_or_insert_with(|| Scan::at(json_at));
        let json_end = match scan.go_on(&self.buffer) {
            Scanned::More if !end => return false,
            Scanned::More | Scanned::Not => return self.give_up(kind, parts),
            Scanned::End(at) => at,
        };
        let json = self.buffer.get(json_at..json_end).unwrap_or_default();
        let calls = match name {
            Some(name) => object(json).map(|arguments| vec![Call { name, arguments }]),
            None => read(json),
        };
        let known = |call: &Call| kind != Kind::Bare || self.tools.contains(&call.name);
        let Some(calls) = calls.filter(|calls| calls.iter().all(known)) else {
            return self.give_up(kind, parts);
        };
        self.buffer.drain(..json_end);
        self.calls += calls.len();
        parts.extend(calls.into_iter().map(|Call { name, arguments }| Part::Call { name, arguments }));
        (self.mode, self.scan, self.trim) = (Mode::After(kind), None, true);
        true
    }

    fn after(&mut self, kind: Kind, end: bool) -> bool {
        let seen = self.buffer.trim_start();
        let close = kind.close();
        if let Some(rest) = seen.strip_prefix(close).filter(|_| !close.is_empty()) {
            self.buffer = rest.to_owned();
            // Llama's next object follows the separator, behind the same mark.
            self.mode = if kind == Kind::Bare { Mode::Start } else { Mode::Text };
            return true;
        }
        if !end && !close.is_empty() && close.starts_with(seen) {
            return false;
        }
        self.mode = Mode::Text;
        true
    }
}

/// What stands in front of the JSON of a call.
enum Heading {
    /// It ends there, perhaps with the function's name in it.
    Ends(Option<String>, usize),
    More,
    Not,
}

fn heading(kind: Kind, buffer: &str) -> Heading {
    let open = kind.open().len();
    let rest = buffer.get(open..).unwrap_or_default();
    match kind {
        Kind::Tagged { .. } | Kind::Bare => Heading::Ends(None, open),
        Kind::Function => match rest.find('>') {
            Some(at) if at > 0 && at <= MAX_NAME => {
                Heading::Ends(rest.get(..at).map(|name| name.trim().to_owned()), open + at + 1)
            }
            None if rest.len() <= MAX_NAME => Heading::More,
            _ => Heading::Not,
        },
        Kind::Mistral => mistral_heading(rest, open),
    }
}

/// `[TOOL_CALLS] [` or `[TOOL_CALLS]name[CALL_ID]id[ARGS]{`.
fn mistral_heading(rest: &str, open: usize) -> Heading {
    let seen = rest.trim_start();
    let skipped = rest.len() - seen.len();
    if seen.is_empty() {
        return Heading::More;
    }
    if seen.starts_with(['[', '{']) {
        return Heading::Ends(None, open);
    }
    let Some(brace) = seen.find('{') else {
        return if seen.len() <= 2 * MAX_NAME { Heading::More } else { Heading::Not };
    };
    let head = seen.get(..brace).unwrap_or_default();
    let name = head.split(['[', ' ', '\n']).next().unwrap_or_default();
    let marked = head.get(name.len()..).unwrap_or_default().trim();
    let well_formed = marked.is_empty() || (marked.starts_with('[') && marked.ends_with("[ARGS]"));
    match well_formed && !name.is_empty() && name.len() <= MAX_NAME {
        true => Heading::Ends(Some(name.to_owned()), open + skipped + brace),
        false => Heading::Not,
    }
}

/// Whether an object can still be a call, by its first key.
fn could_be_call(buffer: &str) -> bool {
    let inside = buffer.trim_start().strip_prefix('{').unwrap_or_default().trim_start();
    let keys = ["\"name\"", "\"function\"", "\"type\"", "\"parameters\"", "\"arguments\"", "\"id\""];
    keys.iter().any(|key| inside.starts_with(key) || key.starts_with(inside))
}

/// How many bytes at the end could be the beginning of a mark.
fn held_back(text: &str, marks: &[&str]) -> usize {
    let longest = marks.iter().map(|mark| mark.len()).max().unwrap_or(0);
    let from = text.len().saturating_sub(longest);
    let starts = text.char_indices().map(|(at, _)| at).filter(|at| *at >= from);
    let held = starts
        .filter_map(|at| text.get(at..))
        .find(|tail| marks.iter().any(|mark| mark.len() > tail.len() && mark.starts_with(tail)));
    held.map_or(0, str::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parser(format: Format) -> Parser {
        Parser::new(Some((format, vec!["weather".into(), "time".into()])), true, false)
    }

    /// Everything, with neighbours of the same kind joined.
    fn all(mut parser: Parser, chunks: &[&str]) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        let mut take = |new: Vec<Part>| {
            for part in new {
                match (parts.last_mut(), part) {
                    (Some(Part::Text(text)), Part::Text(more))
                    | (Some(Part::Reasoning(text)), Part::Reasoning(more)) => text.push_str(&more),
                    (_, part) => parts.push(part),
                }
            }
        };
        for chunk in chunks {
            take(parser.feed(chunk));
        }
        take(parser.finish());
        parts
    }

    fn text(text: &str) -> Part {
        Part::Text(text.into())
    }

    fn call(name: &str, arguments: &str) -> Part {
        Part::Call { name: name.into(), arguments: arguments.into() }
    }

    /// Takes each answer apart at once and letter by letter.
    fn check(examples: &[(Format, &str, Vec<Part>)]) {
        for (format, answer, expected) in examples {
            assert_eq!(&all(parser(*format), &[answer]), expected, "{answer}");
            let letters: Vec<String> = answer.chars().map(String::from).collect();
            let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
            assert_eq!(&all(parser(*format), &letters), expected, "{answer}, letter by letter");
        }
    }

    const PARIS: &str = r#"{"city": "Paris"}"#;

    #[test]
    fn hermes_and_llama_are_understood() {
        check(&[
            (
                Format::Hermes,
                "Let me look.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>\n<tool_call>{\"name\":\"time\",\"arguments\":{}}</tool_call>",
                vec![text("Let me look."), call("weather", PARIS), call("time", "{}")],
            ),
            (
                Format::Hermes,
                "<think>\nhm </tool\n</think>\n\n<tool_call>{\"name\":\"time\",\"arguments\":{}}</tool_call>",
                vec![Part::Reasoning("hm </tool".into()), call("time", "{}")],
            ),
            (
                Format::Hermes,
                "<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"</tool_call>}\"}}</tool_call> done",
                vec![call("weather", "{\"city\": \"</tool_call>}\"}"), text("done")],
            ),
            (
                Format::Llama,
                " {\"name\": \"weather\", \"parameters\": {\"city\": \"Paris\"}}",
                vec![call("weather", PARIS)],
            ),
            (
                Format::Llama,
                "{\"type\": \"function\", \"name\": \"weather\", \"parameters\": \"{\\\"city\\\": \\\"Paris\\\"}\"}; {\"name\": \"time\", \"parameters\": {}}",
                vec![call("weather", PARIS), call("time", "{}")],
            ),
            (
                Format::Llama,
                "<|python_tag|>{\"name\": \"weather\", \"parameters\": {\"city\": \"Paris\"}}",
                vec![call("weather", PARIS)],
            ),
            (
                Format::Llama,
                "<function=weather>{\"city\": \"Paris\"}</function>",
                vec![call("weather", PARIS)],
            ),
            (Format::Llama, "{\"temperature\": 20}", vec![text("{\"temperature\": 20}")]),
            (
                Format::Llama,
                "{\"name\": \"Ann\", \"parameters\": {}}",
                vec![text("{\"name\": \"Ann\", \"parameters\": {}}")],
            ),
            (Format::Llama, "<|python_tag|>print(1)", vec![text("<|python_tag|>print(1)")]),
        ]);
    }

    #[test]
    fn the_others_and_what_is_no_call_are_understood() {
        check(&[
            (
                Format::Mistral,
                "[TOOL_CALLS] [{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}, \"id\": \"abcdefghi\"}, {\"name\": \"time\", \"arguments\": {}}]",
                vec![call("weather", PARIS), call("time", "{}")],
            ),
            (
                Format::MistralNamed,
                "[TOOL_CALLS]weather[ARGS]{\"city\": \"Paris\"}[TOOL_CALLS]time[CALL_ID]a1b2c3d4e[ARGS]{}",
                vec![call("weather", PARIS), call("time", "{}")],
            ),
            (Format::MistralNamed, "[TOOL_CALLS]weather{\"city\": \"Paris\"}", vec![call("weather", PARIS)]),
            (
                Format::Phi,
                "<|tool_call|>[{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}}]<|/tool_call|>",
                vec![call("weather", PARIS)],
            ),
            (Format::Hermes, "a < b and <tool_cal", vec![text("a < b and <tool_cal")]),
            (
                Format::Hermes,
                "<tool_call>{\"name\": \"weather\", \"argu",
                vec![text("<tool_call>{\"name\": \"weather\", \"argu")],
            ),
            (Format::Hermes, "one\n\n two ", vec![text("one\n\n two ")]),
        ]);
    }

    #[test]
    fn a_prompt_that_ends_in_a_thought_and_an_answer_without_markup() {
        let open = || Parser::new(None, true, true);
        assert_eq!(
            all(open(), &["\nso", " far </th", "ink>\n\n", "yes"]),
            [Part::Reasoning("so far".into()), text("yes")]
        );
        assert_eq!(all(open(), &["never", " ends "]), [Part::Reasoning("never ends".into())]);
        let mut plain = Parser::new(None, false, false);
        assert_eq!(plain.feed("<tool_call>"), [text("<tool_call>")]);
    }

    #[test]
    fn text_is_not_held_back_without_need() {
        let mut parser = parser(Format::Hermes);
        assert_eq!(parser.feed("Hello"), [text("Hello")]);
        assert_eq!(parser.feed(" wor"), [text(" wor")]);
        assert_eq!(parser.feed("ld <"), [text("ld")]);
        assert_eq!(parser.feed("3"), [text(" <3")]);
    }

    fn fragment() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("<tool_call>".to_owned()),
            Just("</tool_call>".to_owned()),
            Just("[TOOL_CALLS]".to_owned()),
            Just("[ARGS]".to_owned()),
            Just("<|python_tag|>".to_owned()),
            Just("<function=".to_owned()),
            Just("</function>".to_owned()),
            Just("<think>".to_owned()),
            Just("</think>".to_owned()),
            Just("{\"name\": \"weather\", \"arguments\": {\"a\": [1, \"}\"]}}".to_owned()),
            Just("[{\"name\":\"time\",\"parameters\":{}}]".to_owned()),
            Just("weather>".to_owned()),
            Just("{\"".to_owned()),
            Just(";".to_owned()),
            "[ \\n]{1,2}",
            "[a-zé<>\\[{}\\]\"]{1,6}",
        ]
    }

    #[test]
    fn an_answer_of_nothing_but_beginnings_is_text_in_a_moment() {
        // Each could be the beginning of a call that ends with the answer: read a hundred thousand times, it would take minutes.
        let answer = "<tool_call>{\"".repeat(100_000);
        assert_eq!(all(parser(Format::Hermes), &[&answer]), [text(&answer)]);
        let good = "<tool_call>{\"name\":\"time\",\"arguments\":{}}</tool_call>";
        let (few, many) = (99, 100);
        let wrong = |count: usize| "<tool_call>?".repeat(count);
        assert_eq!(
            all(parser(Format::Hermes), &[&(wrong(few) + good)]),
            [text(&wrong(few)), call("time", "{}")]
        );
        assert_eq!(all(parser(Format::Hermes), &[&(wrong(many) + good)]), [text(&(wrong(many) + good))]);
    }

    #[test]
    fn ten_thousand_calls_in_one_piece_are_found() {
        let answer = "<tool_call>{\"name\":\"time\",\"arguments\":{}}</tool_call>".repeat(10_000);
        let parts = all(parser(Format::Hermes), &[&answer]);
        assert_eq!((parts.len(), &parts[9999]), (10_000, &call("time", "{}")));
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_same_comes_out(
            fragments in proptest::collection::vec(fragment(), 0..12), cuts in proptest::collection::vec(1usize..9, 1..40), format in 0usize..5, thinking: bool,
        ) {
            let format = [Format::Hermes, Format::Llama, Format::Mistral, Format::MistralNamed, Format::Phi][format];
            let answer = fragments.concat();
            let make = || Parser::new(Some((format, vec!["weather".into()])), true, thinking);
            let whole = all(make(), &[&answer]);
            let letters: Vec<char> = answer.chars().collect();
            let (mut chunks, mut rest, mut sizes) = (Vec::new(), letters.as_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (chunk, more) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                chunks.push(chunk.iter().collect::<String>());
                rest = more;
            }
            let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
            prop_assert_eq!(&all(make(), &chunks), &whole);
            // Without calls and thoughts nothing but white space may be missing.
            if whole.iter().all(|part| matches!(part, Part::Text(_))) {
                let squeezed = |text: &str| text.split_whitespace().collect::<String>();
                let out: String = whole.iter().map(|part| match part { Part::Text(text) => text.as_str(), _ => "" }).collect();
                let mut given = squeezed(&answer);
                if let Some(rest) = given.strip_prefix("<think>").filter(|_| !thinking) {
                    given = rest.replacen("</think>", "", 1);
                } else if thinking {
                    given = given.replacen("</think>", "", 1);
                }
                prop_assert_eq!(squeezed(&out), given);
            }
        }
    }
}
