//! What callers get to hear of the books.

use inshore_domain::{
    Amounts, Claim, Measure, Money, OverCap, ReceiptId, ReservationId, TargetId, Timestamp,
};

use super::{MOST_CLAIMS, MOST_OPEN};
use crate::error::StoreError;

/// A reservation that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// Names it; it must be closed by [`crate::Store::settle`] or [`crate::Store::close_reservation`].
    pub id: ReservationId,
    /// What is used of each cap now, in the order of the claims.
    pub uses: Vec<Use>,
}

/// What is used of a cap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The cap.
    pub claim: Claim,
    /// Settled, reserved and in doubt in this window, this reservation included.
    pub used: u64,
    /// This reservation took it past [`Claim::warn_at`]. As worst cases count until they are settled, it may go back and
    /// pass again.
    pub crossed: bool,
}

/// Why nothing was reserved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReserveError {
    /// A cap has no room.
    #[error(transparent)]
    OverCap(Box<OverCap>),
    /// The caps have room, and yet one call cannot need so much: 2^48 is the most.
    #[error("{wanted} of `{}` is more than one call can set aside", measure.as_str())]
    TooMuch {
        /// What there is too much of.
        measure: Measure,
        /// How much.
        wanted: u64,
    },
    /// A reservation with this id is open or in doubt.
    #[error("reservation `{id}` is already open")]
    Known {
        /// The id.
        id: ReservationId,
    },
    /// Too many reservations are open or in doubt.
    #[error("{MOST_OPEN} reservations are open or in doubt, and there is no room for another")]
    TooManyOpen,
    /// Too many caps cover one call.
    #[error("{claims} caps cover one call, and at most {MOST_CLAIMS} can")]
    TooManyClaims {
        /// How many.
        claims: usize,
    },
    /// Too many names are counted by themselves.
    #[error("there is no room for the counter of another name")]
    TooManyCounters,
    /// The store failed; nothing was reserved.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ReserveError {
    /// A stable word for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::OverCap(_) => "over_cap",
            Self::TooMuch { .. } => "too_much",
            Self::Known { .. } => "known_reservation",
            Self::TooManyOpen => "too_many_open",
            Self::TooManyClaims { .. } => "too_many_claims",
            Self::TooManyCounters => "too_many_counters",
            Self::Store(error) => error.code(),
        }
    }

    /// What to do next, where there is something to do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::TooManyOpen => Some("reconcile those that are in doubt, or let them expire"),
            Self::TooManyClaims { .. } => Some("join caps that cover the same calls"),
            Self::TooManyCounters => Some("let a cap count all together that now counts each by itself"),
            Self::Store(error) => error.hint(),
            Self::OverCap(_) | Self::TooMuch { .. } | Self::Known { .. } => None,
        }
    }
}

/// What was not settled as it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dispute {
    /// More was used than was reserved. What was reserved is settled: a cap never counts more than it had room for.
    Beyond {
        /// Which reservation.
        reservation: ReservationId,
        /// What there was too much of.
        measure: Measure,
        /// How much was set aside, and is settled now.
        reserved: u64,
        /// How much was used.
        asked: u64,
    },
    /// No reservation with this id is open or in doubt: it was closed before, or never made. Nothing has changed for it.
    Unknown {
        /// The id.
        reservation: ReservationId,
    },
}

/// A receipt that is written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settled {
    /// What was not settled as asked; the rest is.
    pub disputes: Vec<Dispute>,
}

/// Why a reservation was not closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// It was closed before, or never made. The books are as they were.
    #[error("no reservation `{id}` is open or in doubt")]
    Unknown {
        /// The id.
        id: ReservationId,
    },
    /// The store failed; nothing was closed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A reservation of which nobody knows what its call has cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Names it.
    pub id: ReservationId,
    /// The request it was for; there may be no such receipt, where the process died.
    pub receipt: ReceiptId,
    /// Whom the call went to.
    pub target: TargetId,
    /// What is set aside.
    pub amounts: Amounts,
    /// When it was reserved.
    pub since: Timestamp,
}

/// Doubts that became charges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expired {
    /// How many.
    pub count: u64,
    /// Of how much together. What leaves 64 bits stays at their end.
    pub amounts: Amounts,
}

impl Expired {
    /// Counts one more.
    pub(crate) fn add(&mut self, amounts: &Amounts) {
        self.join(&Expired { count: 1, amounts: *amounts });
    }

    /// Counts others too.
    pub(crate) fn join(&mut self, other: &Expired) {
        self.count += other.count;
        let (to, from) = (&mut self.amounts, &other.amounts);
        to.money = to.money.saturating_add(from.money);
        to.tokens = to.tokens.saturating_add(from.tokens);
        to.calls = to.calls.saturating_add(from.calls);
        to.bytes_out = to.bytes_out.saturating_add(from.bytes_out);
    }
}

/// The money of one target in one currency, as the ledger has it. What is available is the negative of the other three.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// The target.
    pub target: TargetId,
    /// Set aside for calls that are under way.
    pub reserved: Money,
    /// Set aside for calls of which nobody knows what they cost.
    pub in_doubt: Money,
    /// Spent, since the store was made. A sum beyond 64 bits stays at their end.
    pub spent: Money,
}
