//! How far a long piece of work is: a bar on a terminal, a line now and then elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output;

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Progress in bytes.
pub(super) struct Bar {
    what: &'static str,
    total: u64,
    bar: Option<ProgressBar>,
    begun: Instant,
    told: Instant,
    /// Where this run began: bytes that were there already say nothing about the rate.
    first: Option<u64>,
}

impl Bar {
    /// A bar for this many bytes; 0 when it is not known.
    pub(super) fn new(total: u64, what: &'static str) -> Self {
        let bar = output::stderr_is_terminal().then(|| {
            let bar = ProgressBar::new(total);
            let template =
                "{msg} [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_message(what);
            bar
        });
        let now = Instant::now();
        Self { what, total, bar, begun: now, told: now, first: None }
    }

    /// The number of bytes became known.
    pub(super) fn total(&mut self, total: u64) {
        self.total = total;
        if let Some(bar) = &self.bar {
            bar.set_length(total);
        }
    }

    /// So many bytes are done.
    pub(super) fn at(&mut self, done: u64) {
        if self.first.is_none() {
            self.first = Some(done);
            if let Some(bar) = &self.bar {
                bar.set_position(done);
                bar.reset_eta();
            }
        }
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None if self.told.elapsed() >= LINE_EVERY => {
                self.told = Instant::now();
                output::note(&self.line(done, self.begun.elapsed()));
            }
            None => {}
        }
    }

    fn line(&self, done: u64, elapsed: Duration) -> String {
        let moved = done.saturating_sub(self.first.unwrap_or(0));
        let rate = u64::try_from(u128::from(moved) * 1000 / elapsed.as_millis().max(1)).unwrap_or(u64::MAX);
        let of = if self.total > 0 { format!(" of {}", output::bytes(self.total)) } else { String::new() };
        let left = match (self.total.saturating_sub(done), rate) {
            (0, _) | (_, 0) => String::new(),
            (left, rate) => format!(", {} s left", left / rate),
        };
        format!("{}: {}{of}, {}/s{left}", self.what, output::bytes(done), output::bytes(rate))
    }

    /// Takes the bar away.
    pub(super) fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_rate_and_rest_of_this_run_only() {
        let mut bar = Bar::new(100_000_000, "downloading");
        bar.first = Some(40_000_000);
        let line = bar.line(60_000_000, Duration::from_secs(10));
        assert_eq!(line, "downloading: 60.0 MB of 100.0 MB, 2.0 MB/s, 20 s left");
    }
}
