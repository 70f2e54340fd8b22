//! Many at once against one cap, with everything that goes wrong with calls: none overshoots, and what the provider billed is
//! what is in the books.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use inshore_domain::{Claim, Closing, Principal, Window};
use inshore_store::{ReserveError, Store};
use tokio::runtime::Handle;
use tokio::sync::Barrier;

use crate::sample::{at, claim, close, id, money, open, receipt, reservation};

const LIMIT: u64 = 1_000_000;

/// SplitMix64: a seed gives a run, but for the order in which tasks get on.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// Whoever is paid.
#[derive(Default)]
struct Provider {
    billed: AtomicU64,
    /// What it billed for calls that were never heard of again, by reservation.
    unknown: Mutex<BTreeMap<u128, u64>>,
}

/// One request: a call with a random worst case and a random end.
async fn request(store: &Store, cap: &Claim, provider: &Provider, number: u128, dice: &mut Dice) -> bool {
    let worst = 1 + dice.roll(3_000);
    let wish = reservation(number, worst, vec![cap.clone()]);
    let waiting = store.reserve(wish, &Principal::default(), None);
    if dice.roll(8) == 0 {
        // The caller goes away before it hears: at once, or after the first look.
        if dice.roll(2) == 0 {
            let mut waiting = Box::pin(waiting);
            let _ = std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx).is_pending()))
                .await;
            // Ready at the first look is a reservation in hand, which is the caller's to close.
            if store.close_reservation(id(number), Closing::Released, at(0)).await.is_ok() {
                return true;
            }
        }
        return true;
    }
    match waiting.await {
        Err(ReserveError::OverCap(_)) => return false,
        reserved => assert_eq!(reserved.unwrap().id, id(number)),
    }
    let bill = dice.roll(worst + 1);
    let (billed, closing) = match dice.roll(8) {
        // The call could not be made.
        0 => (0, Closing::Released),
        // The answer was lost: carried out or not, nobody knows.
        1 => (if dice.roll(2) == 0 { bill } else { 0 }, Closing::InDoubt),
        _ => (bill, Closing::Settled(money(bill))),
    };
    provider.billed.fetch_add(billed, Ordering::Relaxed);
    if closing == Closing::InDoubt {
        provider.unknown.lock().unwrap().insert(number, billed);
    }
    let settled = store.settle(receipt(number), vec![(id(number), closing)]);
    // Some go away before they hear of it; it is done all the same.
    if dice.roll(4) == 0 {
        drop(settled);
    } else {
        settled.await.unwrap();
    }
    true
}

async fn hammer(store: &Store, seed: u64) -> Provider {
    let cap = claim("monthly", Window::Month, LIMIT);
    let (provider, start) = (Arc::new(Provider::default()), Arc::new(Barrier::new(64)));
    let callers: Vec<_> = (0..64u64)
        .map(|caller| {
            let (store, cap, provider, start) = (store.clone(), cap.clone(), provider.clone(), start.clone());
            let work = async move {
                let mut dice = Dice(seed << 32 | caller);
                start.wait().await;
                // Until the cap is used up, and then some.
                let mut refused = 0;
                for call in 0..2_000 {
                    let number = u128::from(caller) << 32 | call;
                    if !request(&store, &cap, &provider, number, &mut dice).await {
                        refused += 1;
                    }
                    assert!(store.headroom(std::slice::from_ref(&cap))[0] <= LIMIT);
                    if refused == 10 {
                        break;
                    }
                }
                refused
            };
            Handle::current().spawn(work)
        })
        .collect();
    let mut refused = 0;
    for caller in callers {
        refused += caller.await.unwrap();
    }
    assert!(refused > 64, "the cap was never reached");
    Arc::into_inner(provider).unwrap()
}

#[test]
fn nobody_gets_more_than_there_is_and_nothing_billed_is_lost() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    for seed in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        runtime.block_on(async {
            let store = open(folder.path()).unwrap();
            let provider = hammer(&store, seed).await;
            // What nobody waited for is released by the time that this is answered.
            let books = loop {
                let books = store.books().await.unwrap();
                if books[0].reserved.micros == 0 {
                    break books;
                }
            };
            let (spent, in_doubt) = (books[0].spent.micros as u64, books[0].in_doubt.micros as u64);
            assert!(spent + in_doubt <= LIMIT, "seed {seed}: {spent} and {in_doubt} in doubt");
            let cap = claim("monthly", Window::Month, LIMIT);
            assert_eq!(store.headroom(&[cap]), [LIMIT - spent - in_doubt]);
            let unknown = provider.unknown.into_inner().unwrap();
            let billed = provider.billed.into_inner();
            assert_eq!(spent + unknown.values().sum::<u64>(), billed, "seed {seed}");

            // The doubts are those that the test knows of; reconciled one by one, the books are what was billed.
            let doubts = store.in_doubt(usize::MAX).await.unwrap();
            let listed: Vec<_> = doubts.iter().map(|doubt| doubt.id.to_bits()).collect();
            assert_eq!(doubts.iter().map(|doubt| doubt.amounts.money).sum::<u64>(), in_doubt);
            assert_eq!(listed.len(), unknown.len());
            for number in listed {
                let actual = Closing::Settled(money(unknown[&number]));
                store.close_reservation(id(number), actual, at(9)).await.unwrap();
            }
            let books = store.books().await.unwrap();
            assert_eq!((books[0].spent.micros as u64, books[0].in_doubt.micros), (billed, 0));
            store.verify().await.unwrap();
            close(&store).await;
        });
    }
}
