//! The process that writes conversations: what hostile templates do to it, and that nobody else notices.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use futures_util::{FutureExt, StreamExt};
use inshore_domain::{BackendErrorKind, Event};
use inshore_engine::frames::conversation::MEMORY;
use inshore_engine::host::{CommandLauncher, Descriptors, Launched, Launcher};
use inshore_engine::pool::DeviceModel;
use rustix::process::{Pid, Signal, kill_process};

use crate::parent_child::{Real, completion, launcher, tiny};
use crate::parent_support::{CHATML, bench, call, chat, collect, complete};

/// Starts real children, and remembers those that write.
#[derive(Debug)]
struct Watched {
    launcher: CommandLauncher,
    writers: Mutex<Vec<(u32, JoinHandle<u64>)>>,
}

impl Watched {
    fn new() -> Arc<Self> {
        Arc::new(Self { launcher: launcher(), writers: Mutex::default() })
    }
    fn pids(&self) -> Vec<u32> {
        self.writers.lock().unwrap().iter().map(|(pid, _)| *pid).collect()
    }
}

impl Launcher for Watched {
    fn launch(&self, descriptors: Descriptors) -> io::Result<Launched> {
        self.launcher.launch(descriptors)
    }
    fn launch_writer(&self) -> io::Result<Launched> {
        let launched = self.launcher.launch_writer()?;
        let pid = launched.process.pid().unwrap();
        self.writers.lock().unwrap().push((pid, std::thread::spawn(move || peak(pid))));
        Ok(launched)
    }
}

/// A number of bytes out of a process's status; nothing when the process is gone.
fn status(pid: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Whether it has not ended; what is left of one that has ended still has a status.
fn is_running(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("State:"))
        .is_some_and(|state| !state.trim().starts_with('Z'))
}

/// The most memory that a process held, looked at again and again until it is gone.
fn peak(pid: u32) -> u64 {
    let mut most = 0;
    while let Some(now) = status(pid, "VmHWM:") {
        most = most.max(now);
        std::thread::yield_now();
    }
    most
}

fn address_space(pid: u32) -> Option<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Templates that ask for more than there is, by the word that sets each off. `x` has a thousand letters.
const BOMBS: [(&str, &str); 17] = [
    ("double", "{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"),
    ("add", "{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}"),
    ("repeat", "{{ 'a' * 10**10 }}"),
    ("repeat often", "{% for i in range(100) %}{% set ns.y = [ns.y, 'a' * (10000000 + i)] %}{% endfor %}"),
    ("replace", "{% for i in range(60) %}{% set ns.x = ns.x | replace('a', 'aaaa') %}{% endfor %}"),
    ("join", "{% for i in range(60) %}{% set ns.x = [ns.x, ns.x, ns.x] | join(ns.x) %}{% endfor %}"),
    ("format", "{{ '%2000000000d' | format(1) }}{{ '%2000000000s' % 'x' }}"),
    ("indent", "{% for i in range(60) %}{% set ns.x = (ns.x ~ '\\n' ~ ns.x) | indent(100000) %}{% endfor %}"),
    (
        "indented json",
        "{% for i in range(60) %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.y | tojson(indent=16) }}",
    ),
    ("list", "{% set ns.y = [1] %}{% for i in range(60) %}{% set ns.y = (ns.y + ns.y) | list %}{% endfor %}"),
    ("repeated list", "{% set ns.y = [1] * 90000000 %}{{ ns.y | list | length }}"),
    ("range", "{{ range(10**9) | list | length }}{{ range(10**17) | list | length }}"),
    ("dict", "{% for i in range(99999) %}{% set ns.y = dict(a=ns.y, b='a' * 10000 ~ i) %}{% endfor %}"),
    ("batch", "{{ [1] | slice(1000000000) | list | length }}"),
    ("laughs", "{% for i in range(60) %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.y }}"),
    (
        "nested",
        "{% for i in range(1000) %}{% for j in range(300) %}{% set ns.y = [ns.y] %}{% endfor %}{% endfor %}",
    ),
    ("recursion", "{% macro f(x) %}{{ f(x ~ x) }}{% endmacro %}{{ f(ns.x) }}"),
];

/// Templates that ask for nothing but time.
const SLOW: [(&str, &str); 2] = [
    (
        "upper",
        "{% set ns.x = ns.x * 10000 %}{% for i in range(99999) %}{% set ns.y = ns.x | upper %}{% endfor %}",
    ),
    (
        "compare",
        "{% set ns.y = [1] %}{% set ns.z = [1] %}{% for i in range(60) %}{% set ns.y = [ns.y, ns.y] %}{% set ns.z = [ns.z, ns.z] %}{% endfor %}{{ ns.y == ns.z }}",
    ),
];

/// A template that does what everybody's does, unless somebody says one of the words.
fn hostile(bombs: &[(&str, &str)]) -> String {
    let mut source = "{% set m = messages[-1].content %}{% set ns = namespace(x='a' * 1000, y=none, z=none) %}{% if false %}".to_owned();
    for (word, bomb) in bombs {
        source.push_str(&format!("{{% elif m == '{word}' %}}{bomb}"));
    }
    format!("{source}{{% endif %}}{CHATML}")
}

fn real(launcher: &Arc<Watched>) -> Real {
    Real::new(|options| {
        options.launcher = launcher.clone();
        options.require_sandbox = cfg!(target_os = "linux");
    })
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_template_that_asks_for_everything_ends_nothing_but_its_own_process() {
    let watched = Watched::new();
    let real = real(&watched);
    let evil = DeviceModel { template: Some(hostile(&BOMBS)), ..real.model("evil", &tiny()) };
    real.pool.set_models(vec![evil]).await;
    // Somebody uses the model while all this goes on.
    let (target, backend, _) = real.registered("evil");
    let mut other = backend.generate(call(target, completion("abc", 300))).await.unwrap();
    while !matches!(other.next().await.unwrap().unwrap(), Event::Delta { .. }) {}
    let engine = real.pid("evil");

    let mut died = 0;
    for (word, _) in BOMBS {
        let error = real.ask("evil", chat(word)).await.expect_err(word);
        assert!(error.message.starts_with("the chat template of `evil` "), "{word}: {error}");
        assert!(!error.kind.counts_against_health(), "{word}: {error:?}");
        // An end says what was asked for, or that the stack was not enough.
        let of_memory = error
            .message
            .contains(" ended the process that runs it: signal 6 (abort), memory allocation of ");
        let of_stack =
            error.message.ends_with(" signal 6 (abort), fatal runtime error: stack overflow, aborting");
        died += usize::from(of_memory || of_stack);
        assert_eq!(error.message.contains("ended"), of_memory || of_stack, "{word}: {error}");
        // The next conversation is answered as if nothing had been.
        let said = real.ask("evil", chat("Hi")).await.unwrap();
        assert_eq!(said.error, None, "{word}");
    }
    assert!(died >= 10, "{died}");
    assert_eq!(watched.pids().len(), died + 1, "only those that died were replaced");
    assert_eq!(real.pid("evil"), engine);
    assert_eq!(collect(other).await.error, None);

    let now = *watched.pids().last().unwrap();
    assert!(address_space(now).unwrap() <= status(now, "VmSize:").unwrap() + MEMORY);
    real.pool.shutdown().await;
    for (pid, peak) in std::mem::take(&mut *watched.writers.lock().unwrap()) {
        let peak = peak.join().unwrap();
        // What it may take, and what the program itself takes.
        assert!(peak < MEMORY + (64 << 20), "process {pid} took {peak} bytes");
    }
}

#[tokio::test]
async fn a_template_that_asks_for_all_the_time_is_ended() {
    let watched = Watched::new();
    let real = real(&watched);
    let evil = DeviceModel { template: Some(hostile(&SLOW)), ..real.model("evil", &tiny()) };
    real.pool.set_models(vec![evil]).await;
    for (word, _) in SLOW {
        assert_eq!(real.ask("evil", chat("Hi")).await.unwrap().error, None);
        let pid = *watched.pids().last().unwrap();
        // Nothing here can go on but time.
        tokio::time::pause();
        let error = real.ask("evil", chat(word)).await.unwrap_err();
        tokio::time::resume();
        assert_eq!(error.message, "the chat template of `evil` ran past its limit: 10 s");
        while is_running(pid) {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(real.ask("evil", chat("Hi")).await.unwrap().error, None);
    real.pool.shutdown().await;
}

#[tokio::test]
async fn a_template_that_cannot_even_be_compiled_harms_nobody() {
    let watched = Watched::new();
    let real = real(&watched);
    // An expression so deep that walking through it takes more stack than there is.
    let deep = format!("{{{{ 1{} }}}}", " ~ 1".repeat(200_000));
    let deep = DeviceModel { template: Some(deep), ..real.model("deep", &tiny()) };
    real.pool.set_models(vec![deep, real.model("good", &tiny())]).await;
    let error = real.ask("deep", chat("Hi")).await.unwrap_err();
    assert!(error.message.starts_with("the chat template of `deep` ended the process"), "{error}");
    assert_eq!(real.ask("good", chat("Hi")).await.unwrap().error, None);
    // It has no part in completions.
    assert_eq!(real.ask("deep", completion("abc", 3)).await.unwrap().error, None);
    real.pool.shutdown().await;
}

#[tokio::test]
async fn a_process_that_somebody_killed_is_replaced() {
    let watched = Watched::new();
    let real = real(&watched);
    real.pool.set_models(vec![real.model("m", &tiny())]).await;
    assert_eq!(real.ask("m", chat("Hi")).await.unwrap().error, None);
    let pid = watched.pids()[0];
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    while is_running(pid) {
        tokio::task::yield_now().await;
    }
    assert_eq!(real.ask("m", chat("Hi")).await.unwrap().error, None);
    assert_eq!(watched.pids().len(), 2);
    real.pool.shutdown().await;
}

#[tokio::test]
async fn one_process_writes_for_all_and_goes_with_the_model() {
    let mut bench = bench(&["m", "other"]).await;
    let writers = |bench: &crate::parent_support::Bench| bench.launcher.writers.load(Ordering::SeqCst);
    // Completions need none.
    let asked = bench.ask("m", complete("Hi"));
    tokio_util::task::TaskTracker::new().spawn(bench.engine().await.serve("yes"));
    asked.await.unwrap().unwrap();
    assert_eq!(writers(&bench), 0);
    let asked: Vec<_> = (0..5).map(|_| bench.ask("m", chat("Hi"))).collect();
    for asked in asked {
        assert_eq!(asked.await.unwrap().unwrap().text, "yes");
    }
    assert_eq!(writers(&bench), 1);
    // A model that is unloaded takes it along.
    assert!(bench.pool.unload("m").await.unwrap());
    let asked = bench.ask("m", chat("Hi"));
    tokio_util::task::TaskTracker::new().spawn(bench.engine().await.serve("again"));
    assert_eq!(asked.await.unwrap().unwrap().text, "again");
    assert_eq!(writers(&bench), 2);
}

#[tokio::test]
async fn one_who_leaves_while_it_is_written_disturbs_nobody() {
    let mut bench = bench(&["m"]).await;
    let (target, backend) = bench.backend("m");
    // Dropped when the conversation is on its way.
    assert!(backend.generate(call(target, chat("gone"))).now_or_never().is_none());
    let asked = bench.ask("m", chat("Hi"));
    let mut engine = bench.engine().await;
    engine.loads().await;
    let prompt = format!("{:?}", engine.generate().await.prompt);
    assert!(prompt.contains("Hi") && !prompt.contains("gone"), "{prompt}");
    engine.crash("end");
    assert!(asked.await.unwrap().is_err());
}

#[tokio::test]
async fn a_conversation_that_is_too_long_is_refused_before_anything_is_started() {
    let bench = bench(&["m"]).await;
    let error = bench.ask("m", chat(&"x".repeat((16 << 20) + 1))).await.unwrap().unwrap_err();
    assert_eq!(error.message, "the conversation has 16777217 bytes, the limit is 16777216");
    assert_eq!(error.kind, BackendErrorKind::InvalidRequest { field: Some("messages".into()) });
    assert_eq!(bench.launcher.writers.load(Ordering::SeqCst), 0);
}
