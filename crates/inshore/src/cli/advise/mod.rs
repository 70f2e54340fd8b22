//! `inshore advise`
//!
//! Layout: `questions` asks for the features when no file says them; `known` finds the targets and what is known of them;
//! `report` shows the advice; `writing` puts it into the config file. The arithmetic is in `inshore_policy::advise`.

mod known;
mod questions;
mod report;
mod writing;

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use inshore_policy::advise::{Ground, Planned, USUAL_ESCALATED, advise};

use super::{Context, block_on};
use crate::config::plan;
use crate::config::sections::Section;
use crate::failure::{Exit, Failure, Outcome};
use crate::{output, policies};
use report::{Advised, Report};

/// Compare where your features could run, with latency and monthly cost, and recommend one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  inshore advise
  inshore advise plan.toml
  inshore advise plan.toml --cloud claude-haiku-4-5 --edge 40 --escalated 30
  inshore advise plan.toml --write

A plan has a section for each feature, such as
  [features.chat]
  latency = \"2s\"            # as in the config: latency, sensitivity, quality, profile, strategy,
  sensitivity = \"internal\"  # prefer, stays_here, regions, max_output
  per_day = 50              # requests; or per_month, of 30 days
  prompt_tokens = 1500
  answer_tokens = 300
  needs = [\"chat\", \"tools\"] # what a target must be able to do
  escalated = 20            # the share in percent that a hybrid is assumed to send on
What it does not say is as usual for features of that name. Nothing is sent anywhere.")]
pub(crate) struct Args {
    /// The features, in TOML; on a terminal you are asked for them when it is left out
    file: Option<PathBuf>,
    /// Compare with this target, or with this well-known model, instead of the cloud targets of the config
    #[arg(long, value_name = "MODEL")]
    cloud: Option<String>,
    /// Compare with a machine of your own that makes so many tokens a second, instead of the edge targets of the config
    #[arg(long, value_name = "TOKENS_PER_SECOND", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    edge: Option<u32>,
    /// The share in percent that a hybrid is assumed to send on, where the plan does not say
    #[arg(long, value_name = "PERCENT", default_value_t = USUAL_ESCALATED, value_parser = clap::value_parser!(u8).range(0..=100))]
    escalated: u8,
    /// Add the recommended sections to your config file
    #[arg(long)]
    write: bool,
    /// Change sections that are there already: their other keys and comments stay
    #[arg(long, requires = "write")]
    replace: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let loaded = context.config()?;
    let rules =
        policies::rules(&loaded.config).map_err(|error| Failure { exit: Exit::Usage, error, hint: None })?;
    let usual = |name: &str| Planned { escalated: args.escalated, ..Planned::usual(name) };
    let plan = match &args.file {
        Some(path) => plan_of(path, usual)?,
        None if output::stdin_is_terminal() => questions::ask(usual, questions::terminal()?)?,
        None => {
            return Err(Failure::new(Exit::Usage, "there is no plan, and no terminal to ask on").with_hint(
                "name a file: `inshore advise plan.toml`; `inshore advise --help` shows what is in it",
            ));
        }
    };
    let known = block_on(known::find(context, &loaded, args))?;
    let currency = loaded.config.money.currency;
    let ground = Ground { rules: &rules, candidates: &known.candidates, currency };
    let features: Vec<Advised> = plan
        .into_iter()
        .map(|plan| {
            let advice = advise(&plan, &ground);
            let section = advice.settings.as_ref().zip(advice.recommended).map(|(settings, placement)| {
                let why = format!("{}, because {}", placement.as_str(), advice.because);
                Section::of(&plan.name, settings, &why)
            });
            Advised { plan, advice, section }
        })
        .collect();
    let report = Report { features, known, path: context.paths.user_config.clone() };
    let sections: Vec<Section> =
        report.features.iter().filter_map(|feature| feature.section.clone()).collect();
    // The advice is shown also when it cannot be written: somebody has answered questions for it.
    let written = match args.write {
        true => Some(writing::write(context, &sections, args.replace)),
        false => None,
    };
    let done = !sections.is_empty() && written.as_ref().is_some_and(Result::is_ok);
    if context.output.json {
        context.output.json(&report.json(done))?;
    } else {
        report.show(context.output, done)?;
    }
    written.unwrap_or(Ok(()))
}

fn plan_of(path: &Path, usual: impl Fn(&str) -> Planned) -> Outcome<Vec<Planned>> {
    /// What is read of a file, at most: one byte more than a plan may have is too much already.
    const MOST: u64 = (1 << 20) + 1;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut bytes));
    read.with_context(|| format!("cannot read `{}`", path.display()))?;
    plan::read(path, &bytes, usual).map_err(|problems| Failure {
        exit: Exit::Usage,
        error: anyhow::anyhow!("the plan is wrong\n{problems}"),
        hint: None,
    })
}
