//! What was spent, and what might have been.

use std::sync::Arc;

use inshore_domain::{Currency, Money, Price, Target, TargetId, Tier, Timestamp, Usage, Window};
use inshore_policy::{caps, cost};
use inshore_store::{SpendBy, SpendKey, SpendQuery, SpendRow, StoreError, TokenSums};

use crate::Runtime;

/// What was spent in a time.
#[derive(Debug, Clone, PartialEq)]
pub struct SpendReport {
    /// The rows, dearest first, or days in their order.
    pub rows: Vec<SpendRow>,
    /// For each row, what its device tokens would have cost at [`Self::compared_with`]: an estimate, as another model counts tokens
    /// otherwise and answers at another length.
    pub saved: Vec<Option<Money>>,
    /// The cheapest cloud target with a price.
    pub compared_with: Option<TargetId>,
    /// What this month will have cost if it goes on like this. `None` on its first day: one morning is no month.
    pub forecast: Option<Money>,
}

/// What the tokens of one target would have cost elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct WhatIf {
    /// What they did cost.
    pub settled: Money,
    /// Requests of that time.
    pub requests: u64,
    /// Each other target that answers conversations: what the same tokens cost there, cheapest first.
    pub elsewhere: Vec<(Arc<Target>, Money)>,
}

impl Runtime {
    /// The currency of all caps and prices.
    pub fn currency(&self) -> Currency {
        self.shared.spending.load().currency
    }

    /// What was spent.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn spend(&self, query: SpendQuery) -> Result<SpendReport, StoreError> {
        let rows = self.shared.store.spend(query).await?;
        let targets = self.targets();
        let reference = cheapest_cloud(&targets);
        let saved = rows.iter().map(|row| Some(priced(&reference.as_ref()?.1, &row.device))).collect();
        let compared_with = reference.map(|(target, _)| target.id.clone());
        Ok(SpendReport { rows, saved, compared_with, forecast: self.forecast().await? })
    }

    /// What the month will have cost: what it has cost up to now, for as long as it is.
    async fn forecast(&self) -> Result<Option<Money>, StoreError> {
        const DAY: u64 = 86_400_000;
        let now = self.shared.clock.now();
        let (from, Some(end)) = caps::window(Window::Month, now, now) else { return Ok(None) };
        let passed = now.unix_millis().saturating_sub(from.unix_millis());
        let length = end.unix_millis().saturating_sub(from.unix_millis());
        if passed < DAY {
            return Ok(None);
        }
        let query = SpendQuery { from, to: end, by: SpendBy::Day };
        let currency = self.currency();
        let rows = self.shared.store.spend(query).await?;
        let settled = rows.iter().map(|row| row.settled).filter(|money| money.currency == currency);
        let spent = settled.fold(0_i128, |sum, money| sum + i128::from(money.micros));
        let micros = spent * i128::from(length) / i128::from(passed);
        Ok(Some(Money { micros: i64::try_from(micros).unwrap_or(i64::MAX), currency }))
    }

    /// What it would have cost to do without a target, all of its endpoints together, or without one of these. `None`: there is no
    /// such target.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn what_if_without(
        &self,
        target: &TargetId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Option<WhatIf>, StoreError> {
        let targets = self.targets();
        let is_left_out = |other: &Target| other.id == *target || other.configured_as() == target;
        let (left_out, others): (Vec<_>, Vec<_>) = targets.iter().partition(|other| is_left_out(other));
        let Some(without) = left_out.first() else { return Ok(None) };
        let currency = self.shared.spending.load().currency;
        let mut what_if =
            WhatIf { settled: Money { micros: 0, currency }, requests: 0, elsewhere: Vec::new() };
        let mut tokens = TokenSums::default();
        let rows = self.shared.store.spend(SpendQuery { from, to, by: SpendBy::Target }).await?;
        let of_it = |row: &SpendRow| match &row.key {
            SpendKey::Target(Some(id)) => left_out.iter().any(|target| target.id == *id),
            _ => false,
        };
        for row in rows.into_iter().filter(of_it) {
            what_if.settled = what_if.settled.checked_add(row.settled).unwrap_or(what_if.settled);
            what_if.requests += row.requests;
            tokens.prompt += row.tokens.prompt;
            tokens.cached += row.tokens.cached;
            tokens.output += row.tokens.output;
        }
        let able = |other: &&Arc<Target>| other.capabilities.missing(without.capabilities).next().is_none();
        for other in others.into_iter().filter(able) {
            let price = match (other.tier, other.price) {
                (Tier::Device, _) => Price { currency, ..Price::FREE },
                (_, Some(price)) => price,
                (_, None) => continue,
            };
            what_if.elsewhere.push((other.clone(), priced(&price, &tokens)));
        }
        what_if.elsewhere.sort_by_key(|(_, money)| money.micros);
        Ok(Some(what_if))
    }
}

/// The cloud target whose usual answer costs least.
fn cheapest_cloud(targets: &[Arc<Target>]) -> Option<(&Arc<Target>, Price)> {
    let priced = targets.iter().filter_map(|target| {
        let price = target.price.filter(|price| target.tier == Tier::Cloud && price.output > 0)?;
        Some((target, price))
    });
    priced.min_by_key(|(_, price)| price.input.saturating_add(price.output))
}

/// What so many tokens cost. Sums are larger than one request's counts may be, so they are priced in pieces.
fn priced(price: &Price, tokens: &TokenSums) -> Money {
    let mut micros = 0_i64;
    let mut left = *tokens;
    let most = u64::from(u32::MAX);
    loop {
        let take = |count: &mut u64| {
            let taken = (*count).min(most);
            *count -= taken;
            u32::try_from(taken).unwrap_or(u32::MAX)
        };
        let usage = Usage {
            prompt_tokens: take(&mut left.prompt),
            cached_tokens: take(&mut left.cached),
            output_tokens: take(&mut left.output),
            ..Usage::default()
        };
        if usage == Usage::default() {
            return Money { micros, currency: price.currency };
        }
        micros = micros.saturating_add(cost(price, &usage).micros);
    }
}
