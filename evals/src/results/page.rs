//! Results as a page.

use std::fmt::Write as _;

use super::{DrawResult, LineResult, Results, RuleResult, SetResult, Shown};

const HEAD: &str = "# Routing

Written by `cargo xtask eval routing`; [the README](../README.md) says from what, and what the columns mean. Five folds, seeded: every
request is judged by what was learned of others. Lines in italics were read or measured elsewhere.
";

impl Results {
    /// All tables. Writing to a string cannot fail.
    pub(crate) fn page(&self) -> String {
        let mut page = if self.goals.is_empty() { String::new() } else { HEAD.to_owned() };
        self.write_goals(&mut page);
        for set in &self.sets {
            set.write(&mut page);
        }
        self.write_draws(&mut page);
        page
    }

    fn write_goals(&self, page: &mut String) {
        if self.goals.is_empty() {
            return;
        }
        let _ = write!(page, "\n## Goals\n\n| goal | wanted | reached | |\n|---|---|---|---|\n");
        for goal in &self.goals {
            let sign = if goal.at_most { "≤" } else { "≥" };
            let met = if goal.met { "met" } else { "**missed**" };
            let _ = writeln!(
                page,
                "| {} | {sign} {} | {} | {met} |",
                goal.what,
                goal.wanted,
                number(goal.reached)
            );
        }
    }

    fn write_draws(&self, page: &mut String) {
        if self.draws.is_empty() {
            return;
        }
        let _ = write!(
            page,
            "\n## Whether the risk is kept\n\n\
             A router learns from labels drawn at random; the rest of the set shows whether more of the kept answers are worse than the cloud's \
             than was declared. `naive` is a threshold at which the errors among the same labels are just under the risk.\n\n\
             | set | router sees | labels | risk | broken | naive broken | kept on the device | draws that kept nothing |\n\
             |---|---|---|---|---|---|---|---|\n"
        );
        for draw in &self.draws {
            let DrawResult { set, view, labels, risk, broken, naive_broken, kept, nothing_kept, .. } = draw;
            let _ = writeln!(
                page,
                "| {set} | {view} | {labels} | {} | {} | {} | {} | {} |",
                percent(*risk),
                percent(*broken),
                percent(*naive_broken),
                percent(*kept),
                percent(*nothing_kept)
            );
        }
    }
}

impl SetResult {
    fn write(&self, page: &mut String) {
        let _ = write!(
            page,
            "\n## {}\n\n{} requests, `{}` ({} right) to `{}` ({} right); risk {}.\n\n\
             | decided by | APGR | CPT50 | CPT80 | on the device within a point | on the device at the risk | APGR of the router | kept by the router | errors of these | right in all |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
            self.name,
            self.rows,
            self.device,
            percent(self.device_right),
            self.cloud,
            percent(self.cloud_right),
            percent(self.risk),
        );
        self.lines.iter().for_each(|line| line.write(page));
        if !self.rules.is_empty() {
            let _ = write!(
                page,
                "\n| kept without labels when | on the device | errors of these | right in all |\n|---|---|---|---|\n"
            );
            for RuleResult { name, kept, errors, right } in &self.rules {
                let _ = writeln!(page, "| {name} | {} | {} | {} |", shown(kept), shown(errors), shown(right));
            }
        }
    }
}

impl LineResult {
    fn write(&self, page: &mut String) {
        let name = if self.reference { format!("*{}*", self.name) } else { self.name.clone() };
        let (apgr, kept, errors, right) = match &self.routed {
            None => ("–".to_owned(), "–".to_owned(), "–".to_owned(), "–".to_owned()),
            Some(routed) => {
                (number(routed.apgr), shown(&routed.kept), shown(&routed.errors), shown(&routed.right))
            }
        };
        let _ = writeln!(
            page,
            "| {name} | {} | {} | {} | {} | {} | {apgr} | {kept} | {errors} | {right} |",
            number(self.apgr),
            self.cpt50.map_or("–".into(), percent),
            self.cpt80.map_or("–".into(), percent),
            self.kept_within_a_point.map_or("–".into(), percent),
            self.kept_at_risk.map_or("–".into(), percent),
        );
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.3}"))
}

fn percent(value: f64) -> String {
    format!("{:.1} %", value * 100.0)
}

fn shown(share: &Shown) -> String {
    format!("{} ({:.1}–{:.1})", percent(share.value), share.low * 100.0, share.high * 100.0)
}
