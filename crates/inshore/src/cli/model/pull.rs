//! `inshore model pull`

use anyhow::Context as _;
use inshore_domain::EgressLog;
use inshore_providers::download::{Digest, Download, Downloaded, Verified, download};
use inshore_providers::{Destination, Gate, GateOptions, Secret};
use url::Url;

use super::progress::Bar;
use super::{describe, list, refresh};
use crate::catalogue::source::Source;
use crate::catalogue::{Catalogue, Entry, Manifest, check_id, id_from};
use crate::cli::{Context, block_on, until_interrupted};
use crate::clock::unix_seconds;
use crate::config::Loaded;
use crate::failure::{Exit, Failure, Hint, Outcome};
use crate::output;
use crate::paths::private_folder;

/// Download a model from a hub or any web address. An interrupted download goes on where it stopped.
///
/// The file is used only when its checksum is right: the one given by `--sha256`, or the one that the hub tells.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  inshore model pull hf:Qwen/Qwen3-4B-GGUF/Qwen3-4B-Q4_K_M.gguf
  inshore model pull hf:OWNER/REPO/FILE.gguf@REVISION --name short --alias gpt-4o-mini
  inshore model pull https://models.example.com/m.gguf --sha256 9f86d081…

For models behind a login, `HF_TOKEN` is sent to the hub that the config names, and to nobody else.")]
pub(crate) struct Args {
    /// hf:OWNER/REPO/FILE.gguf or a web address
    source: String,
    /// What to call it; made from the file's name when left out
    #[arg(long)]
    name: Option<String>,
    /// Another name by which requests may ask for it; can be given several times
    #[arg(long)]
    alias: Vec<String>,
    /// The checksum that the file must have
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Outcome {
    let loaded = context.config()?;
    let catalogue = context.catalogue(&loaded);
    let source = Source::parse(&args.source, &loaded.config.models.hub)
        .map_err(|error| Failure { exit: Exit::Usage, ..Failure::from(error) })?;
    let id = match &args.name {
        Some(name) => {
            check_id(name)?;
            name.clone()
        }
        None => id_from(&source.file)?,
    };
    if catalogue.has(&id) {
        let message = format!("there is a model `{id}` already");
        return Err(Failure::new(Exit::Failure, message)
            .with_hint("choose another name with `--name`, or remove that model first"));
    }
    private_folder(catalogue.dir())
        .with_context(|| format!("cannot make `{}`", catalogue.dir().display()))?;
    let what = wanted(context, args, &loaded, &source, &catalogue, &id)?;
    let fetched = block_on(until_interrupted(fetch(&what))).hint_when_interrupted()?;
    let entry = register(&catalogue, id, args, &source, fetched)?;
    refresh(context)?;
    if context.output.json {
        return Ok(context.output.json(&list::as_json(&entry))?);
    }
    output::note(&format!("`{0}` is ready; `inshore chat --model {0}` talks with it", entry.manifest.id));
    Ok(())
}

/// An interrupted pull is no loss, and people should know.
trait WhenInterrupted<T> {
    fn hint_when_interrupted(self) -> Outcome<T>;
}

impl<T> WhenInterrupted<T> for Outcome<T> {
    fn hint_when_interrupted(self) -> Outcome<T> {
        match self {
            Err(failure) if failure.exit == Exit::Interrupted => {
                Err(failure).hint("the same command goes on where this one stopped")
            }
            other => other,
        }
    }
}

fn wanted(
    context: &Context,
    args: &Args,
    loaded: &Loaded,
    source: &Source,
    catalogue: &Catalogue,
    id: &str,
) -> Outcome<Download> {
    let url: Url = source.url.parse().with_context(|| format!("`{}` is not an address", source.shown))?;
    let hub: Option<Url> = loaded.config.models.hub.parse().ok();
    let at_hub = hub.is_some_and(|hub| hub.origin() == url.origin());
    let mut what = Download::new(url, catalogue.file_of(id));
    what.token = context.environment.text("HF_TOKEN").filter(|_| at_hub).map(Secret::new);
    what.sha256 = match &args.sha256 {
        Some(hex) => Some(hex.parse::<Digest>().map_err(|error| Failure::new(Exit::Usage, error))?),
        None => None,
    };
    Ok(what)
}

async fn fetch(what: &Download) -> Outcome<Downloaded> {
    let gate = Gate::new(GateOptions::default());
    let destination = Destination::of(&what.url).context("this address cannot be called")?;
    gate.declare(destination);
    let mut bar = Bar::new(0, "downloading");
    let mut told = false;
    let mut progress = |progress: inshore_providers::download::Progress| {
        if let (false, Some(total)) = (told, progress.total) {
            told = true;
            bar.total(total);
        }
        bar.at(progress.bytes);
    };
    let fetched = download(&gate, what, &EgressLog::default(), &mut progress).await;
    bar.done();
    let fetched = fetched.context("the model was not downloaded")?;
    if fetched.resumed_from > 0 {
        output::note(&format!("went on after the {} that were there", output::bytes(fetched.resumed_from)));
    }
    Ok(fetched)
}

fn register(
    catalogue: &Catalogue,
    id: String,
    args: &Args,
    source: &Source,
    fetched: Downloaded,
) -> Outcome<Entry> {
    if let Err(error) = describe::read(&fetched.path) {
        // What is no model now will not be one later, and would block the name.
        std::fs::remove_file(&fetched.path)?;
        return Err(error.into());
    }
    match fetched.verified {
        Verified::Expected | Verified::ByHub => {}
        Verified::No => output::warn(&format!(
            "nobody told a checksum, so the file is not verified; it has sha256 {}",
            fetched.sha256
        )),
    }
    let manifest = Manifest {
        file: format!("{id}.gguf").into(),
        id,
        owned: true,
        sha256: Some(fetched.sha256.to_string()),
        size: fetched.bytes,
        source: source.shown.clone(),
        aliases: args.alias.clone(),
        added: unix_seconds(),
    };
    Ok(catalogue.register(&manifest)?)
}
