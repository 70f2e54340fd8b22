//! What callers may see of the counters without asking the writer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use inshore_domain::{Claim, Currency, Window};

use super::names::CounterParts;

/// Each counter that is in the writer's memory, as of the last commit.
#[derive(Debug)]
pub(crate) struct Mirror {
    currency: Currency,
    used: RwLock<HashMap<Box<[u8]>, Arc<AtomicU64>>>,
}

impl Mirror {
    pub(crate) fn new(currency: Currency) -> Self {
        Self { currency, used: RwLock::default() }
    }

    /// What is left of each claim's limit.
    pub(crate) fn headroom(&self, claims: &[Claim]) -> Vec<u64> {
        let used = self.used.read().unwrap_or_else(PoisonError::into_inner);
        let mut key = Vec::with_capacity(64);
        let left = |claim: &Claim| {
            if claim.window == Window::Request {
                return claim.limit;
            }
            CounterParts::of(claim, self.currency).pack_into(&mut key);
            let used = used.get(key.as_slice()).map_or(0, |used| used.load(Ordering::Relaxed));
            claim.limit.saturating_sub(used)
        };
        claims.iter().map(left).collect()
    }

    pub(crate) fn insert(&self, key: Box<[u8]>, shown: Arc<AtomicU64>) {
        self.used.write().unwrap_or_else(PoisonError::into_inner).insert(key, shown);
    }

    pub(crate) fn remove(&self, keys: &[Box<[u8]>]) {
        let mut used = self.used.write().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            used.remove(key);
        }
    }

    /// Forgets all: the counters are about to be shown anew.
    pub(crate) fn clear(&self) {
        self.used.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
