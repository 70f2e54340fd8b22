//! A process that is killed at any moment loses nothing that it was told is settled.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use inshore_domain::ReceiptId;

use crate::sample::{open, receipt};

/// Names the folder for the child; its presence makes this process the child.
const FOLDER: &str = "INSHORE_STORE_KILL_FOLDER";
/// The number of the child's first receipt.
const FIRST: &str = "INSHORE_STORE_KILL_FIRST";

/// Not a test by itself: the process that is killed. It settles receipts, eight at a time, until it dies, and prints
/// each id once it is committed.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test's own child is told by its environment; it has no other arguments"
)]
fn child() {
    let (Some(folder), Ok(first)) = (std::env::var_os(FOLDER), std::env::var(FIRST)) else { return };
    println!("opening");
    let store = open(folder.as_ref()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let mut next: u128 = first.parse().unwrap();
        loop {
            let round: Vec<_> =
                (next..next + 8).map(|number| (number, store.settle(receipt(number), Vec::new()))).collect();
            for (number, settled) in round {
                settled.await.unwrap();
                println!("settled {number}");
            }
            next += 8;
        }
    });
}

/// Starts the child, kills it after it has printed `lines`, and gives all ids that it printed.
fn run_and_kill(folder: &std::path::Path, first: u128, lines: usize) -> Vec<u128> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--nocapture"])
        .env(FOLDER, folder)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut settled = Vec::new();
    let (mut line, mut seen, mut killed) = (String::new(), 0, false);
    // What was printed before the kill and not read yet counts too; a line without its end does not.
    while output.read_line(&mut line).unwrap() > 0 {
        if let Some(number) = line.strip_suffix('\n').and_then(|line| line.split("settled ").nth(1)) {
            settled.push(number.parse().unwrap());
        }
        seen += usize::from(line.contains("settled ") || line.contains("opening"));
        if seen > lines && !killed {
            // SIGKILL on Unix: no destructor, no handler.
            child.kill().unwrap();
            killed = true;
        }
        line.clear();
    }
    child.wait().unwrap();
    assert!(killed, "the child ended by itself after {} receipts", settled.len());
    settled
}

#[test]
fn nothing_settled_is_lost_by_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut promised: HashSet<u128> = HashSet::new();
    // While it opens, in the first commits, and later, where the log is being copied back.
    let moments = [0, 1, 2, 3, 5, 8, 40, 133, 700, 1501, 4000, 6007, 0, 1, 977, 5003];
    for (round, lines) in (0u128..).zip(moments) {
        let settled = run_and_kill(folder.path(), round * 1_000_000, lines);
        assert!(settled.len() >= lines, "round {round}: {} of {lines}", settled.len());
        promised.extend(settled);

        let store = open(folder.path()).unwrap();
        runtime.block_on(async {
            store.verify().await.unwrap();
            for number in &promised {
                let found = store.receipt(ReceiptId::from_bits(*number)).await.unwrap();
                assert!(found == Some(receipt(*number)), "round {round}: receipt {number} is gone");
            }
            store.close().await.unwrap();
        });
    }
}
