//! Limits on what may be spent, and amounts set aside before an outbound call.
//!
//! A [`Cap`] says how much of a [`Measure`] may be used by whom in which [`Window`]. Before a call leaves, a [`Reservation`] of
//! its worst case is claimed from every cap that covers it; afterwards a [`Closing`] replaces it by what was really used. At any
//! moment, for each counter of a cap: settled + reserved + in doubt never passes the limit.

use std::fmt;

use crate::id::{ReceiptId, ReservationId};
use crate::target::TargetId;
use crate::time::Timestamp;

/// What a cap counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Measure {
    /// Micro-units of the installation's currency.
    Money,
    /// Tokens of prompts and answers together.
    Tokens,
    /// Outbound calls.
    Calls,
    /// Bytes that leave the device.
    BytesOut,
}

impl Measure {
    /// All, in the order they are shown.
    pub const ALL: [Measure; 4] = [Self::Money, Self::Tokens, Self::Calls, Self::BytesOut];

    /// The word used in config, rows and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Money => "money",
            Self::Tokens => "tokens",
            Self::Calls => "calls",
            Self::BytesOut => "bytes-out",
        }
    }
}

/// The time over which a cap counts. Hours, days and months are those of UTC, as providers bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Window {
    /// One request; never renews.
    Request,
    /// From full hour to full hour.
    Hour,
    /// From midnight to midnight.
    Day,
    /// A calendar month.
    Month,
}

impl Window {
    /// All, shortest first.
    pub const ALL: [Window; 4] = [Self::Request, Self::Hour, Self::Day, Self::Month];

    /// The word used in config, rows and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

/// Whom a cap covers, in one respect.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Covers {
    /// All of them together: one counter.
    #[default]
    All,
    /// Each by itself: a counter for every name. Requests without a name share one.
    Each,
    /// Only this one; others are not covered.
    Only(String),
}

/// A limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cap {
    /// Names it in messages and reports. Unique within an installation.
    pub id: String,
    /// What is counted.
    pub measure: Measure,
    /// Over which time.
    pub window: Window,
    /// The most that may be used in one window.
    pub limit: u64,
    /// From this share of the limit on, in percent, users are warned.
    pub warn_percent: Option<u8>,
    /// Which apps.
    pub app: Covers,
    /// Which users.
    pub user: Covers,
    /// Which organisations.
    pub organisation: Covers,
    /// Which features.
    pub feature: Covers,
    /// Which targets.
    pub target: Covers,
}

/// How much of each measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    /// Micro-units of the installation's currency.
    pub money: u64,
    /// Tokens of prompt and answer.
    pub tokens: u64,
    /// Outbound calls.
    pub calls: u64,
    /// Bytes that leave the device.
    pub bytes_out: u64,
}

impl Amounts {
    /// The amount of one measure.
    pub fn of(&self, measure: Measure) -> u64 {
        match measure {
            Measure::Money => self.money,
            Measure::Tokens => self.tokens,
            Measure::Calls => self.calls,
            Measure::BytesOut => self.bytes_out,
        }
    }
}

/// A cap that covers a call: which of its counters, and what holds for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Which cap.
    pub cap: String,
    /// Which of its counters: the names that are counted by themselves, empty where one counter serves all.
    pub subject: String,
    /// What is counted.
    pub measure: Measure,
    /// Over which time.
    pub window: Window,
    /// The start of the window; [`Window::Request`] starts with the request.
    pub since: Timestamp,
    /// When a new window begins; `None` for [`Window::Request`].
    pub renews: Option<Timestamp>,
    /// The most that may be used in it.
    pub limit: u64,
    /// From this amount on users are warned.
    pub warn_at: Option<u64>,
}

/// What is set aside for one outbound call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Names it.
    pub id: ReservationId,
    /// The request it is for, by the receipt that will be written.
    pub receipt: ReceiptId,
    /// Whom the call goes to.
    pub target: TargetId,
    /// When it was made.
    pub at: Timestamp,
    /// The worst case.
    pub amounts: Amounts,
    /// Every cap that covers the call.
    pub claims: Vec<Claim>,
}

/// How a reservation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// This much was used; what was reserved beyond it is free again. More than was reserved is never settled.
    Settled(Amounts),
    /// The call is known to have cost nothing.
    Released,
    /// Nobody knows what the call cost: the whole reservation stays set aside until it is reconciled, or expires into a
    /// charge.
    InDoubt,
}

/// A cap that has no room for a reservation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct OverCap {
    /// The counter that has no room.
    pub claim: Claim,
    /// Settled in this window.
    pub settled: u64,
    /// Reserved or in doubt in this window.
    pub reserved: u64,
    /// What the call needs at worst.
    pub wanted: u64,
}

impl fmt::Display for OverCap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let claim = &self.claim;
        let amount = |amount: u64| Shown { measure: claim.measure, amount };
        write!(
            f,
            "the cap `{}` of {} a {} has no room for {}: {} used, {} set aside",
            claim.cap,
            amount(claim.limit),
            claim.window.as_str(),
            amount(self.wanted),
            amount(self.settled),
            amount(self.reserved),
        )
    }
}

/// An amount with its unit, as people read it.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// Its measure.
    pub measure: Measure,
    /// How much.
    pub amount: u64,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.measure {
            Measure::Money => {
                let (whole, part) = (self.amount / 1_000_000, self.amount % 1_000_000);
                if part % 10_000 == 0 {
                    write!(f, "{whole}.{:02}", part / 10_000)
                } else {
                    write!(f, "{whole}.{part:06}")
                }
            }
            Measure::Tokens => write!(f, "{} tokens", self.amount),
            Measure::Calls => write!(f, "{} calls", self.amount),
            Measure::BytesOut => write!(f, "{} bytes", self.amount),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_without_room_says_what_it_holds() {
        let claim = Claim {
            cap: "monthly".into(),
            subject: String::new(),
            measure: Measure::Money,
            window: Window::Month,
            since: Timestamp::default(),
            renews: None,
            limit: 1_000_000,
            warn_at: None,
        };
        let over = OverCap { claim, settled: 990_000, reserved: 5_000, wanted: 12_345 };
        assert_eq!(
            over.to_string(),
            "the cap `monthly` of 1.00 a month has no room for 0.012345: 0.99 used, 0.005000 set aside"
        );
    }
}
