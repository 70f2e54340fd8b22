//! A draft and the better answer that takes its place: how soon the draft is seen, and what the daemon adds to the better answer's own
//! time. The default model makes the draft, with its prompt still in the cache; a scripted provider is the better target.
//!
//! `cargo build --release -p inshore && cargo bench -p inshore-sim --bench draft`

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench is a program of its own that prints, and stops at what it does not expect"
)]

mod load;

use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use load::{Connection, Process, Server, millis, percentile};

const ROUNDS: usize = 2;
/// Of each kind in a round; a better answer takes 0.7 s, as a quick cloud does.
const REQUESTS: usize = 15;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(run());
}

async fn run() {
    let (_provider, direct) = provider();
    let (_daemon, via) = load::start_inshore(&config(&direct), None);
    let (mut asked, mut through) = (Connection::open(&direct).await, Connection::open(&via).await);
    through.header = Some(("x-inshore-strategy", "draft"));
    let draft = body("auto");
    for _ in 0..5 {
        through.post("/inshore/v1/generate", &draft).await;
    }
    let (mut seen, mut first, mut alone, mut added) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for _ in 0..REQUESTS {
            alone.push(asked.post("/v1/completions", &body("better")).await.total);
            let sample = through.post("/inshore/v1/generate", &draft).await;
            let whole = String::from_utf8_lossy(&sample.body);
            assert!(
                whole.contains("\"kept_draft\":null"),
                "the better answer took the draft's place: {whole}"
            );
            seen.push(sample.when("event: begun"));
            first.push(sample.when("event: appended"));
            added.push(sample.when("event: finalised"));
        }
    }
    report("the device has accepted", &mut seen);
    report("first visible token of the draft", &mut first);
    report("better answer asked directly, whole", &mut alone);
    report("better answer in the draft's place, final", &mut added);
    let (alone, added) = (percentile(&mut alone, 0.5), percentile(&mut added, 0.5));
    println!("added to the better answer's own time, p50: {:.2} ms", millis(added) - millis(alone));
}

fn report(what: &str, times: &mut [Duration]) {
    let [half, most] = [0.5, 0.99].map(|share| millis(percentile(times, share)));
    println!("{what}: p50 {half:.1} ms, p99 {most:.1} ms");
}

fn provider() -> (Process, Server) {
    let addr = load::free_addr();
    let mut command = Command::new(env!("CARGO_BIN_EXE_inshore-sim"));
    command.args(["openai", "--port", &addr.port().to_string(), "--key", "sk-sim"]);
    command.args(["--model", "better", "--tokens", "40", "--token-delay", "10", "--head-delay", "300"]);
    let process = Process::start(&mut command, addr, None);
    (process, Server { addr, token: Some("sk-sim".into()) })
}

fn config(better: &Server) -> String {
    format!(
        "[[targets]]\nid = \"bench/better\"\ntier = \"cloud\"\nkind = \"openai\"\nbase_url = \"http://{}/v1\"\nmodel = \"better\"\n\
         capabilities = [\"completion\"]\nkey = {{ env = \"SIM_KEY\" }}\npermit = true\nprice = {{ currency = \"USD\", input = \"0.25\", output = \"2.00\" }}\n",
        better.addr
    )
}

/// A prompt of some 500 bytes, as a mail or a paragraph has them.
fn body(model: &str) -> Bytes {
    let prompt = "The quarterly report is ready for review and the figures were checked twice. ".repeat(6);
    Bytes::from(format!(
        "{{\"model\":\"{model}\",\"stream\":true,\"max_tokens\":32,\"prompt\":\"{prompt}\"}}"
    ))
}
