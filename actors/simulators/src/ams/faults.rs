//! Failure injection: what a real AMS does on a bad day, on request.

use std::time::Duration;

/// What goes wrong. Where a number says *every*, that is every so many calls, instances or events;
/// 0 is never.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Every answer comes so much later.
    pub slow: Duration,
    /// Calls answered with code 500.
    pub error_every: u32,
    /// Calls answered with code 503 and `Retry-After: 1`.
    pub busy_every: u32,
    /// Calls answered with code 429 and `Retry-After: 1`.
    pub throttled_every: u32,
    /// Calls that get no answer at all.
    pub hang_every: u32,
    /// A launch is carried out, and answered, so much later; also when the asker has gone.
    pub late_launch: Duration,
    /// A launch is answered so much later than it is carried out.
    pub late_answer: Duration,
    /// A launch is carried out a second time.
    pub double_launch: bool,
    /// Instances that fail while they boot.
    pub broken_boot_every: u32,
    /// A deletion takes so much longer.
    pub slow_delete: Duration,
    /// So many deletions end well and delete nothing.
    pub lying_deletes: u32,
    /// So many deletions never end.
    pub hanging_deletes: u32,
    /// The hook that runs when an instance stops fails: only a deletion by force deletes.
    pub failing_hook: bool,
    /// Events that nobody gets.
    pub lost_event_every: u32,
    /// Events that everybody gets twice.
    pub doubled_event_every: u32,
}

/// What happens to one call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CallFault {
    Busy,
    Error,
    Hang,
    Throttled,
}

/// What happens to one event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Copies {
    None,
    One,
    Two,
}

/// What happened so far, as far as the next fault depends on it.
#[derive(Debug, Default)]
pub(crate) struct FaultInjector {
    pub(crate) faults: Faults,
    calls: u32,
    boots: u32,
    events: u32,
    /// How many calls got no answer.
    pub(crate) hung: u32,
}

impl FaultInjector {
    /// Counts a call and returns what happens to it.
    pub(crate) fn call(&mut self) -> Option<CallFault> {
        let count = next(&mut self.calls);
        let Faults { error_every, busy_every, throttled_every, hang_every, .. } = self.faults;
        let faults = [
            (hang_every, CallFault::Hang),
            (error_every, CallFault::Error),
            (busy_every, CallFault::Busy),
            (throttled_every, CallFault::Throttled),
        ];
        let due = |(every, fault): (u32, _)| is_due(count, every).then_some(fault);
        let fault = faults.into_iter().find_map(due);
        self.hung += u32::from(fault == Some(CallFault::Hang));
        fault
    }

    /// Counts a boot and returns whether it breaks.
    pub(crate) fn breaks_boot(&mut self) -> bool {
        is_due(next(&mut self.boots), self.faults.broken_boot_every)
    }

    /// Counts an event and returns how often it is told.
    pub(crate) fn copies(&mut self) -> Copies {
        let count = next(&mut self.events);
        if is_due(count, self.faults.lost_event_every) {
            return Copies::None;
        }
        match is_due(count, self.faults.doubled_event_every) {
            true => Copies::Two,
            false => Copies::One,
        }
    }

    /// Whether a deletion is to end without deleting.
    pub(crate) fn lies(&mut self) -> bool {
        take(&mut self.faults.lying_deletes)
    }

    /// Whether a deletion is never to end.
    pub(crate) fn hangs(&mut self) -> bool {
        take(&mut self.faults.hanging_deletes)
    }
}

fn next(count: &mut u32) -> u32 {
    *count = count.wrapping_add(1);
    *count
}

fn is_due(count: u32, every: u32) -> bool {
    every > 0 && count.is_multiple_of(every)
}

fn take(left: &mut u32) -> bool {
    let is_left = *left > 0;
    *left = left.saturating_sub(1);
    is_left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mishaps_come_as_often_as_asked() {
        let faults =
            Faults { error_every: 2, hang_every: 6, lying_deletes: 1, ..Faults::default() };
        let mut faults = FaultInjector { faults, ..FaultInjector::default() };
        let calls: Vec<_> = (0..6).map(|_| faults.call()).collect();
        let (error, hang) = (Some(CallFault::Error), Some(CallFault::Hang));
        assert_eq!(calls, [None, error, None, error, None, hang]);
        assert!(faults.lies() && !faults.lies() && !faults.hangs() && !faults.breaks_boot());
        assert_eq!(faults.copies(), Copies::One);
    }
}
