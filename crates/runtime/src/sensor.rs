//! The state of this machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use inshore_domain::DeviceState;

/// Tells the state of the machine. Asked for every request: it answers from memory, or within some microseconds.
pub trait Sensor: Send + Sync {
    /// The state now. The queue depth is the runtime's own and is left at 0.
    fn state(&self) -> DeviceState;
}

/// How many requests there are of a kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Depth(Arc<AtomicU32>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Arc<AtomicU32>);

impl Depth {
    pub(crate) fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn enter(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.0.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
