//! The targets there are, or could be, and what is known of each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use inshore_domain::{Capability, Price, Sensitivity, Target, TargetId, Tier};
use inshore_engine::pool::physical_cores;
use inshore_policy::advise::{Candidate, Here, Sample, Seen};
use inshore_providers::prices::{self, Listed};

use super::Args;
use crate::catalogue::builtin;
use crate::cli::Context;
use crate::cli::answer::PULL_CHAT_MODEL;
use crate::client::{Daemon, Ending, Receipt};
use crate::clock::SystemClock;
use crate::config::{Loaded, nearest};
use crate::daemon::{models, targets};
use crate::failure::{Exit, Failure, Outcome};
use crate::output;

/// The cloud model to compare with where none is configured: among the cheapest of those that answer questions, and with a batch API.
const USUAL_CLOUD: &str = "gpt-5-mini";
/// The receipts that are looked at for measurements: as many as the daemon gives at once.
const RECEIPTS: u32 = 1_000;
/// The window of a machine of one's own: what a card with 24 GB leaves beside a model of the middle size.
const EDGE_WINDOW: u32 = 32_768;

/// See above.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) candidates: Vec<Candidate>,
    /// What was compared with, and from what.
    pub(super) remarks: Vec<String>,
}

/// Finds all. A daemon is asked for its receipts when one runs, and never started.
pub(super) async fn find(context: &Context, loaded: &Loaded, args: &Args) -> Outcome<Known> {
    let mut known = Known { candidates: on_device(context, loaded).await?, remarks: Vec::new() };
    if known.candidates.iter().all(|candidate| candidate.target.model == builtin::ID) {
        known.remarks.push(format!(
            "This device has no model that answers questions: `{PULL_CHAT_MODEL}` gets one, and changes this comparison."
        ));
    }
    for remote in &loaded.config.targets {
        known.candidates.push(Candidate::of(Arc::new(targets::described(remote)?)));
    }
    known.edge(args.edge);
    known.cloud(args.cloud.as_deref())?;
    known.prices(loaded);
    known.measure(context).await;
    Ok(known)
}

/// The models of this machine as the daemon would have them: their files' headers are read, none is loaded.
async fn on_device(context: &Context, loaded: &Loaded) -> Outcome<Vec<Candidate>> {
    let entries = context.catalogue(loaded).list()?.entries;
    let pool = models::pool(&loaded.config.engine, None, Arc::new(SystemClock))?;
    pool.set_models(models::device_models(&entries, &loaded.config.models.overrides)).await;
    let cores = loaded.config.engine.threads.unwrap_or_else(physical_cores);
    let mut candidates = Vec::new();
    for (target, ..) in pool.registered() {
        let about = pool.describe(&target.model);
        let entry = entries.iter().find(|entry| entry.manifest.id == target.model);
        let here = about.zip(entry).map(|(about, entry)| Here {
            parameters: about.parameters,
            bytes: entry.manifest.size,
            cores,
        });
        candidates.push(Candidate { here, ..Candidate::of(target) });
    }
    pool.shutdown().await;
    Ok(candidates)
}

impl Known {
    fn has(&self, tier: Tier) -> bool {
        self.candidates.iter().any(|candidate| candidate.target.tier == tier)
    }

    fn edge(&mut self, tokens_per_second: Option<u32>) {
        let Some(rate) = tokens_per_second else {
            if !self.has(Tier::Edge) {
                self.remarks.push(
                    "No edge target is configured: `--edge 40` compares with a machine of your own that makes 40 tokens a second."
                        .to_owned(),
                );
            }
            return;
        };
        self.candidates.retain(|candidate| candidate.target.tier != Tier::Edge);
        let capabilities =
            [Capability::Chat, Capability::Completion, Capability::Tools, Capability::JsonSchema];
        let target = Target {
            capabilities: capabilities.into_iter().collect(),
            context_window: EDGE_WINDOW,
            price: Some(Price::FREE),
            ..reference("edge/machine-of-your-own", Tier::Edge)
        };
        let a_token = Some(Duration::from_secs(1) / rate.max(1));
        self.candidates.push(Candidate { reference: true, a_token, ..Candidate::of(Arc::new(target)) });
        self.remarks.push(format!(
            "The edge is a machine of your own that makes {rate} tokens a second, as if it were permitted for internal text; \
             what it costs to buy and to run is not counted."
        ));
    }

    fn cloud(&mut self, model: Option<&str>) -> Outcome {
        if model.is_none() && self.has(Tier::Cloud) {
            return Ok(());
        }
        let wanted = model.unwrap_or(USUAL_CLOUD);
        let is_it = |candidate: &Candidate| candidate.target.id.0 == wanted;
        if self.candidates.iter().any(|candidate| candidate.target.tier == Tier::Cloud && is_it(candidate)) {
            self.candidates.retain(|candidate| candidate.target.tier != Tier::Cloud || is_it(candidate));
            return Ok(());
        }
        let (host, name, listed) = well_known(wanted)?;
        self.candidates.retain(|candidate| candidate.target.tier != Tier::Cloud);
        let target = Target {
            model: name.to_owned(),
            destination: Some(format!("{host}:443")),
            context_window: listed.context_window,
            max_output: listed.max_output,
            capabilities: listed.capabilities,
            price: Some(listed.price),
            ..reference(&format!("{host}/{name}"), Tier::Cloud)
        };
        let why = if model.is_none() { "No cloud target is configured: the" } else { "The" };
        let other = if model.is_none() { " (`--cloud MODEL` takes another)" } else { "" };
        self.remarks.push(format!(
            "{why} cloud is `{}`, a well-known model{other}, as if it were permitted for internal text.",
            target.id
        ));
        self.candidates.push(Candidate { reference: true, ..Candidate::of(Arc::new(target)) });
        Ok(())
    }

    /// Which prices were looked up, and when.
    fn prices(&mut self, loaded: &Loaded) {
        for candidate in &self.candidates {
            let Some(price) = candidate.target.price else { continue };
            if let Some((year, month, day)) = price.as_of {
                self.remarks.push(format!(
                    "The price of `{}` is that of {year:04}-{month:02}-{day:02}.",
                    candidate.target.id
                ));
            }
            let own = loaded.config.money.currency;
            if price.currency != own && price != Price::FREE {
                self.remarks.push(format!(
                    "`{}` is priced in {}, and this installation counts in {}: nothing is converted.",
                    candidate.target.id,
                    price.currency.code(),
                    own.code()
                ));
            }
        }
    }

    async fn measure(&mut self, context: &Context) {
        let receipts = match receipts(context).await {
            Ok(Some(receipts)) => receipts,
            Ok(None) => {
                self.remarks
                    .push("No daemon runs, so nothing is measured: every time is assumed.".to_owned());
                return;
            }
            Err(failure) => {
                output::warn(&format!("the daemon does not tell what it measured: {:#}", failure.error));
                return;
            }
        };
        for candidate in &mut self.candidates {
            let of_target = |receipt: &&Receipt| receipt.target.as_ref() == Some(&candidate.target.id.0);
            let mut all = Vec::new();
            let mut by_feature: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
            for receipt in receipts.iter().filter(of_target) {
                let Some(sample) = sample(receipt) else { continue };
                all.push(sample);
                if let Some(feature) = &receipt.feature {
                    by_feature.entry(feature.clone()).or_default().push(sample);
                }
            }
            candidate.seen = Seen::of(&all);
            let seen = |(feature, samples): (String, Vec<Sample>)| Some((feature, Seen::of(&samples)?));
            candidate.seen_for = by_feature.into_iter().filter_map(seen).collect();
        }
    }
}

/// The newest receipts; `None` when no daemon runs.
async fn receipts(context: &Context) -> Outcome<Option<Vec<Receipt>>> {
    let Some(daemon) = Daemon::find(&context.paths)? else { return Ok(None) };
    let mut answer = daemon.get(&format!("/inshore/v1/receipts?limit={RECEIPTS}")).await?;
    let receipts = answer.get_mut("receipts").map(serde_json::Value::take).unwrap_or_default();
    Ok(Some(serde_json::from_value(receipts).map_err(anyhow::Error::from)?))
}

/// What an answer says of its target's speed: nothing where it was given again, failed, or came after other attempts.
fn sample(receipt: &Receipt) -> Option<Sample> {
    let whole = matches!(receipt.outcome, Ending::Answered);
    if !whole || receipt.replay.is_some() || !receipt.failed_steps.is_empty() {
        return None;
    }
    Some(Sample {
        prompt_tokens: receipt.usage.prompt_tokens,
        output_tokens: receipt.usage.output_tokens,
        first_token: Duration::from_micros(receipt.timings.first_token_us?),
        total: Duration::from_micros(receipt.timings.total_us),
    })
}

fn reference(id: &str, tier: Tier) -> Target {
    Target {
        id: TargetId(id.to_owned()),
        tier,
        model: id.to_owned(),
        aliases: Vec::new(),
        destination: None,
        endpoint_of: None,
        region: None,
        context_window: 0,
        max_output: None,
        capabilities: inshore_domain::Capabilities::NONE,
        price: None,
        // As a new target is that says `permit = true` and nothing more.
        permitted_up_to: Some(Sensitivity::default()),
        quality: None,
    }
}

/// A model of the price table, by its name or by `host/name`.
fn well_known(wanted: &str) -> Outcome<(&'static str, &'static str, Listed)> {
    let all = prices::all();
    let is_it = |(host, name, _): &&(&str, &str, Listed)| {
        *name == wanted || wanted.strip_prefix(*host).and_then(|rest| rest.strip_prefix('/')) == Some(*name)
    };
    let found: Vec<_> = all.iter().filter(is_it).collect();
    match found.as_slice() {
        [one] => Ok(**one),
        [] => {
            let shown: String = wanted.chars().take(80).collect();
            let failure = Failure::new(
                Exit::Usage,
                format!("`{shown}` is no configured cloud target and no model of the price table"),
            );
            Err(match nearest(wanted, all.iter().map(|(_, name, _)| *name)) {
                Some(name) => failure.with_hint(format!("the nearest known model is `{name}`")),
                None => failure,
            })
        }
        several => {
            let hosts: Vec<String> =
                several.iter().map(|(host, name, _)| format!("`{host}/{name}`")).collect();
            Err(Failure::new(Exit::Usage, format!("several providers have a model `{wanted}`"))
                .with_hint(format!("say which: {}", hosts.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_well_known_model_is_found_by_its_name_or_with_its_host() {
        assert_eq!(well_known(USUAL_CLOUD).unwrap().0, "api.openai.com");
        assert!(well_known(USUAL_CLOUD).unwrap().2.price.batch.is_some());
        assert_eq!(well_known("api.groq.com/openai/gpt-oss-20b").unwrap().1, "openai/gpt-oss-20b");
        assert_eq!(well_known("openai/gpt-oss-20b").unwrap().0, "api.groq.com");
        let unknown = well_known("gpt-5-minni").unwrap_err();
        assert_eq!(unknown.hint.unwrap(), "the nearest known model is `gpt-5-mini`");
    }
}
