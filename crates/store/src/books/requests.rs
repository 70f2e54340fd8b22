//! Caps of one request: counted with the request, in memory. A request does not outlive its process, so neither do these.

use std::collections::HashMap;

use inshore_domain::{Claim, Measure, ReceiptId, Reservation, ReservationId, Window};

use super::MOST_OPEN;
use super::counters::Used;
use super::ledger::{Entry, Kind};
use super::names::short;
use super::open::OpenReservations;

/// Requests whose caps are remembered. Half of them may have no reservation open and no receipt yet, between two tries; when
/// there are more, those are forgotten, and their caps begin anew.
const MOST: usize = 2 * MOST_OPEN;

/// What a cap counts of one reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Reserved(u64),
    InDoubt(u64),
    Settled(u64),
}

/// One cap of one request.
#[derive(Debug, Clone)]
struct Share {
    cap: Box<str>,
    subject: Box<str>,
    measure: Measure,
    /// A request makes a few calls.
    parts: Vec<(ReservationId, Part)>,
}

impl Share {
    fn is(&self, claim: &Claim) -> bool {
        *self.cap == *short(&claim.cap)
            && *self.subject == *short(&claim.subject)
            && self.measure == claim.measure
    }

    fn used(&self) -> Used {
        let mut used = Used::default();
        for (_, part) in &self.parts {
            let (sum, amount) = match part {
                Part::Reserved(amount) => (&mut used.reserved, amount),
                Part::InDoubt(amount) => (&mut used.in_doubt, amount),
                Part::Settled(amount) => (&mut used.settled, amount),
            };
            *sum = sum.saturating_add(*amount);
        }
        used
    }

    fn is_idle(&self) -> bool {
        self.parts.iter().all(|(_, part)| matches!(part, Part::Settled(_)))
    }
}

/// The caps of requests that have no receipt yet.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    all: HashMap<ReceiptId, Vec<Share>>,
}

impl Requests {
    /// What a request has used of its own cap.
    pub(crate) fn used(&self, receipt: ReceiptId, claim: &Claim) -> Used {
        let share = self.all.get(&receipt).and_then(|shares| shares.iter().find(|share| share.is(claim)));
        share.map(Share::used).unwrap_or_default()
    }

    /// Counts a reservation to the caps of its request that it claims.
    pub(crate) fn reserve(&mut self, reservation: &Reservation) {
        for claim in reservation.claims.iter().filter(|claim| claim.window == Window::Request) {
            if self.all.len() >= MOST {
                self.all.retain(|_, shares| !shares.iter().all(Share::is_idle));
            }
            let shares = self.all.entry(reservation.receipt).or_default();
            let part = (reservation.id, Part::Reserved(reservation.amounts.of(claim.measure)));
            match shares.iter_mut().find(|share| share.is(claim)) {
                Some(share) if share.parts.contains(&part) => {}
                Some(share) => share.parts.push(part),
                None => shares.push(Share {
                    cap: short(&claim.cap).into(),
                    subject: short(&claim.subject).into(),
                    measure: claim.measure,
                    parts: vec![part],
                }),
            }
        }
    }

    /// Does what a row of the ledger says that is not [`Kind::Reserved`].
    pub(crate) fn post(&mut self, entry: &Entry) {
        let Some(shares) = self.all.get_mut(&entry.receipt) else { return };
        for share in shares {
            let measure = share.measure;
            for (_, part) in share.parts.iter_mut().filter(|(id, _)| *id == entry.reservation) {
                *part = match *part {
                    Part::Reserved(held) if entry.kind == Kind::Doubted => Part::InDoubt(held),
                    _ => Part::Settled(entry.amounts.of(measure)),
                };
            }
        }
    }

    /// The request has its receipt.
    pub(crate) fn end(&mut self, receipt: ReceiptId) {
        self.all.remove(&receipt);
    }

    /// Takes over what the books knew before a transaction of theirs failed, as far as it is still so in `open`.
    pub(crate) fn take_over(&mut self, earlier: &Requests, open: &OpenReservations) {
        self.all = earlier.all.clone();
        for share in self.all.values_mut().flatten() {
            let measure = share.measure;
            share.parts.retain_mut(|(id, part)| match open.get(*id) {
                Some(open) if open.doubted => {
                    *part = Part::InDoubt(open.amounts.of(measure));
                    true
                }
                Some(open) => {
                    *part = Part::Reserved(open.amounts.of(measure));
                    true
                }
                // Closed before, or never written.
                None => matches!(part, Part::Settled(_)),
            });
        }
    }
}
