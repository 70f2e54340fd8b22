//! What the daemon adds to a remote call, against the same upstream asked directly, in interleaved rounds:
//! latency, throughput, CPU, streaming, memory, readiness. All features are on: decision, receipt, egress record.
//!
//! `cargo build --release -p inshore && cargo bench -p inshore-sim --bench gateway`

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench is a program of its own that prints, and stops at what it does not expect"
)]

mod load;

use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use load::{Connection, Process, Server, median, millis, percentile};

/// Rounds of each measurement, direct and through the daemon in turn, so that drift of the machine hits both.
const ROUNDS: usize = 3;
const REQUESTS: usize = 2_000;
const CONNECTIONS: usize = 64;
const LOAD_TIME: Duration = Duration::from_secs(4);
const STREAMS: usize = 150;
/// Of the paced ones, which take a sixth of a second each.
const PACED_STREAMS: usize = 20;
const STARTS: usize = 7;
/// The streamed answer has this many events.
const EVENTS: usize = 36;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(run());
}

async fn run() {
    let (_upstream, direct) = start_upstream(&["--fast", "--model", "sim", "--tokens", &EVENTS.to_string()]);
    let (_paced, paced) = start_upstream(&["--model", "paced", "--tokens", "8", "--token-delay", "20"]);
    let (daemon, via) = load::start_inshore(&config(&[("sim", &direct), ("paced", &paced)]), None);
    println!("first start of an installation: ready after {:.0} ms", millis(daemon.ready_after));
    println!("first start of an installation: resident, idle: {:.1} MB", daemon.memory().0);
    let mut starts = Vec::new();
    let mut daemon = daemon;
    for _ in 0..STARTS {
        daemon = load::restart_inshore(daemon, via.addr);
        starts.push(millis(daemon.ready_after));
    }
    println!("later starts: ready after {:.0} ms (median of {STARTS})", median(starts));
    println!("later starts: resident, idle: {:.1} MB", daemon.memory().0);

    latency(&direct, &via).await;
    streaming("whole stream of 36 events", "sim", &direct, &via, |sample| sample.total).await;
    streaming("time to first token, paced 20 ms", "paced", &paced, &via, |sample| sample.first).await;
    throughput(&daemon, &direct, &via).await;
    println!("resident, highest: {:.1} MB", daemon.memory().1);
}

fn start_upstream(args: &[&str]) -> (Process, Server) {
    let addr = load::free_addr();
    let mut command = Command::new(env!("CARGO_BIN_EXE_inshore-sim"));
    command.args(["openai", "--port", &addr.port().to_string(), "--key", "sk-sim"]).args(args);
    let process = Process::start(&mut command, addr, None);
    (process, Server { addr, token: Some("sk-sim".into()) })
}

fn config(upstreams: &[(&str, &Server)]) -> String {
    let entry = |(id, server): &(&str, &Server)| {
        format!(
            "[[targets]]\nid = \"bench/{id}\"\ntier = \"cloud\"\nkind = \"openai\"\nbase_url = \"http://{}/v1\"\n\
             model = \"{id}\"\nkey = {{ env = \"SIM_KEY\" }}\npermit = true\n\
             price = {{ currency = \"USD\", input = \"0.25\", output = \"2.00\" }}\n",
            server.addr
        )
    };
    upstreams.iter().map(entry).collect()
}

/// A prompt of about 2 KB, as the budgets of the design name it.
fn body(model: &str, stream: bool) -> Bytes {
    let text = "The quarterly report is ready for review and the figures were checked twice. ".repeat(26);
    let body = format!(
        "{{\"model\":\"{model}\",\"stream\":{stream},\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}]}}"
    );
    Bytes::from(body)
}

const PATH: &str = "/v1/chat/completions";

async fn latency(direct: &Server, via: &Server) {
    let (plain, mut rows) = (body("sim", false), Vec::new());
    for _ in 0..ROUNDS {
        for server in [direct, via] {
            let mut connection = Connection::open(server).await;
            for _ in 0..100 {
                connection.post(PATH, &plain).await;
            }
            let mut times = Vec::with_capacity(REQUESTS);
            for _ in 0..REQUESTS {
                times.push(connection.post(PATH, &plain).await.total);
            }
            rows.push([0.5, 0.95, 0.99].map(|share| millis(percentile(&mut times, share))));
        }
    }
    for (column, name) in ["p50", "p95", "p99"].iter().enumerate() {
        report(&format!("latency {name}, one connection"), &rows, column);
    }
}

async fn streaming(
    name: &str,
    model: &str,
    direct: &Server,
    via: &Server,
    time: fn(&load::Sample) -> Duration,
) {
    let streams = if model == "paced" { PACED_STREAMS } else { STREAMS };
    let (streamed, mut rows) = (body(model, true), Vec::new());
    for _ in 0..ROUNDS {
        for server in [direct, via] {
            let mut connection = Connection::open(server).await;
            let mut times = Vec::with_capacity(streams);
            for _ in 0..streams {
                let sample = connection.post(PATH, &streamed).await;
                assert!(sample.body.ends_with(b"data: [DONE]\n\n"), "the stream is whole");
                times.push(time(&sample));
            }
            rows.push([millis(percentile(&mut times, 0.5))]);
        }
    }
    report(name, &rows, 0);
}

/// Direct and through the daemon, medians over the rounds, and the difference.
fn report<const N: usize>(name: &str, rows: &[[f64; N]], column: usize) {
    let of = |offset: usize| median(rows.iter().skip(offset).step_by(2).map(|row| row[column]).collect());
    let (direct, via) = (of(0), of(1));
    println!("{name}: direct {direct:.3} ms, through inshore {via:.3} ms, added {:.3} ms", via - direct);
}

async fn throughput(daemon: &Process, direct: &Server, via: &Server) {
    let plain = body("sim", false);
    let (mut rates, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        rates.push([hammer(direct, &plain).await]);
        let before = daemon.cpu();
        let rate = hammer(via, &plain).await;
        cpu.push((daemon.cpu() - before).as_secs_f64() * 1e6 / (rate * LOAD_TIME.as_secs_f64()));
        rates.push([rate]);
    }
    let of = |offset: usize| median(rates.iter().skip(offset).step_by(2).map(|row| row[0]).collect());
    println!(
        "requests a second, {CONNECTIONS} connections: direct {:.0}, through inshore {:.0}",
        of(0),
        of(1)
    );
    println!("CPU of the daemon: {:.0} µs a request", median(cpu));
}

async fn hammer(server: &Server, body: &Bytes) -> f64 {
    let end = Instant::now() + LOAD_TIME;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (server, body) = (server.clone(), body.clone());
        tasks.spawn(async move {
            let mut connection = Connection::open(&server).await;
            let mut done = 0_u64;
            while Instant::now() < end {
                connection.post(PATH, &body).await;
                done += 1;
            }
            done
        });
    }
    tasks.join_all().await.into_iter().sum::<u64>() as f64 / LOAD_TIME.as_secs_f64()
}
