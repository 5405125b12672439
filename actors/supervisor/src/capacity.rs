//! The depth of a mailbox: a permit is taken for each message and given back when it is dealt with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::failure::AskError;

/// Counts what is queued or in work at one actor.
pub(crate) struct Capacity {
    bound: usize,
    /// Every permit is a clone of this: their number costs one atomic operation to keep, and lies
    /// apart from what senders only read.
    permits: Arc<()>,
    high_water: AtomicUsize,
    refused: AtomicU64,
    closed: AtomicBool,
}

impl Capacity {
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            bound,
            permits: Arc::default(),
            high_water: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn bound(&self) -> usize {
        self.bound
    }

    pub(crate) fn depth(&self) -> usize {
        Arc::strong_count(&self.permits) - 1
    }

    pub(crate) fn high_water(&self) -> usize {
        self.high_water.load(Relaxed)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// From now on every message is refused: the actor is stopping.
    pub(crate) fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    fn reached(&self, depth: usize) {
        // Nearly always an old mark: a load is cheaper than an exchange.
        if depth > self.high_water.load(Relaxed) {
            self.high_water.fetch_max(depth, Relaxed);
        }
    }
}

/// A place in a mailbox; free again when dropped.
pub(crate) struct Permit {
    _place: Arc<()>,
}

impl Permit {
    pub(crate) fn acquire(capacity: &Capacity) -> Result<Self, AskError> {
        if capacity.is_closed() {
            return Err(AskError::Stopped);
        }
        let permit = Self { _place: Arc::clone(&capacity.permits) };
        // Senders at the same moment may each count the other, and both be refused.
        let depth = capacity.depth();
        if depth > capacity.bound {
            capacity.refused.fetch_add(1, Relaxed);
            return Err(AskError::Busy);
        }
        capacity.reached(depth);
        Ok(permit)
    }

    pub(crate) fn acquire_unbounded(capacity: &Capacity) -> Self {
        let permit = Self { _place: Arc::clone(&capacity.permits) };
        capacity.reached(capacity.depth());
        permit
    }
}
