//! What the writer is asked to do, and the answers.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;

use inshore_domain::{Closing, Receipt, Reservation, ReservationId, Timestamp};
use tokio::sync::oneshot;

use crate::books::{
    AccountName, CloseError, Closed, Dispute, Doubt, Expired, ReserveError, Reserved, Settled, Taken, Use,
};
use crate::detail;
use crate::error::StoreError;
use crate::state::State;
use crate::written::Pen;

/// Where an answer goes.
pub(crate) type Reply<T, E = StoreError> = oneshot::Sender<Result<T, E>>;

/// Most doubts that one transaction turns into charges: about a millisecond of work.
pub(crate) const EXPIRED_AT_ONCE: usize = 128;

/// Something to do.
pub(crate) enum Work {
    Reserve(Reserve),
    Settle(Settle),
    Close(Close),
    Expire(Expire),
    Doubts(Doubts),
    /// Release reservations of which nobody ever heard.
    Forget(Vec<ReservationId>),
}

/// To set an amount aside.
pub(crate) struct Reserve {
    reservation: Box<Reservation>,
    account: AccountName,
    /// Where it goes when nobody takes it.
    lost: Arc<Lost>,
    done: Reply<Handover, ReserveError>,
    outcome: Option<Result<Taken, ReserveError>>,
}

/// To write a receipt and close its reservations.
pub(crate) struct Settle {
    receipt: Box<Receipt>,
    detail: Vec<u8>,
    account: AccountName,
    closings: Vec<(ReservationId, Closing)>,
    done: Reply<Settled>,
    outcome: Option<Result<Settled, StoreError>>,
}

/// To close one reservation.
pub(crate) struct Close {
    pub(crate) id: ReservationId,
    pub(crate) closing: Closing,
    pub(crate) at: Timestamp,
    pub(crate) done: Reply<Settled, CloseError>,
    pub(crate) outcome: Option<Closed>,
}

/// To turn some doubts into charges.
pub(crate) struct Expire {
    pub(crate) before: Timestamp,
    pub(crate) at: Timestamp,
    pub(crate) done: Reply<Expired>,
    pub(crate) outcome: Expired,
}

/// To list doubts.
pub(crate) struct Doubts {
    pub(crate) limit: usize,
    pub(crate) done: Reply<Vec<Doubt>>,
    pub(crate) outcome: Vec<Doubt>,
}

impl Reserve {
    pub(crate) fn new(
        reservation: Reservation,
        account: AccountName,
        lost: Arc<Lost>,
        done: Reply<Handover, ReserveError>,
    ) -> Self {
        Self { reservation: Box::new(reservation), account, lost, done, outcome: None }
    }

    fn answer(self) {
        let Reservation { id, claims, .. } = *self.reservation;
        let answer = self.outcome.unwrap_or(Err(StoreError::Closed.into())).map(|taken| {
            let uses = claims.into_iter().zip(taken).map(|(claim, (before, used))| {
                let crossed = claim.warn_at.is_some_and(|warn_at| before < warn_at && used >= warn_at);
                Use { claim, used, crossed }
            });
            Handover { reserved: Some(Reserved { id, uses: uses.collect() }), lost: self.lost }
        });
        // Whoever is gone leaves the handover to its end.
        let _ = self.done.send(answer);
    }
}

impl Settle {
    /// Encodes what can be encoded on the caller's thread.
    pub(crate) fn new(
        receipt: Receipt,
        closings: Vec<(ReservationId, Closing)>,
        done: Reply<Settled>,
    ) -> Self {
        let detail = detail::encode(&receipt);
        let target = receipt.answered_by.as_ref().map_or("", |by| by.target.0.as_str());
        let account = AccountName::of(target, &receipt.principal, receipt.feature.as_deref());
        Self { receipt: Box::new(receipt), detail, account, closings, done, outcome: None }
    }

    /// All or nothing, as far as the receipt goes: when it is there already, nothing is closed either.
    fn carry_out(
        &self,
        pen: &mut Pen<'_>,
        state: &mut State,
    ) -> rusqlite::Result<Result<Settled, StoreError>> {
        let receipt = &*self.receipt;
        if state.receipts.has(pen.connection, receipt.id)? {
            return Ok(Err(StoreError::AlreadySettled { id: receipt.id }));
        }
        let account = state.books.count(pen, receipt, &self.account)?;
        state.receipts.add(pen, receipt, account, &self.detail)?;
        let took = u64::try_from(receipt.timings.total.as_millis()).unwrap_or(u64::MAX);
        let at = Timestamp::from_unix_millis(receipt.at.unix_millis().saturating_add(took));
        let mut settled = Settled::default();
        for (id, closing) in &self.closings {
            settled.disputes.extend(disputes(state.books.close(pen, *id, *closing, at)?, *id));
        }
        Ok(Ok(settled))
    }
}

fn disputes(closed: Closed, reservation: ReservationId) -> Vec<Dispute> {
    match closed {
        Closed::Done(disputes) => disputes,
        Closed::Unknown => vec![Dispute::Unknown { reservation }],
    }
}

impl Work {
    /// Does it in memory, and writes down what there is to commit. May be called again when that could not be committed.
    pub(crate) fn carry_out(&mut self, pen: &mut Pen<'_>, state: &mut State) -> rusqlite::Result<()> {
        match self {
            Self::Reserve(work) => {
                work.outcome = Some(state.books.reserve(pen, &work.reservation, &work.account)?);
            }
            Self::Settle(work) => work.outcome = Some(work.carry_out(pen, state)?),
            Self::Close(work) => {
                work.outcome = Some(state.books.close(pen, work.id, work.closing, work.at)?);
            }
            Self::Expire(work) => {
                work.outcome = state.books.expire(pen, work.before, work.at, EXPIRED_AT_ONCE)?;
            }
            Self::Doubts(work) => work.outcome = state.books.doubts(work.limit),
            Self::Forget(ids) => {
                for id in ids {
                    state.books.forget(pen, *id)?;
                }
            }
        }
        Ok(())
    }

    /// Tells the caller, after the commit. A caller that has gone away is no reason not to have done it.
    pub(crate) fn answer(self) {
        match self {
            Self::Reserve(work) => work.answer(),
            Self::Settle(work) => {
                let outcome = work.outcome.unwrap_or(Err(StoreError::Closed));
                for dispute in outcome.iter().flat_map(|settled| &settled.disputes) {
                    tracing::warn!(receipt = %work.receipt.id, ?dispute, "a reservation was not settled as asked");
                }
                let _ = work.done.send(outcome);
            }
            Self::Close(work) => {
                let _ = work.done.send(match work.outcome {
                    Some(Closed::Done(disputes)) => Ok(Settled { disputes }),
                    Some(Closed::Unknown) => Err(CloseError::Unknown { id: work.id }),
                    None => Err(StoreError::Closed.into()),
                });
            }
            Self::Expire(work) => drop(work.done.send(Ok(work.outcome))),
            Self::Doubts(work) => drop(work.done.send(Ok(work.outcome))),
            Self::Forget(_) => {}
        }
    }

    /// Tells the caller that nothing was done.
    pub(crate) fn fail(self, error: &StoreError) {
        match self {
            Self::Reserve(work) => drop(work.done.send(Err(error.clone().into()))),
            Self::Settle(work) => drop(work.done.send(Err(error.clone()))),
            Self::Close(work) => drop(work.done.send(Err(error.clone().into()))),
            Self::Expire(work) => drop(work.done.send(Err(error.clone()))),
            Self::Doubts(work) => drop(work.done.send(Err(error.clone()))),
            // They stay open, and are in doubt when the store is opened the next time.
            Self::Forget(ids) => {
                tracing::error!(reservations = ids.len(), "reservations could not be released")
            }
        }
    }
}

/// A reservation on its way to its caller. Dropped on the way, because the caller has gone, it is released: the call that it
/// was for was never made.
pub(crate) struct Handover {
    reserved: Option<Reserved>,
    lost: Arc<Lost>,
}

impl Handover {
    /// The caller has it, and has to close it.
    pub(crate) fn take(mut self) -> Option<Reserved> {
        self.reserved.take()
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        if let Some(reserved) = self.reserved.take() {
            self.lost.push(reserved.id);
        }
    }
}

/// Reservations of which nobody heard. At most as many as can be open.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    ids: Mutex<Vec<ReservationId>>,
    /// Who is woken to release them.
    writer: OnceLock<Thread>,
}

impl Lost {
    /// Says which thread is woken; the first one counts.
    pub(crate) fn wake(&self, writer: Thread) {
        let _ = self.writer.set(writer);
    }

    fn push(&self, id: ReservationId) {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// Takes all.
    pub(crate) fn take(&self) -> Vec<ReservationId> {
        std::mem::take(&mut self.ids.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether there are any.
    pub(crate) fn is_empty(&self) -> bool {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}
