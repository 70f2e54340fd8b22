//! Speed on the device against llama.cpp itself, on the same file with the same threads, in interleaved rounds.
//!
//! `cargo bench -p inshore-sim --bench device -- MODEL.gguf`, with `LLAMA_BENCH` and `LLAMA_SERVER` naming llama.cpp's
//! own programs (built natively); `cargo xtask bench-model` makes model files of realistic shapes.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench is a program of its own that prints, and stops at what it does not expect"
)]

mod load;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use bytes::Bytes;
use load::{Connection, Process, Server, median, millis};

const ROUNDS: usize = 3;
/// As llama.cpp's bench has it by default.
const PROMPT: usize = 512;
const OUTPUT: usize = 128;
const PATH: &str = "/v1/completions";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(run());
}

#[expect(clippy::disallowed_methods, reason = "a bench is a program of its own")]
fn named(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}

async fn run() {
    let Some(model) = std::env::args().skip(1).find(|arg| arg.ends_with(".gguf")).map(PathBuf::from) else {
        println!("no model named; see the head of this file");
        return;
    };
    let model = model.canonicalize().expect("the model is there");
    println!("model: {}", model.file_name().unwrap_or_default().to_string_lossy());
    single(&model).await;
    parallel(&model).await;
    next_keystroke(&model).await;
}

/// One request alone: prompt and generation speed.
async fn single(model: &Path) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (_daemon, server) = start(model);
    warm(&server).await;
    for round in 0..ROUNDS {
        let mut connection = Connection::open(&server).await;
        let read = connection.post(PATH, &request(PROMPT, 1, 100 + round as u32)).await;
        let made = connection.post(PATH, &request(1, OUTPUT, 200 + round as u32)).await;
        ours.push((
            PROMPT as f64 / read.total.as_secs_f64(),
            (OUTPUT - 1) as f64 / (made.total - made.first).as_secs_f64(),
        ));
        theirs.extend(named("LLAMA_BENCH").map(|bench| llama_bench(&bench, model)));
    }
    compare("prompt tokens a second (512)", &ours, &theirs, |pair| pair.0);
    compare("generated tokens a second (128)", &ours, &theirs, |pair| pair.1);
}

fn compare(name: &str, ours: &[(f64, f64)], theirs: &[(f64, f64)], of: fn(&(f64, f64)) -> f64) {
    let ours = median(ours.iter().map(of).collect());
    if theirs.is_empty() {
        println!("{name}: inshore {ours:.1}");
        return;
    }
    let theirs = median(theirs.iter().map(of).collect());
    println!("{name}: inshore {ours:.1}, llama.cpp {theirs:.1}, ratio {:.2}", ours / theirs);
}

/// Prompt and generation speed as llama.cpp's bench tells them.
fn llama_bench(bench: &Path, model: &Path) -> (f64, f64) {
    let output = Command::new(bench)
        .args(["-r", "1", "-o", "csv", "-p", &PROMPT.to_string(), "-n", &OUTPUT.to_string(), "-m"])
        .arg(model)
        .args(["-t", &threads().to_string()])
        .stderr(Stdio::null())
        .output()
        .expect("llama-bench runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = text.lines().filter(|line| line.contains(','));
    let column =
        lines.next().expect("a head line").split(',').position(|name| name.trim_matches('"') == "avg_ts");
    let column = column.expect("llama-bench reports avg_ts");
    // Quoted fields before this one hold no commas but for the CPU's name, so count from the end.
    let from_end =
        text.lines().find(|line| line.contains(',')).map_or(0, |head| head.split(',').count()) - column;
    let mut speeds = lines.map(|line| {
        let fields: Vec<&str> = line.split(',').collect();
        fields[fields.len() - from_end].trim_matches('"').parse::<f64>().expect("a number")
    });
    (speeds.next().expect("prompt speed"), speeds.next().expect("generation speed"))
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn start(model: &Path) -> (Process, Server) {
    let config = format!(
        "[engine]\nthreads = {}\ncontext = 8192\nparallel = 8\nmemory_limit = \"16 GiB\"\n[models]\nbuiltin = false\n",
        threads()
    );
    load::start_inshore(&config, Some(model))
}

fn start_llama_server(model: &Path) -> Option<(Process, Server)> {
    let addr = load::free_addr();
    let mut command = Command::new(named("LLAMA_SERVER")?);
    command.arg("-m").arg(model).args(["-c", "8192", "-np", "8", "-t", &threads().to_string()]);
    command.args(["--host", "127.0.0.1", "--port", &addr.port().to_string()]).stderr(Stdio::null());
    Some((Process::start(&mut command, addr, Some("/health")), Server { addr, token: None }))
}

async fn warm(server: &Server) {
    Connection::open(server).await.post(PATH, &request(8, 4, 1)).await;
}

/// A prompt of exactly this many tokens (as token ids, different for each seed), and the tokens to make.
fn request(prompt: usize, output: usize, seed: u32) -> Bytes {
    with_tokens(&tokens(prompt, seed), output)
}

fn with_tokens(prompt: &[u32], output: usize) -> Bytes {
    let tokens: Vec<String> = prompt.iter().map(u32::to_string).collect();
    let body = format!(
        "{{\"model\":\"device\",\"prompt\":[{}],\"max_tokens\":{output},\"temperature\":0,\"stream\":true,\
         \"ignore_eos\":true}}",
        tokens.join(",")
    );
    Bytes::from(body)
}

/// Pseudo-random token ids that every vocabulary has (an LCG, constants from Numerical Recipes).
fn tokens(count: usize, seed: u32) -> Vec<u32> {
    let mut state = seed;
    let draw = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        260 + (state >> 16) % 2_000
    };
    (0..count).map(draw).collect()
}

/// Total speed of several requests at once, each with a prompt of its own.
async fn parallel(model: &Path) {
    for requests in [1, 4, 8] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let seed = (requests * 100 + round) as u32;
            let (_daemon, server) = start(model);
            warm(&server).await;
            ours.push((together(&server, requests, seed).await, 0.0));
            drop(_daemon);
            if let Some((_llama, server)) = start_llama_server(model) {
                warm(&server).await;
                theirs.push((together(&server, requests, seed).await, 0.0));
            }
        }
        compare(&format!("total tokens a second, {requests} at once"), &ours, &theirs, |pair| pair.0);
    }
}

async fn together(server: &Server, requests: usize, seed: u32) -> f64 {
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..requests {
        let (server, body) = (server.clone(), request(64, OUTPUT, seed + 10_000 * i as u32));
        tasks.spawn(async move { Connection::open(&server).await.post(PATH, &body).await });
    }
    tasks.join_all().await;
    (requests * OUTPUT) as f64 / start.elapsed().as_secs_f64()
}

/// A keystroke after a prompt of 1,000 tokens: the next request has a few tokens more.
async fn next_keystroke(model: &Path) {
    let (_daemon, server) = start(model);
    warm(&server).await;
    let (mut cold, mut next) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let mut connection = Connection::open(&server).await;
        let mut prompt = tokens(1_000, 7_000 + round as u32);
        cold.push(millis(connection.post(PATH, &with_tokens(&prompt, 1)).await.first));
        prompt.extend(tokens(2, 8_000 + round as u32));
        next.push(millis(connection.post(PATH, &with_tokens(&prompt, 1)).await.first));
    }
    let (cold, next) = (median(cold), median(next));
    println!(
        "first token after 1,000 tokens: cold {cold:.1} ms, next keystroke {next:.1} ms, {:.1} %",
        next / cold * 100.0
    );
}
