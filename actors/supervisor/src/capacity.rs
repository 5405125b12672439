//! The depth of a mailbox and its bound. A permit is taken for each message and given back when it
//! is dealt with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::failure::AskError;

/// Counts the messages queued or in work at one actor.
pub(crate) struct Capacity {
    bound: usize,
    /// Every permit is a clone of this: counting them costs one atomic operation, on another cache
    /// line than what senders only read.
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

    /// Refuses every message from now on: the actor is stopping.
    pub(crate) fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    fn reached(&self, depth: usize) {
        // The mark is nearly always higher, and a load is cheaper than an exchange.
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
    /// Takes a place, unless the mailbox is full or closed.
    pub(crate) fn acquire(capacity: &Capacity) -> Result<Self, AskError> {
        if capacity.is_closed() {
            return Err(AskError::Stopped);
        }
        let permit = Self { _place: Arc::clone(&capacity.permits) };
        // Senders at the same moment may count each other, and both be refused.
        let depth = capacity.depth();
        if depth > capacity.bound {
            capacity.refused.fetch_add(1, Relaxed);
            return Err(AskError::Busy);
        }
        capacity.reached(depth);
        Ok(permit)
    }

    /// Takes a place even if the mailbox is full or closed.
    pub(crate) fn acquire_unbounded(capacity: &Capacity) -> Self {
        let permit = Self { _place: Arc::clone(&capacity.permits) };
        capacity.reached(capacity.depth());
        permit
    }
}
