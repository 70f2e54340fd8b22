//! `inshore policy`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use inshore_domain::{Capability, Target, TargetId, Tier};
use inshore_policy::rules::SHIPPED;
use serde_json::json;

use super::{Context, decide};
use crate::config::Loaded;
use crate::daemon;
use crate::failure::{Exit, Failure, Outcome};
use crate::policies;

/// Show, check and test the policies.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  inshore policy show
  inshore policy check policies.cedar
  inshore policy test cases.toml
  inshore policy explain \"Summarise this contract\" --sensitivity confidential")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print the built-in policies, and those of the file that the config names
    Show,
    /// Look for mistakes in a policy file, or in the one that the config names
    Check {
        /// The file
        file: Option<PathBuf>,
    },
    /// Run a table of cases: facts, and the decision that is expected
    Test {
        /// The cases, in TOML
        file: PathBuf,
        /// Policies to test instead of those in force
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
    /// Show where a request would run now, and which policies say so; the same as `inshore decide`
    Explain(decide::Args),
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    match &args.command {
        Command::Show => show(context),
        Command::Check { file } => check(context, file.as_ref()),
        Command::Test { file, policy } => test(context, file, policy.as_ref()),
        Command::Explain(args) => decide::run(context, args),
    }
}

fn show(context: &Context) -> Outcome {
    let loaded = context.config()?;
    if loaded.config.policy.with_shipped {
        context.output.piece(SHIPPED)?;
    }
    if let Some(path) = &loaded.config.policy.file {
        context.output.piece(&format!("\n// {}\n\n{}", path.display(), policies::read(path)?))?;
    }
    Ok(())
}

fn check(context: &Context, file: Option<&PathBuf>) -> Outcome {
    let Loaded { mut config, .. } = context.config()?;
    if let Some(file) = file {
        config.policy.file = Some(file.clone());
    }
    let rules = policies::rules(&config).map_err(|error| Failure { exit: Exit::Usage, error, hint: None })?;
    for warning in rules.warnings() {
        crate::output::warn(&warning.to_string());
    }
    let ids: Vec<&str> = rules.policies().collect();
    if context.output.json {
        return Ok(context.output.json(&json!({"policies": ids}))?);
    }
    Ok(context.output.line(&format!("{} policies are in force: {}", ids.len(), ids.join(", ")))?)
}

fn test(context: &Context, file: &Path, policy: Option<&PathBuf>) -> Outcome {
    let mut loaded = context.config()?;
    if let Some(policy) = policy {
        loaded.config.policy.file = Some(policy.clone());
    }
    let config = &loaded.config;
    let usage = |error| Failure { exit: Exit::Usage, error, hint: None };
    let rules = policies::rules(config).map_err(usage)?;
    let cases = policies::read(file).map_err(usage)?;
    let report = inshore_policy::run_cases(&cases, &rules, &targets(context, &loaded)?)
        .map_err(|error| Failure::new(Exit::Usage, format!("`{}`: {error}", file.display())))?;
    if context.output.json {
        let results: Vec<_> = report
            .results
            .iter()
            .map(|result| {
                let difference = result.outcome.as_ref().err();
                json!({
                    "name": result.name, "line": result.line, "passed": difference.is_none(),
                    "expected": difference.map(|it| &it.expected), "found": difference.map(|it| &it.found),
                })
            })
            .collect();
        context.output.json(&json!({"cases": results}))?;
    } else {
        context.output.line(&report.to_string())?;
    }
    if report.all_passed() {
        return Ok(());
    }
    let failed = report.results.len() - report.passed();
    Err(Failure::new(Exit::Failure, format!("{failed} of {} cases came out otherwise", report.results.len())))
}

/// The configured targets and the models of this machine, without asking either: policies look at what is configured. A
/// model's capabilities are not read from its file; it is taken to do all that models here can.
fn targets(context: &Context, loaded: &Loaded) -> Outcome<Vec<Arc<Target>>> {
    let config = &loaded.config;
    let mut targets = Vec::new();
    for entry in context.catalogue(loaded).list()?.entries {
        targets.push(Arc::new(Target {
            id: TargetId(format!("device/{}", entry.manifest.id)),
            endpoint_of: None,
            tier: Tier::Device,
            model: entry.manifest.id.clone(),
            aliases: entry.manifest.aliases.clone(),
            destination: None,
            region: None,
            context_window: config.engine.context,
            max_output: None,
            capabilities: Capability::ALL.into_iter().collect(),
            price: None,
            permitted_up_to: None,
            quality: None,
        }));
    }
    for remote in &config.targets {
        targets.push(Arc::new(daemon::targets::described(remote)?));
    }
    Ok(targets)
}
