//! The application: the road of a request.
//!
//! `inspect → decide → execute → settle`. The runtime sees only [`inshore_domain::Backend`]s; it knows no wire format,
//! no provider and no engine. Data walks the road once, forward: nothing after `decide` re-decides, a failed step
//! consults the next step of the same Decision.
#![forbid(unsafe_code)]

mod answer;
mod error;
mod registry;

pub use answer::{Answer, AnswerStream};
pub use error::{RunError, RunErrorKind};
pub use registry::{Registered, Registry};

use std::sync::Arc;

use inshore_domain::{Clock, Decision, Request, Usage};
use inshore_store::Store;

/// Vectors and what they took.
#[derive(Debug)]
pub struct Embedded {
    /// Names the receipt, which is already in the store.
    pub receipt: inshore_domain::ReceiptId,
    /// Which target made them.
    pub target: Arc<inshore_domain::Target>,
    /// One for each input, in order, normalised to length 1.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens used.
    pub usage: Usage,
}

/// The runtime of one daemon. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    store: Store,
    registry: arc_swap::ArcSwap<Registry>,
    tasks: tokio_util::task::TaskTracker,
}

impl Runtime {
    /// A runtime without targets; see [`Self::set_targets`].
    pub fn new(clock: Arc<dyn Clock>, store: Store) -> Self {
        let registry = arc_swap::ArcSwap::from_pointee(Registry::default());
        Self { shared: Arc::new(Shared { clock, store, registry, tasks: tokio_util::task::TaskTracker::new() }) }
    }

    /// Replaces the targets. Requests already decided keep theirs.
    pub fn set_targets(&self, entries: Vec<Registered>) {
        self.shared.registry.store(Arc::new(Registry::new(entries)));
    }

    /// The targets there are.
    pub fn targets(&self) -> Vec<Arc<inshore_domain::Target>> {
        self.shared.registry.load().targets().to_vec()
    }
}
