//! Replays tables of outcomes through the router of `inshore-policy`, and says how good it is.
//!
//! Layout: [`set`] what is replayed; [`routellm`], [`zeroeval`] and [`table`] read it; [`metrics`] are those of RouteLLM; [`replay`]
//! folds a set and asks the router; [`draws`] breaks the risk as often as it can; [`results`] puts all of it beside the reference
//! lines. The logic that is judged is nowhere here: scores, thresholds and judgements come from `inshore_policy::router`.
#![forbid(unsafe_code)]

mod draws;
mod metrics;
mod replay;
mod results;
mod routellm;
mod set;
mod shuffle;
mod table;
mod zeroeval;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: cargo xtask eval routing [--data DIR] [--draws N] [--write] [--json]
       cargo xtask eval routing --table FILE.csv [--device NAME] [--cloud NAME] [--others NAME,NAME]
                                [--family NAME] [--risk SHARE] [--json]
  --data DIR    the folder with `routellm` and `zeroeval`; else the variable INSHORE_EVAL_DATA
  --draws N     random draws of labels in each experiment with the risk, 200 if nothing is said; 0 leaves them out
  --write       also write evals/results/routing.md and routing.json
  --table FILE  a table of your own; evals/README.md says what its columns are
  --json        print JSON in place of tables";

#[expect(clippy::print_stderr, reason = "a program for the terminal")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    #[expect(
        clippy::disallowed_methods,
        reason = "this is a binary, and the one place that reads the variable"
    )]
    let data = std::env::var_os("INSHORE_EVAL_DATA").map(PathBuf::from);
    match Options::read(&arguments, data).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, Default)]
struct Options {
    data: Option<PathBuf>,
    table: Option<PathBuf>,
    columns: table::Columns,
    risk: Option<f64>,
    draws: Option<u32>,
    write: bool,
    json: bool,
}

impl Options {
    fn read(arguments: &[String], data: Option<PathBuf>) -> Result<Self> {
        let mut options = Self { data, ..Self::default() };
        let mut arguments = arguments.iter().map(String::as_str);
        if arguments.next() != Some("routing") {
            bail!("expected `routing`\n{USAGE}");
        }
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("`{flag}` needs a value\n{USAGE}"));
            match flag {
                "--write" => options.write = true,
                "--json" => options.json = true,
                "--data" => options.data = Some(value()?.into()),
                "--table" => options.table = Some(value()?.into()),
                "--device" => options.columns.device = Some(value()?.to_owned()),
                "--cloud" => options.columns.cloud = Some(value()?.to_owned()),
                "--others" => options.columns.others = value()?.split(',').map(str::to_owned).collect(),
                "--family" => {
                    let name = value()?;
                    let family = name.parse().ok().with_context(|| format!("`{name}` is no task family"))?;
                    options.columns.family = Some(family);
                }
                "--draws" => {
                    let count = value()?;
                    options.draws = Some(count.parse().with_context(|| format!("`{count}` is no count"))?);
                }
                "--risk" => {
                    let share = value()?;
                    options.risk = Some(share.parse().with_context(|| format!("`{share}` is no share"))?);
                }
                other => bail!("unknown argument `{other}`\n{USAGE}"),
            }
        }
        Ok(options)
    }
}

fn run(options: &Options) -> Result<()> {
    let results = match &options.table {
        Some(_) if options.write => bail!("`--write` is for the committed tables, not for `--table`"),
        Some(file) => results::of_table(&table::read(file, &options.columns)?, options.risk)?,
        None => {
            let data = options.data.as_deref().with_context(|| format!("no `--data`\n{USAGE}"))?;
            results::of_benchmarks(
                &routellm::read(data)?,
                &zeroeval::read(data)?,
                options.draws.unwrap_or(draws::DRAWS),
            )?
        }
    };
    let json = serde_json::to_string_pretty(&results)? + "\n";
    let page = results.page();
    if options.write {
        // The workspace is where this source lies.
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
        std::fs::create_dir_all(&folder).with_context(|| format!("`{}` cannot be made", folder.display()))?;
        std::fs::write(folder.join("routing.md"), &page)?;
        std::fs::write(folder.join("routing.json"), &json)?;
    }
    std::io::stdout().lock().write_all(if options.json { json.as_bytes() } else { page.as_bytes() })?;
    Ok(())
}
