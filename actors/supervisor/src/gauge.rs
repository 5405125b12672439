//! The depth of a mailbox: a permit is taken for each message and given back when it is dealt with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::failure::Unavailable;

/// Counts what is queued or in work at one actor.
pub(crate) struct Gauge {
    capacity: usize,
    /// Every permit is a clone of this: their number costs one atomic operation to keep, and lies
    /// apart from what senders only read.
    permits: Arc<()>,
    high_water: AtomicUsize,
    refused: AtomicU64,
    closed: AtomicBool,
}

impl Gauge {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            permits: Arc::default(),
            high_water: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
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
    pub(crate) fn take(gauge: &Gauge) -> Result<Self, Unavailable> {
        if gauge.is_closed() {
            return Err(Unavailable::Stopped);
        }
        let permit = Self { _place: Arc::clone(&gauge.permits) };
        // Senders at the same moment may each count the other, and both be refused.
        let depth = gauge.depth();
        if depth > gauge.capacity {
            gauge.refused.fetch_add(1, Relaxed);
            return Err(Unavailable::Busy);
        }
        gauge.reached(depth);
        Ok(permit)
    }

    pub(crate) fn take_past_the_bound(gauge: &Gauge) -> Self {
        let permit = Self { _place: Arc::clone(&gauge.permits) };
        gauge.reached(gauge.depth());
        permit
    }
}
