//! Text on a terminal that changes after it was shown.

use std::io::{self, Write};

use unicode_width::UnicodeWidthChar;

use super::DIM;

/// A text that stands where the cursor was, at the beginning of a line. It is right as long as the terminal counts widths as Unicode does
/// and nobody changes its size meanwhile.
#[derive(Debug)]
pub(crate) struct Screen<W> {
    out: W,
    width: usize,
    height: usize,
    shown: String,
    dim: bool,
    /// The cursor, from where the text begins.
    row: usize,
    column: usize,
}

impl<W: Write> Screen<W> {
    pub(crate) fn new(out: W, width: usize, height: usize) -> Self {
        Self { out, width: width.max(1), height, shown: String::new(), dim: false, row: 0, column: 0 }
    }

    /// Shows this text in place of the one before; what has only grown is not written again.
    pub(crate) fn show(&mut self, text: &str, dim: bool) -> io::Result<()> {
        let text = printable(text);
        if dim != self.dim || !text.starts_with(&self.shown) {
            self.wipe()?;
        }
        let rest = text.get(self.shown.len()..).unwrap_or_default();
        if !rest.is_empty() {
            self.advance(rest);
            if dim { write!(self.out, "{DIM}{rest}{DIM:#}")? } else { write!(self.out, "{rest}")? }
        }
        (self.shown, self.dim) = (text, dim);
        self.out.flush()
    }

    /// What has scrolled away cannot be wiped: then the new text begins below.
    fn wipe(&mut self) -> io::Result<()> {
        match self.row {
            _ if self.shown.is_empty() => {}
            0 => write!(self.out, "\r\x1b[J")?,
            up if up < self.height => write!(self.out, "\r\x1b[{up}A\x1b[J")?,
            _ => write!(self.out, "\n\n")?,
        }
        self.shown.clear();
        (self.row, self.column) = (0, 0);
        Ok(())
    }

    fn advance(&mut self, text: &str) {
        for character in text.chars() {
            let width = character.width().unwrap_or(0);
            if character == '\n' {
                (self.row, self.column) = (self.row + 1, 0);
            } else if self.column + width > self.width {
                (self.row, self.column) = (self.row + 1, width);
            } else {
                self.column += width;
            }
        }
    }
}

/// Without what would move the cursor: a model's text may hold anything.
fn printable(text: &str) -> String {
    let text = text.replace('\t', "    ");
    text.chars().filter(|character| *character == '\n' || !character.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a terminal of this width shows after these bytes, row by row; what is dim is in capitals. It knows as much as is written here:
    /// nothing is written over, only behind and after wiping.
    fn seen(bytes: &[u8], width: usize) -> Vec<String> {
        let (mut rows, mut row, mut dim) = (vec![String::new()], 0, false);
        let columns = |line: &str| line.chars().filter_map(UnicodeWidthChar::width).sum::<usize>();
        let mut characters = std::str::from_utf8(bytes).unwrap().chars();
        while let Some(character) = characters.next() {
            match character {
                '\n' => row += 1,
                '\r' => {}
                '\x1b' => {
                    assert_eq!(characters.next(), Some('['));
                    let mut number = 0;
                    let letter = loop {
                        let next = characters.next().unwrap();
                        let Some(digit) = next.to_digit(10) else { break next };
                        number = number * 10 + digit as usize;
                    };
                    match letter {
                        'A' => row -= number,
                        'J' => rows.truncate(row),
                        'm' => dim = number == 2,
                        other => panic!("`{other}` is not known"),
                    }
                }
                _ => {
                    if columns(&rows[row]) + character.width().unwrap() > width {
                        row += 1;
                    }
                    rows.resize(rows.len().max(row + 1), String::new());
                    rows[row].push(if dim { character.to_ascii_uppercase() } else { character });
                }
            }
            rows.resize(rows.len().max(row + 1), String::new());
        }
        rows
    }

    fn shown(texts: &[(&str, bool)], width: usize, height: usize) -> (Vec<String>, usize) {
        let mut screen = Screen::new(Vec::new(), width, height);
        for (text, dim) in texts {
            screen.show(text, *dim).unwrap();
        }
        (seen(&screen.out, width), screen.out.len())
    }

    #[test]
    fn a_draft_is_dim_and_makes_way() {
        let draft = [("we meet on", true), ("we meet on tuesday", true)];
        assert_eq!(shown(&draft, 10, 24).0, ["WE MEET ON", " TUESDAY"]);
        let (rows, _) = shown(&[draft[0], draft[1], ("we meet on wednesday", false)], 10, 24);
        assert_eq!(rows, ["we meet on", " wednesday"]);
        assert_eq!(shown(&[("one", true), ("", true), ("two", false)], 10, 24).0, ["two"]);
    }

    #[test]
    fn what_only_grows_is_not_written_again() {
        let (_, once) = shown(&[("one two three", false)], 80, 24);
        let (_, grown) = shown(&[("one", false), ("one two", false), ("one two three", false)], 80, 24);
        assert_eq!(once, grown);
    }

    #[test]
    fn what_has_scrolled_away_stays_and_control_characters_do_nothing() {
        let (rows, _) = shown(&[("a\nb\nc", true), ("d\ne", false)], 80, 2);
        assert_eq!(rows, ["A", "B", "C", "", "d", "e"]);
        assert_eq!(shown(&[("a\x1b[2J\r\tb\u{9b}2J", false)], 80, 24).0, ["a[2J    b2J"]);
    }

    proptest! {
        #[test]
        fn in_the_end_the_last_text_is_there_and_nothing_else(
            texts in prop::collection::vec(("[a-c \n\u{4e2d}\u{e9}\u{301}]{0,30}", any::<bool>()), 1..6),
            last in "[a-c \n\u{4e2d}\u{e9}\u{301}]{0,30}",
            width in 2usize..12,
        ) {
            let mut all: Vec<(&str, bool)> = texts.iter().map(|(text, dim)| (text.as_str(), *dim)).collect();
            all.push((&last, false));
            let trimmed = |rows: Vec<String>| rows.join("\n").trim_end_matches('\n').to_owned();
            prop_assert_eq!(trimmed(shown(&all, width, 100).0), trimmed(seen(last.as_bytes(), width)));
        }
    }
}
