//! A process that is killed at any moment loses nothing that it was told is settled, and no money: every reservation that it
//! was told of is settled, released or in doubt, once.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use inshore_domain::{Claim, Closing, Principal, ReceiptId, Window};
use inshore_store::Store;
use tokio::runtime::Runtime;

use crate::sample::{STARTING, claim, close, id, money, open, receipt, reservation};

/// Names the folder for the child; its presence makes this process the child.
pub(crate) const FOLDER: &str = "INSHORE_STORE_KILL_FOLDER";
/// The number of the child's first receipt.
pub(crate) const FIRST: &str = "INSHORE_STORE_KILL_FIRST";
/// What each call costs at worst, and what it costs.
const WORST: u64 = 100;
const COST: u64 = 40;
/// Of the one cap that covers all calls.
const LIMIT: u64 = 1_000_000;

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

/// How the call with this number ends: one of eight is released, one is in doubt.
fn closing(number: u128) -> Closing {
    match number % 8 {
        0 => Closing::Released,
        1 => Closing::InDoubt,
        _ => Closing::Settled(money(COST)),
    }
}

fn cap() -> Claim {
    claim("monthly", Window::Month, LIMIT)
}

/// Not a test by itself either: it reserves and settles, eight at a time, and prints both.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test's own child is told by its environment; it has no other arguments"
)]
fn spending_child() {
    let (Some(folder), Ok(first)) = (std::env::var_os(FOLDER), std::env::var(FIRST)) else { return };
    println!("opening");
    let store = open(folder.as_ref()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let mut next: u128 = first.parse().unwrap();
        loop {
            let reserve = |number| {
                let wish = reservation(number, WORST, vec![cap()]);
                (number, store.reserve(wish, &Principal::default(), Some("chat")))
            };
            let round: Vec<_> = (next..next + 8).map(reserve).collect();
            let mut settling = Vec::new();
            for (number, reserved) in round {
                reserved.await.unwrap();
                println!("reserved {number}");
                settling.push((number, store.settle(receipt(number), vec![(id(number), closing(number))])));
            }
            for (number, settled) in settling {
                settled.await.unwrap();
                println!("settled {number}");
            }
            next += 8;
        }
    });
}

/// What a child has printed.
#[derive(Default)]
pub(crate) struct Promised {
    pub(crate) settled: Vec<u128>,
    reserved: Vec<u128>,
}

/// Starts a child, kills it after it has printed `lines`, and gives all that it printed.
pub(crate) fn run_and_kill(child: &str, folder: &Path, first: u128, lines: usize) -> Promised {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", child, "--nocapture"]).env(FOLDER, folder).env(FIRST, first.to_string());
    let starting = STARTING.blocking_write();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(starting);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut promised = Promised::default();
    let (mut line, mut seen, mut killed) = (String::new(), 0, false);
    // What was printed before the kill and not read yet counts too; a line without its end does not.
    while output.read_line(&mut line).unwrap() > 0 {
        let number = |word| -> Option<u128> {
            line.strip_suffix('\n')?.split(word).nth(1).map(|number| number.parse().unwrap())
        };
        promised.settled.extend(number("settled "));
        promised.reserved.extend(number("reserved "));
        seen += usize::from(line.contains("ed ") || line.contains("opening"));
        if seen > lines && !killed {
            // SIGKILL on Unix: no destructor, no handler.
            child.kill().unwrap();
            killed = true;
        }
        line.clear();
    }
    child.wait().unwrap();
    assert!(killed, "the child ended by itself after {} receipts", promised.settled.len());
    promised
}

#[test]
fn nothing_settled_is_lost_by_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut promised: HashSet<u128> = HashSet::new();
    // While it opens, in the first commits, around the first folds, and later, where records go on in the other file of the
    // journal, which needs some nine thousand.
    let moments = [0, 1, 2, 3, 5, 8, 40, 133, 255, 257, 260, 513, 700, 1501, 6007, 9203, 0, 1, 977, 20_003];
    for (round, lines) in (0u128..).zip(moments) {
        let settled = run_and_kill("kill::child", folder.path(), round * 1_000_000, lines).settled;
        assert!(settled.len() >= lines, "round {round}: {} of {lines}", settled.len());
        assert!(
            folder.path().join("inshore.db-redo-0").exists() || lines == 0,
            "nothing is left to do again"
        );
        promised.extend(settled);

        let store = open(folder.path()).unwrap();
        runtime.block_on(async {
            store.verify().await.unwrap();
            for number in &promised {
                let found = store.receipt(ReceiptId::from_bits(*number)).await.unwrap();
                assert!(found == Some(receipt(*number)), "round {round}: receipt {number} is gone");
            }
            close(&store).await;
        });
    }
}

/// What is known of the calls of all children so far.
#[derive(Default)]
struct Calls {
    /// By number: whether the child said that it is settled.
    promised: BTreeMap<u128, bool>,
    /// In doubt, as the store says.
    doubts: HashSet<u128>,
}

/// Checks the store that the children left behind.
async fn check(store: &Store, calls: &mut Calls) {
    store.verify().await.unwrap();
    let listed = store.in_doubt(usize::MAX).await.unwrap();
    let doubts: HashSet<u128> = listed.iter().map(|doubt| doubt.id.to_bits()).collect();
    assert!(doubts.is_superset(&calls.doubts), "a doubt is gone");
    let mut settled = 0;
    // All that may have been under way, promised or not: eight after the last one that was heard of.
    let last: Vec<u128> = calls.promised.keys().copied().collect();
    let numbers: HashSet<u128> = last.iter().flat_map(|number| *number..number + 16).collect();
    for number in numbers {
        let receipt = store.receipt(ReceiptId::from_bits(number)).await.unwrap();
        let by_child = closing(number);
        match (receipt.is_some(), doubts.contains(&number)) {
            // Settled as the child wanted it.
            (true, in_doubt) => {
                assert_eq!(in_doubt, by_child == Closing::InDoubt, "{number}");
                settled += if matches!(by_child, Closing::Settled(_)) { COST } else { 0 };
            }
            (false, in_doubt) => {
                assert_ne!(calls.promised.get(&number), Some(&true), "the receipt {number} is gone");
                // What was reserved and not settled is in doubt; what is neither was never reserved.
                assert!(
                    in_doubt || !calls.promised.contains_key(&number),
                    "the reservation {number} is gone"
                );
            }
        }
    }
    let books = store.books().await.unwrap();
    let (spent, in_doubt) = (books[0].spent.micros as u64, books[0].in_doubt.micros as u64);
    assert_eq!((spent, in_doubt, books[0].reserved.micros), (settled, WORST * doubts.len() as u64, 0));
    assert!(spent + in_doubt <= LIMIT);
    assert_eq!(store.headroom(&[cap()]), [LIMIT - spent - in_doubt]);
    calls.doubts = doubts;
}

#[test]
fn no_money_is_lost_or_doubled_by_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let runtime: Runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut calls = Calls::default();
    // Within the first round, around the first folds (of 256 rows, three for two lines), with the tables in the midst of one,
    // and later.
    let moments = [9, 12, 17, 20, 165, 170, 172, 175, 180, 343, 350, 1203, 3001, 10, 2500, 777];
    for (round, lines) in (0u128..).zip(moments) {
        let promised = run_and_kill("kill::spending_child", folder.path(), round * 1_000_000, lines);
        calls.promised.extend(promised.reserved.into_iter().map(|number| (number, false)));
        calls.promised.extend(promised.settled.into_iter().map(|number| (number, true)));
        let store = open(folder.path()).unwrap();
        runtime.block_on(async {
            check(&store, &mut calls).await;
            close(&store).await;
        });
    }
    assert!(calls.doubts.len() > 100);
}
