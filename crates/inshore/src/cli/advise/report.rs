//! Shows advice: tables for people, JSON for programs.

use std::path::PathBuf;
use std::time::Duration;

use inshore_domain::time::micros;
use inshore_domain::{Money, Profile};
use inshore_policy::advise::{Advice, Fit, Outlook, Placement, Planned, Timed};
use serde_json::{Value, json};

use super::known::Known;
use crate::config::sections::Section;
use crate::output::{self, Output};

/// A feature, and what is advised for it.
#[derive(Debug)]
pub(super) struct Advised {
    pub(super) plan: Planned,
    pub(super) advice: Advice,
    /// `None`: no placement is possible.
    pub(super) section: Option<Section>,
}

/// Everything that is shown.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) features: Vec<Advised>,
    pub(super) known: Known,
    /// The config file.
    pub(super) path: PathBuf,
}

const HEAD: [&str; 9] =
    ["PLACEMENT", "TARGET", "FIT", "FIRST TOKEN", "WHOLE ANSWER", "QUALITY", "A MONTH", "LEAVES", "WHY"];

impl Report {
    /// For people. `written`: the sections are in the file already.
    pub(super) fn show(&self, output: Output, written: bool) -> std::io::Result<()> {
        for Advised { plan, advice, .. } in &self.features {
            output.line(&needs(plan))?;
            let rows: Vec<Vec<String>> =
                advice.outlooks.iter().map(|outlook| row(outlook, advice.recommended)).collect();
            output.table(&HEAD, &rows)?;
            output.line(&format!("{}.", recommendation(advice)))?;
            for note in &advice.notes {
                output.line(&format!("  {note}."))?;
            }
            output.line("")?;
        }
        if self.features.len() > 1 {
            output.line(&self.together())?;
        }
        for remark in &self.known.remarks {
            output.line(remark)?;
        }
        output.line(&format!("{LEGEND}\n"))?;
        let sections: Vec<&Section> = self.features.iter().filter_map(|it| it.section.as_ref()).collect();
        if written {
            let names: Vec<String> = sections.iter().map(|section| format!("`{}`", section.name)).collect();
            output::note(&format!("wrote the sections of {} to {}", names.join(", "), self.path.display()));
        } else if !sections.is_empty() {
            output.line(&format!("For {} (`--write` puts it there):\n", self.path.display()))?;
            let texts: Vec<&str> = sections.iter().map(|section| section.text.as_str()).collect();
            output.piece(&texts.join("\n"))?;
        }
        Ok(())
    }

    fn together(&self) -> String {
        let recommended = sum(self.features.iter().filter_map(|feature| feature.advice.cost()));
        let cloud = self.features.iter().flat_map(|feature| &feature.advice.outlooks);
        let cloud = sum(cloud.filter(|it| it.placement == Placement::Cloud).filter_map(|it| it.cost));
        match (recommended, cloud) {
            (Some(recommended), Some(cloud)) => format!(
                "Together: {} a month as recommended, and {} were all of it in the cloud.",
                cents(recommended),
                cents(cloud)
            ),
            _ => "Together: prices are in several currencies, and nothing is converted.".to_owned(),
        }
    }

    /// For programs: times in microseconds, amounts in millionths.
    pub(super) fn json(&self, written: bool) -> Value {
        let features: Vec<Value> = self.features.iter().map(feature_json).collect();
        json!({
            "features": features,
            "remarks": self.known.remarks,
            "config": self.path,
            "written": written,
        })
    }
}

/// What the words of the table mean.
const LEGEND: &str = "Times and qualities are measured (medians of answers here), stated, or assumed (what such targets usually do); times of a \
hybrid are the mean.\nFIT: yes, no, or short (it may and can, and misses a need). A month has 30 days; LEAVES is what leaves this device in it.";

/// Amounts that differ in currency have no sum; nothing is nothing in any.
fn sum(amounts: impl Iterator<Item = Money>) -> Option<Money> {
    let mut sum: Option<Money> = None;
    for amount in amounts {
        sum = match sum {
            Some(sum) if amount.micros == 0 => Some(sum),
            Some(sum) if sum.micros != 0 => Some(sum.checked_add(amount)?),
            _ => Some(amount),
        };
    }
    Some(sum.unwrap_or(Money::ZERO))
}

fn needs(plan: &Planned) -> String {
    let feature = &plan.feature;
    let waits = match feature.profile {
        Profile::Realtime => "somebody waits",
        Profile::Async => "minutes are fine",
        Profile::Batch => "hours are fine",
    };
    let mut needs = vec![
        format!(
            "{} requests a month of {} tokens in and {} out",
            plan.requests, plan.prompt_tokens, plan.answer_tokens
        ),
        waits.to_owned(),
        format!("{} text", feature.sensitivity.unwrap_or_default()),
    ];
    needs.extend(feature.latency_budget.map(|budget| format!("first token within {}", time(budget))));
    needs.extend(feature.quality_floor.map(|floor| format!("quality {floor}")));
    needs.extend(feature.stays_here.then(|| "stays on this device".to_owned()));
    format!("{}: {}", plan.name, needs.join(", "))
}

fn recommendation(advice: &Advice) -> String {
    let Some(placement) = advice.recommended else {
        return format!("Recommended: nothing, because {}", advice.because);
    };
    let runs_on: Vec<&str> = advice.runs_on.iter().map(|target| target.0.as_str()).collect();
    let today = match runs_on.as_slice() {
        [] => "nothing could take it as configured today".to_owned(),
        ids => format!("as configured today it runs on {}", ids.join(", else ")),
    };
    format!("Recommended: {}, because {}; {today}", placement.as_str(), advice.because)
}

fn row(outlook: &Outlook, recommended: Option<Placement>) -> Vec<String> {
    let none = || "-".to_owned();
    let marked = if recommended == Some(outlook.placement) { " *" } else { "" };
    let target = outlook.target.as_ref().map_or_else(none, |target| match &outlook.then {
        Some((then, percent)) => format!("{target}, {percent} % to {then}"),
        None => target.to_string(),
    });
    let timed = |timed: Option<Timed>| {
        timed.map_or_else(none, |timed| format!("{} {}", time(timed.time), timed.basis.as_str()))
    };
    // That of a hybrid depends on who judges what is sent on.
    let quality = outlook.quality.filter(|_| outlook.then.is_none());
    let fit = match outlook.fit {
        Fit::Meets => "yes",
        Fit::Short(_) => "short",
        Fit::Impossible(_) => "no",
    };
    vec![
        format!("{}{marked}", outlook.placement.as_str()),
        target,
        fit.to_owned(),
        timed(outlook.first_token),
        timed(outlook.answer),
        quality.map_or_else(none, |quality| format!("{} {}", quality.percent, quality.basis.as_str())),
        outlook.cost.map_or_else(none, cents),
        outlook.bytes_out.map_or_else(none, output::bytes),
        why(outlook),
    ]
}

fn why(outlook: &Outlook) -> String {
    let mut reasons: Vec<String> = outlook.fit.reasons().iter().map(ToString::to_string).collect();
    if reasons.is_empty() {
        reasons.push("meets every need".to_owned());
    }
    if outlook.batch {
        reasons.push("at the price of the provider's batch API".to_owned());
    }
    reasons.join("; ")
}

/// Whole cents, as forecasts are read; less than one is said to be so.
fn cents(amount: Money) -> String {
    const CENT: i64 = 10_000;
    if amount.micros > 0 && amount.micros < CENT {
        return format!("< 0.01 {}", amount.currency.code());
    }
    Money { micros: amount.micros.saturating_add(CENT / 2) / CENT * CENT, ..amount }.to_string()
}

fn time(time: Duration) -> String {
    let (millis, seconds) = (time.as_millis(), time.as_secs());
    match seconds {
        0 => format!("{millis} ms"),
        1..120 => format!("{}.{} s", seconds, millis % 1_000 / 100),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

fn feature_json(advised: &Advised) -> Value {
    let Advised { plan, advice, section } = advised;
    let feature = &plan.feature;
    json!({
        "feature": plan.name,
        "needs": {
            "latency_budget_ms": feature.latency_budget.map(|budget| u64::try_from(budget.as_millis()).unwrap_or(u64::MAX)),
            "sensitivity": feature.sensitivity.unwrap_or_default().as_str(),
            "quality_floor": feature.quality_floor,
            "profile": feature.profile.as_str(),
            "stays_here": feature.stays_here,
            "requests_a_month": plan.requests,
            "prompt_tokens": plan.prompt_tokens,
            "answer_tokens": plan.answer_tokens,
            "escalated_percent": plan.escalated,
        },
        "placements": advice.outlooks.iter().map(outlook_json).collect::<Vec<_>>(),
        "recommended": advice.recommended.map(Placement::as_str),
        "because": advice.because,
        "runs_on_as_configured": advice.runs_on.iter().map(|target| target.0.as_str()).collect::<Vec<_>>(),
        "notes": advice.notes,
        "section": section.as_ref().map(|section| section.text.as_str()),
    })
}

fn outlook_json(outlook: &Outlook) -> Value {
    let timed = |timed: Timed| json!({"us": micros(timed.time), "basis": timed.basis.as_str()});
    let reasons: Vec<Value> = outlook
        .fit
        .reasons()
        .iter()
        .map(|reason| json!({"code": reason.code, "reason": reason.text}))
        .collect();
    json!({
        "placement": outlook.placement.as_str(),
        "target": outlook.target.as_ref().map(|target| target.0.as_str()),
        "then": outlook.then.as_ref().map(|(target, percent)| json!({"target": target.0, "percent": percent})),
        "configured": outlook.target.is_some() && !outlook.reference,
        "fit": outlook.fit.as_str(),
        "reasons": reasons,
        "first_token": outlook.first_token.map(timed),
        "answer": outlook.answer.map(timed),
        "quality": outlook.quality.map(|quality| json!({"percent": quality.percent, "basis": quality.basis.as_str()})),
        "cost_a_month": outlook.cost.map(|cost| json!({"micros": cost.micros, "currency": cost.currency.code()})),
        "bytes_out_a_month": outlook.bytes_out,
        "batch_price": outlook.batch,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use inshore_domain::{Currency, Price, Sensitivity, Target, TargetId, Tier};
    use inshore_policy::Rules;
    use inshore_policy::advise::{Candidate, Ground, Here, Sample, Seen, advise};
    use std::fmt::Write as _;
    use std::sync::Arc;

    fn target(id: &str, tier: Tier, price: Option<Price>) -> Target {
        Target {
            id: TargetId(id.to_owned()),
            tier,
            model: id.to_owned(),
            aliases: Vec::new(),
            destination: None,
            endpoint_of: None,
            region: None,
            context_window: 100_000,
            max_output: None,
            capabilities: inshore_domain::Capability::ALL.into_iter().collect(),
            price,
            permitted_up_to: Some(Sensitivity::Internal),
            quality: None,
        }
    }

    /// Two features on a device that was measured for chat, a stated machine at the edge, and a cloud that is not configured.
    fn report() -> Report {
        let sample = Sample {
            prompt_tokens: 1_500,
            output_tokens: 200,
            first_token: Duration::from_millis(900),
            total: Duration::from_millis(10_850),
        };
        let device = Candidate {
            here: Some(Here { parameters: 4_000_000_000, bytes: 2_400_000_000, cores: 8 }),
            seen_for: [("chat".to_owned(), Seen::of(&[sample; 5]).unwrap())].into(),
            ..Candidate::of(Arc::new(target("device/qwen", Tier::Device, None)))
        };
        let edge = target("edge/box", Tier::Edge, Some(Price::FREE));
        let edge = Candidate { a_token: Some(Duration::from_millis(20)), ..Candidate::of(Arc::new(edge)) };
        let price =
            Price { batch: Some((125_000, 1_000_000)), ..Price::flat(Currency::USD, 250_000, 2_000_000) };
        let cloud = Arc::new(target("cloud/mini", Tier::Cloud, Some(price)));
        let candidates = vec![device, edge, Candidate { reference: true, ..Candidate::of(cloud) }];
        let ground = Ground { rules: &Rules::default(), candidates: &candidates, currency: Currency::USD };
        let features = ["chat", "file-scan", "nightly-report"].map(|name| {
            let mut plan = Planned::usual(name);
            if name == "nightly-report" {
                plan.feature.quality_floor = Some(70);
            }
            let advice = advise(&plan, &ground);
            let section =
                advice.settings.as_ref().map(|settings| Section::of(name, settings, &advice.because));
            Advised { plan, advice, section }
        });
        let remarks = vec!["The cloud is not configured.".to_owned()];
        let known = Known { candidates: candidates.clone(), remarks };
        Report { features: features.into(), known, path: "/home/me/config.toml".into() }
    }

    #[test]
    fn the_table_is_as_it_was() {
        let report = report();
        let mut shown = String::new();
        for Advised { plan, advice, .. } in &report.features {
            let _ = writeln!(shown, "{}\n{}", needs(plan), HEAD.join(" | "));
            for outlook in &advice.outlooks {
                let _ = writeln!(shown, "{}", row(outlook, advice.recommended).join(" | "));
            }
            let _ = writeln!(shown, "{}.\n  {}\n", recommendation(advice), advice.notes.join("\n  "));
        }
        let _ = writeln!(shown, "{}", report.together());
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn the_json_is_as_it_was() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&report().json(false)).unwrap());
    }

    #[test]
    fn times_and_amounts_read_well() {
        let times =
            [999, 1_250, 119_900, 120_000, 86_400_000].map(|millis| time(Duration::from_millis(millis)));
        assert_eq!(times, ["999 ms", "1.2 s", "119.9 s", "2 min", "24 h"]);
        let amounts =
            [0, 1, 9_999, 14_999, 15_000, i64::MAX].map(|micros| cents(Money { micros, ..Money::ZERO }));
        assert_eq!(amounts[..5], ["0.00 USD", "< 0.01 USD", "< 0.01 USD", "0.01 USD", "0.02 USD"]);
        let euro = Money { micros: 5, currency: Currency::new("EUR").unwrap() };
        assert_eq!(sum([Money::ZERO, euro, Money::ZERO].into_iter()), Some(euro));
        assert_eq!(sum([euro, euro].into_iter()), Some(Money { micros: 10, ..euro }));
        assert_eq!(sum([Money { micros: 1, ..Money::ZERO }, euro].into_iter()), None);
    }
}
