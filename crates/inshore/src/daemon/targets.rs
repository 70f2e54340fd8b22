//! Remote targets: from the config to backends.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use inshore_domain::{Clock, Embedder, Target, TargetId};
use inshore_providers::{
    BatchOptions, Batcher, Destination, Gate, Prober, Provider, ProviderKind, ProviderTarget, Secret,
    Subject, Timeouts, TlsIdentity,
};
use inshore_runtime::{Registered, Runtime};
use url::Url;
use zeroize::Zeroizing;

use crate::config::{Batch, Certificates, KeySource, RemoteTarget, TargetKind};
use crate::environment::Environment;
use crate::secrets::{self, Patience};

/// A target's backend, and how often it is looked after.
#[derive(Clone)]
pub(super) struct Remote {
    pub(super) provider: Arc<Provider>,
    probe: Option<Duration>,
}

/// Looks after remote targets for as long as it is polled: asks those that are down or idle whether they are there, and
/// warns of near ones that send their work on.
pub(super) async fn watch(prober: &Prober, runtime: &Runtime, remotes: &Mutex<Vec<Remote>>) {
    let mut told = BTreeSet::new();
    loop {
        tokio::time::sleep(prober.pause()).await;
        let remotes = remotes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let subject = |remote: &Remote| {
            Some(Subject { provider: Arc::clone(&remote.provider), interval: remote.probe? })
        };
        let subjects: Vec<Subject> = remotes.iter().filter_map(subject).collect();
        for probed in prober.round(&subjects, &runtime.down()).await {
            if let Err(error) = &probed.outcome {
                tracing::debug!(target = %probed.target, %error, "a probe failed");
            }
            runtime.probed(&probed.target, probed.outcome.as_ref().map(|_| ()));
        }
        for provider in remotes.iter().map(|remote| &remote.provider) {
            let id = &provider.target().id;
            if let Some(reason) = provider.forwards()
                && told.insert(id.clone())
            {
                tracing::warn!("`{id}` may send its work on to somebody else's machine: {reason}");
            }
        }
    }
}

/// Makes a backend for each target, and lets the gate reach those that the config permits: only these. A target whose key is
/// missing is logged and left out.
pub(super) fn registered(
    remotes: &[RemoteTarget],
    gate: &Arc<Gate>,
    clock: &Arc<dyn Clock>,
    environment: &Environment,
) -> (Vec<Registered>, Vec<Remote>) {
    let mut all = Vec::new();
    let mut watched = Vec::new();
    let mut permitted: Vec<Destination> = Vec::new();
    for remote in remotes {
        let provider = match provider(remote, gate, clock, environment) {
            Ok(provider) => provider,
            // One target that cannot be used must not take the device's own models along.
            Err(error) => {
                tracing::error!("the target `{}` is left out: {error:#}", remote.id);
                continue;
            }
        };
        if remote.permitted_up_to.is_some() {
            permitted.push(provider.destination().clone());
        }
        let provider = Arc::new(provider);
        watched.push(Remote { provider: Arc::clone(&provider), probe: remote.probe });
        all.push(Registered {
            target: Arc::clone(provider.target()),
            backend: provider.clone(),
            embedder: Some(embedder(remote, provider)),
        });
    }
    gate.declare_only(permitted);
    (all, watched)
}

fn embedder(remote: &RemoteTarget, provider: Arc<Provider>) -> Arc<dyn Embedder> {
    let Some(Batch { window, inputs, across_apps }) = remote.batch else { return provider };
    let inputs = usize::try_from(inputs).unwrap_or(usize::MAX);
    Arc::new(Batcher::new(provider, BatchOptions { window, inputs, across_apps }))
}

fn provider(
    remote: &RemoteTarget,
    gate: &Arc<Gate>,
    clock: &Arc<dyn Clock>,
    environment: &Environment,
) -> Result<Provider> {
    let base_url: Url =
        remote.base_url.parse().with_context(|| format!("`{}` is not an address", remote.base_url))?;
    let destination = destination(remote)?;
    let usual = Timeouts::default();
    let options = ProviderTarget {
        target: Arc::new(target(remote, destination.authority())),
        kind: match remote.kind {
            TargetKind::OpenAi => ProviderKind::OpenAiCompatible,
            TargetKind::Anthropic => ProviderKind::Anthropic,
            TargetKind::Gemini => ProviderKind::Gemini,
            TargetKind::Inshore => ProviderKind::Inshore,
        },
        base_url,
        plain_http: remote.plain_http,
        key: key(remote, environment)?,
        identity: identity(remote)?,
        timeouts: Timeouts {
            connect: remote.timeouts.connect.unwrap_or(usual.connect),
            first_byte: remote.timeouts.first_byte.unwrap_or(usual.first_byte),
            idle: remote.timeouts.idle.unwrap_or(usual.idle),
        },
        responses_api: remote.responses_api,
        stream_usage: remote.stream_usage,
    };
    Ok(Provider::new(Arc::clone(gate), Arc::clone(clock), options)?)
}

/// The target that a config entry describes.
pub(crate) fn described(remote: &RemoteTarget) -> Result<Target> {
    Ok(target(remote, destination(remote)?.authority()))
}

fn destination(remote: &RemoteTarget) -> Result<Destination> {
    let base_url: Url =
        remote.base_url.parse().with_context(|| format!("`{}` is not an address", remote.base_url))?;
    Ok(if remote.plain_http { Destination::of_plain(&base_url) } else { Destination::of(&base_url) }?)
}

/// Reads the certificates. A target that is not permitted needs none, as with its key.
fn identity(remote: &RemoteTarget) -> Result<Option<TlsIdentity>> {
    let Certificates { authority, client } = &remote.certificates;
    if remote.permitted_up_to.is_none() || (authority.is_none() && client.is_none()) {
        return Ok(None);
    }
    let read = |path: &Path| {
        let text = std::fs::read(path).map(Zeroizing::new);
        text.with_context(|| format!("`{}` cannot be read", path.display()))
    };
    let authority = authority.as_deref().map(read).transpose()?;
    let client = match client {
        Some((certificate, key)) => Some((read(certificate)?, read(key)?)),
        None => None,
    };
    let pair = client.as_ref().map(|(certificate, key)| (certificate.as_slice(), key.as_slice()));
    Ok(Some(TlsIdentity::from_pem(pair, authority.as_ref().map(|text| text.as_slice()))?))
}

fn target(remote: &RemoteTarget, authority: &str) -> Target {
    Target {
        id: TargetId(remote.id.clone()),
        endpoint_of: remote.endpoint_of.clone().map(TargetId),
        tier: remote.tier,
        model: remote.model.clone(),
        aliases: remote.aliases.clone(),
        destination: Some(authority.to_owned()),
        context_window: remote.context_window,
        max_output: remote.max_output,
        capabilities: remote.capabilities,
        price: remote.price,
        permitted_up_to: remote.permitted_up_to,
        region: remote.region.clone(),
        quality: remote.quality,
    }
}

/// Finds the key. A target that is not permitted needs none, so that an example in the config is no error.
pub(crate) fn key(remote: &RemoteTarget, environment: &Environment) -> Result<Option<Secret>> {
    if remote.permitted_up_to.is_none() {
        return Ok(None);
    }
    match &remote.key {
        None => Ok(None),
        Some(KeySource::Environment(name)) => {
            let text = environment.text(name);
            text.map(Secret::new)
                .map(Some)
                .ok_or_else(|| anyhow!("the environment variable `{name}` with its key is not set"))
        }
        Some(KeySource::Keyring(name)) => {
            let secret = secrets::get(name, Patience::Start).context("its key cannot be read")?;
            let secret = secret.ok_or_else(|| {
                anyhow!("the keyring has no secret `{name}`; `inshore secret set {name}` keeps one")
            })?;
            Ok(Some(Secret::new(secret.as_str())))
        }
    }
}
