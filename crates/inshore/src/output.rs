//! The one place that prints. Results go to stdout, everything else to stderr; colours only on a terminal, and never when
//! `NO_COLOR` is set (`anstream` sees to both).

mod screen;

use std::io::{IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::failure::Failure;
pub(crate) use screen::Screen;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// How results are printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// As JSON, for programs.
    pub(crate) json: bool,
}

impl Output {
    /// A line of result.
    pub(crate) fn line(self, text: &str) -> std::io::Result<()> {
        let mut out = anstream::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// A piece of result, shown at once.
    pub(crate) fn piece(self, text: &str) -> std::io::Result<()> {
        let mut out = anstream::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// A result as JSON.
    pub(crate) fn json(self, value: &impl Serialize) -> std::io::Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        self.line(&text)
    }

    /// Rows under a head, in columns as wide as their widest cell.
    pub(crate) fn table(self, head: &[&str], rows: &[Vec<String>]) -> std::io::Result<()> {
        let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
        self.line(&format!("{BOLD}{}{BOLD:#}", in_columns(&head, &widths)))?;
        for row in rows {
            self.line(&in_columns(row, &widths))?;
        }
        Ok(())
    }

    /// Names with their values, aligned.
    pub(crate) fn facts(self, facts: &[(&str, String)]) -> std::io::Result<()> {
        let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, value) in facts {
            self.line(&format!("{BOLD}{name:<width$}{BOLD:#}  {value}"))?;
        }
        Ok(())
    }
}

fn in_columns(cells: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        line.push_str(&format!("{cell:<width$}  "));
    }
    line.trim_end().to_owned()
}

/// Something people should know that is not the result. Lost when stderr is gone: there is nowhere else to say it.
pub(crate) fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// The same, less prominent.
pub(crate) fn aside(text: &str) {
    let _ = writeln!(anstream::stderr(), "{DIM}{text}{DIM:#}");
}

/// A warning.
pub(crate) fn warn(text: &str) {
    let _ = writeln!(anstream::stderr(), "{WARNING}warning{WARNING:#}: {text}");
}

/// A failure, with its causes and what to do.
pub(crate) fn failure(failure: &Failure) {
    let mut err = anstream::stderr();
    let _ = writeln!(err, "{ERROR}error{ERROR:#}: {:#}", failure.error);
    if let Some(hint) = &failure.hint {
        let _ = writeln!(err, "{HINT}hint{HINT:#}: {hint}");
    }
}

/// A terminal on which a text can change after it was shown; `None` where stdout is none, or takes no control sequences, or was asked
/// for none by `NO_COLOR`.
pub(crate) fn screen() -> Option<Screen<std::io::Stdout>> {
    let out = std::io::stdout();
    if !out.is_terminal() || anstream::AutoStream::choice(&out) == anstream::ColorChoice::Never {
        return None;
    }
    let (width, height) = terminal_size::terminal_size_of(&out)?;
    Some(Screen::new(out, usize::from(width.0), usize::from(height.0)))
}

/// Whether somebody looks at stderr.
pub(crate) fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Whether somebody types into stdin.
pub(crate) fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// `5.9 MB`, `4.4 GB`: powers of ten, as files are sold.
pub(crate) fn bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let in_units = |unit: u64| bytes as f64 / unit as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.0} kB", in_units(1_000)),
        1_000_000..1_000_000_000 => format!("{:.1} MB", in_units(1_000_000)),
        _ => format!("{:.1} GB", in_units(1_000_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_with_text() {
        let cells = ["a".to_owned(), "bb".to_owned(), String::new()];
        assert_eq!(in_columns(&cells, &[3, 2, 4]), "a    bb");
    }

    #[test]
    fn sizes_read_as_on_the_box() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(5_924_896), "5.9 MB");
        assert_eq!(bytes(4_400_000_000), "4.4 GB");
    }
}
