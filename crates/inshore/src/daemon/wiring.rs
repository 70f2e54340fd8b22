//! What is made at start, and how the parts are joined.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use inshore_api::{ApiOptions, AppToken, Limits, Listeners, Parts, Tokens};
use inshore_domain::{Clock, TargetId, Timestamp};
use inshore_engine::pool::DevicePool;
use inshore_providers::{Gate, GateOptions, Prober, Warmer, warmer};
use inshore_runtime::{Registered, Runtime, Sensor, Spending};
use inshore_store::{Store, StoreOptions};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::control::Steering;
use super::targets::Remote;
use super::{key, models, targets, tokens};
use crate::catalogue::Catalogue;
use crate::clock::SystemClock;
use crate::config::{Config, Loaded, Server, UnixSocket};
use crate::environment::Environment;
use crate::machine::Machine;
use crate::network;
use crate::paths::{Paths, private_folder};
use crate::policies::{self, Stamp};

/// Receipts looked through at start for targets that are likely to be called again; the last few say as much as all.
const RECALLED: u32 = 32;

/// The parts of a running daemon.
pub(super) struct Daemon {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) store: Store,
    pub(super) runtime: Runtime,
    pub(super) pool: DevicePool,
    pub(super) stop: CancellationToken,
    pub(super) begun: Instant,
    tokens: Tokens,
    gate: Arc<Gate>,
    prober: Prober,
    warmer: Warmer,
    machine: Arc<Machine>,
    remotes: Mutex<Vec<Remote>>,
    environment: Environment,
    paths: Paths,
    /// What is in force now.
    config: Mutex<Config>,
    /// The policy file as it was when it was last read, right or wrong.
    policies: Mutex<Stamp>,
}

/// Sockets that accept.
pub(super) struct Sockets {
    pub(super) open: Listeners,
    pub(super) tcp_address: SocketAddr,
    pub(super) unix_path: Option<PathBuf>,
}

impl Daemon {
    /// Makes the parts, and opens the sockets last: whoever can connect is answered.
    pub(super) async fn make(
        paths: &Paths,
        environment: &Environment,
        loaded: &Loaded,
        stop: CancellationToken,
    ) -> Result<(Self, Sockets)> {
        private_folder(&paths.data).with_context(|| format!("cannot make `{}`", paths.data.display()))?;
        let config = &loaded.config;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = open_store(paths, config, environment)?;
        let runtime = Runtime::new(Arc::clone(&clock), store.clone());
        let machine = Arc::new(Machine::new(Arc::clone(&clock), "/"));
        runtime.set_sensor(machine.clone());
        let pool = models::pool(&config.engine, Some(paths.prefixes()), Arc::clone(&clock))?;
        let (prober, warmer) = (Prober::new(Arc::clone(&clock)), Warmer::new(Arc::clone(&clock)));
        let daemon = Self {
            begun: clock.monotonic(),
            clock,
            store,
            runtime,
            pool,
            stop,
            tokens: app_tokens(paths)?.into(),
            gate: Arc::new(Gate::new(GateOptions::default())),
            prober,
            warmer,
            machine,
            remotes: Mutex::default(),
            environment: environment.clone(),
            paths: paths.clone(),
            config: Mutex::new(config.clone()),
            policies: Mutex::new(Stamp::of(config)),
        };
        daemon.set_settings(config)?;
        daemon.set_targets(config).await?;
        daemon.runtime.learn().await.context("cannot read the labels")?;
        let sockets = sockets(&config.server, paths).await?;
        Ok((daemon, sockets))
    }

    /// Gives the runtime the targets that config and models folder say.
    async fn set_targets(&self, config: &Config) -> Result<()> {
        let catalogue = catalogue(config, &self.paths);
        let listing = catalogue.list().context("cannot read the models folder")?;
        for broken in &listing.broken {
            tracing::warn!("a model is left out: {broken}");
        }
        let device = models::device_models(&listing.entries, &config.models.overrides);
        let mut registered: Vec<Registered> = models::registered(&self.pool, device).await;
        let (remote, remotes) =
            targets::registered(&config.targets, &self.gate, &self.clock, &self.environment);
        registered.extend(remote);
        *self.remotes.lock().unwrap_or_else(PoisonError::into_inner) = remotes;
        self.runtime.set_targets(registered);
        Ok(())
    }

    /// Puts policies, caps, cache and retries in force. The policies are read first: with a mistake in them nothing changes.
    fn set_settings(&self, config: &Config) -> Result<()> {
        self.set_rules(config)?;
        self.runtime.set_spending(Spending { currency: config.money.currency, caps: config.caps.clone() });
        self.runtime.set_cache(config.cache.clone());
        self.runtime.set_retry(config.retry);
        self.machine.say_metered(config.machine.metered);
        Ok(())
    }

    /// Reads the policies. A file with a mistake is an error, and what was in force stays.
    fn set_rules(&self, config: &Config) -> Result<()> {
        *self.policies.lock().unwrap_or_else(PoisonError::into_inner) = Stamp::of(config);
        self.runtime.set_rules(policies::rules(config)?);
        Ok(())
    }

    /// Reads the policy file again when it has changed.
    pub(super) fn watch_policies(&self) {
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let unchanged = *self.policies.lock().unwrap_or_else(PoisonError::into_inner) == Stamp::of(&config);
        if unchanged {
            return;
        }
        match self.set_rules(&config) {
            Ok(()) => tracing::info!("the policies have changed and are in force"),
            Err(error) => tracing::error!("the policies stay as they were: {error:#}"),
        }
    }

    /// Turns what has been in doubt for too long into charges.
    pub(super) async fn expire_doubts(&self) {
        let expires = self.config.lock().unwrap_or_else(PoisonError::into_inner).money.in_doubt_expires;
        let expires = u64::try_from(expires.as_millis()).unwrap_or(u64::MAX);
        let now = self.clock.now();
        let before = Timestamp::from_unix_millis(now.unix_millis().saturating_sub(expires));
        match self.store.expire_in_doubt(before, now).await {
            Ok(expired) if expired.count > 0 => {
                let (count, micros) = (expired.count, expired.amounts.money);
                tracing::warn!(count, micros, "calls of unknown cost now count as charged");
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "calls of unknown cost could not be charged"),
        }
    }

    /// Looks after remote targets for as long as it is polled.
    pub(super) async fn watch_targets(&self) {
        tokio::join!(targets::watch(&self.prober, &self.runtime, &self.remotes), self.keep_warm());
    }

    /// Looks whether the network is metered, and keeps connections ready to targets that are likely to be called, at once after the
    /// start too.
    async fn keep_warm(&self) {
        self.recall_calls().await;
        let mut network = network::Manager::default();
        loop {
            self.machine.found_metered(network.metered().await);
            let keep = self.config.lock().unwrap_or_else(PoisonError::into_inner).machine.keep_warm;
            let remotes = self.remotes.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let providers: Vec<_> = remotes.into_iter().map(|remote| remote.provider).collect();
            let (machine, down) = (self.machine.state(), self.runtime.down());
            for warmed in self.warmer.round(&providers, keep, machine, &down).await {
                match warmed.outcome {
                    Ok(made) => tracing::trace!(target = %warmed.target, made, "a connection lies ready"),
                    Err(error) => {
                        tracing::debug!(target = %warmed.target, %error, "no connection lies ready")
                    }
                }
            }
            self.gate.sweep();
            tokio::time::sleep(warmer::PAUSE).await;
        }
    }

    /// Tells the warmer which targets were called before this process began.
    async fn recall_calls(&self) {
        match self.store.receipts(RECALLED).await {
            Ok(receipts) => {
                let now = self.clock.now().unix_millis();
                for receipt in receipts {
                    let ago = Duration::from_millis(now.saturating_sub(receipt.at.unix_millis()));
                    if let Some(by) = receipt.answered_by {
                        self.warmer.called_before(by.target, ago);
                    }
                }
            }
            Err(error) => tracing::error!(%error, "the last receipts could not be read"),
        }
    }

    /// Why a near target seems to send its work on, if something gave it away.
    pub(super) fn forwards(&self, id: &TargetId) -> Option<String> {
        let remotes = self.remotes.lock().unwrap_or_else(PoisonError::into_inner);
        let remote = remotes.iter().find(|remote| remote.provider.target().id == *id)?;
        remote.provider.forwards().map(str::to_owned)
    }

    /// Reads the models folder and the tokens again; the config stays.
    pub(super) async fn refresh(&self) -> Result<()> {
        self.tokens.replace(app_tokens(&self.paths)?);
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.set_targets(&config).await
    }

    /// Reads config and models folder again. What is wrong is logged, and what was in force stays.
    pub(super) async fn reload(&self, read: &(dyn Fn() -> Result<Loaded> + Send + Sync)) {
        let config = match read() {
            Ok(loaded) => loaded.config,
            Err(error) => return tracing::error!("the config is not read again: {error:#}"),
        };
        match app_tokens(&self.paths) {
            Ok(tokens) => self.tokens.replace(tokens),
            Err(error) => tracing::error!("the tokens stay as they are: {error:#}"),
        }
        let currency = self.runtime.currency();
        if config.money.currency != currency {
            // The ledger is in one currency for as long as it is open.
            return tracing::error!(
                "the config stays as it is: a `money.currency` other than {} counts from the next start",
                currency.code()
            );
        }
        if let Err(error) = self.set_settings(&config) {
            return tracing::error!("the config stays as it is: {error:#}");
        }
        if let Err(error) = self.set_targets(&config).await {
            return tracing::error!("the targets stay as they are: {error:#}");
        }
        if let Err(error) = self.runtime.learn().await {
            tracing::error!(%error, "the labels could not be read");
        }
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
        tracing::info!("models and targets were read again; other settings count from the next start");
    }

    /// What the server puts on the wire.
    pub(super) fn parts(self: &Arc<Self>) -> Parts {
        Parts {
            runtime: self.runtime.clone(),
            store: self.store.clone(),
            clock: Arc::clone(&self.clock),
            control: Arc::new(Steering(Arc::clone(self))),
        }
    }

    /// How the server behaves.
    pub(super) fn api_options(&self, server: &Server) -> ApiOptions {
        ApiOptions {
            tokens: self.tokens.clone(),
            allowed_hosts: server.allowed_hosts.clone(),
            cors_origins: server.cors_origins.clone(),
            limits: Limits {
                body_bytes: usize::try_from(server.body_limit).unwrap_or(usize::MAX),
                connections: usize::try_from(server.max_connections).unwrap_or(usize::MAX),
                ..Limits::default()
            },
            ..ApiOptions::default()
        }
    }

    /// Ends the parts in order: who uses before who is used.
    pub(super) async fn end(&self) {
        self.runtime.shutdown().await;
        self.pool.shutdown().await;
        if let Err(error) = self.store.close().await {
            tracing::error!("the database did not close well: {error}");
        }
    }
}

/// The models folder that a config names.
pub(super) fn catalogue(config: &Config, paths: &Paths) -> Catalogue {
    Catalogue::new(config.models.dir.clone().unwrap_or_else(|| paths.models()), config.models.builtin)
}

fn app_tokens(paths: &Paths) -> Result<Vec<AppToken>> {
    Ok(tokens::all(paths)?.iter().map(|(app, token)| AppToken::new(app.as_str(), token)).collect())
}

fn open_store(paths: &Paths, config: &Config, environment: &Environment) -> Result<Store> {
    let key = key::find_or_make(paths, config.store.key, environment)?;
    let options =
        StoreOptions { currency: config.money.currency, ..StoreOptions::new(paths.database(), key) };
    let opened = Store::open(options);
    opened.with_context(|| format!("cannot open the database `{}`", paths.database().display()))
}

async fn sockets(server: &Server, paths: &Paths) -> Result<Sockets> {
    let tcp = TcpListener::bind(server.listen).await;
    let tcp = tcp.with_context(|| {
        format!("cannot listen on {}; choose another address with `server.listen`", server.listen)
    })?;
    let tcp_address = tcp.local_addr().context("cannot find the own address")?;
    #[cfg(unix)]
    {
        let (unix, unix_path) = match unix_path(server, paths) {
            Some(path) => {
                let folder = path.parent().map_or(Ok(()), private_folder);
                folder.with_context(|| format!("cannot make the folder of `{}`", path.display()))?;
                let listener = Listeners::bind_unix(&path).await;
                (
                    Some(listener.with_context(|| format!("cannot listen on `{}`", path.display()))?),
                    Some(path),
                )
            }
            None => (None, None),
        };
        Ok(Sockets { open: Listeners { tcp: vec![tcp], unix }, tcp_address, unix_path })
    }
    #[cfg(not(unix))]
    {
        let _ = (paths, &server.unix_socket);
        Ok(Sockets { open: Listeners { tcp: vec![tcp] }, tcp_address, unix_path: None })
    }
}

#[cfg(unix)]
fn unix_path(server: &Server, paths: &Paths) -> Option<PathBuf> {
    match &server.unix_socket {
        UnixSocket::Off => None,
        UnixSocket::At(path) => Some(path.clone()),
        UnixSocket::Auto => {
            let path = paths.unix_socket();
            if path.is_none() {
                tracing::warn!(
                    "no Unix socket: its path below `{}` would be too long",
                    paths.runtime.display()
                );
            }
            path
        }
    }
}
