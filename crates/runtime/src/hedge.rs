//! Hedging: when the first step is about to miss the deadline, the second is called too, and the first of the two that begins to
//! answer gives the answer.
//!
//! Off by default: both calls are reserved and counted, and the one that loses may be paid as well.

use std::sync::Arc;
use std::time::Duration;

use inshore_domain::Step;

use crate::account::Account;
use crate::execute::{StepFailed, call_target};
use crate::leg::Leg;
use crate::registry::{Registered, Registry};

/// The two steps, and how long the first one has for itself; `None` where there is nothing to hedge.
///
/// The second call is made when it would still be in time if it takes as long as it mostly does; a target of which nothing is known
/// has half of the time.
pub(crate) fn hedged<'a>(
    account: &Account,
    steps: &[Step],
    registry: &'a Registry,
) -> Option<(&'a Registered, &'a Registered, Duration)> {
    if !account.shared.retry.load().hedge {
        return None;
    }
    let [first, second, ..] = steps else { return None };
    let budget = account.facts.latency_budget?.saturating_sub(account.elapsed());
    let expected = account.facts.first_token.iter().find(|(target, _)| *target == second.target);
    let expected = expected.map_or(budget / 2, |(_, latency)| *latency);
    // A second call that would be late as well is money for nothing.
    let after = budget.checked_sub(expected).filter(|after| !after.is_zero())?;
    Some((registry.get(&first.target)?, registry.get(&second.target)?, after))
}

/// Has the first step answer, and the second too when the first has not begun after this time.
///
/// # Errors
/// Why neither did; what the last of them said.
pub(crate) async fn first_of_two(
    account: &Arc<Account>,
    (first, second, after): (&Registered, &Registered, Duration),
) -> Result<Leg, StepFailed> {
    let one = begins(account, first);
    tokio::pin!(one);
    tokio::select! {
        biased;
        leg = &mut one => return match leg {
            Err(StepFailed { go_on: true, .. }) => begins(account, second).await,
            leg => leg,
        },
        () = tokio::time::sleep(after) => {}
    }
    let (slow, other) = (&first.target.id, &second.target.id);
    account
        .note(format!("`{slow}` had not begun after {} ms, so `{other}` was called too", after.as_millis()));
    let two = begins(account, second);
    tokio::pin!(two);
    tokio::select! {
        biased;
        leg = &mut one => match leg {
            Err(_) => two.await,
            leg => leg,
        },
        leg = &mut two => match leg {
            Err(_) => one.await,
            leg => leg,
        },
    }
}

/// The answer of a target once its first piece is there.
async fn begins(account: &Arc<Account>, entry: &Registered) -> Result<Leg, StepFailed> {
    let leg = call_target(account, entry, false).await?;
    leg.begun().await.map_err(|error| {
        account.step_failed(&entry.target.id, &error.message);
        StepFailed { error, go_on: true }
    })
}
