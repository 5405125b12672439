//! Whether a relay is handed out, judged by its last probes. Pure.

/// Failed probes in a row after which a relay is withheld.
const WITHHOLD_AFTER: u32 = 2;

/// Good probes in a row after which it is handed out again.
const RESTORE_AFTER: u32 = 3;

/// What the probes of one relay have shown.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Health {
    withheld: bool,
    /// Probes in a row that contradict how it is treated now.
    streak: u32,
    /// Failures since the last good probe.
    failures: u32,
}

/// What a probe changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    Withheld,
    Restored,
}

impl Health {
    /// Records the end of a probe; returns what it changed.
    pub(crate) fn record(&mut self, good: bool) -> Option<Change> {
        self.failures = if good { 0 } else { self.failures.saturating_add(1) };
        if good != self.withheld {
            self.streak = 0;
            return None;
        }
        self.streak += 1;
        if self.streak < if self.withheld { RESTORE_AFTER } else { WITHHOLD_AFTER } {
            return None;
        }
        *self = Self { withheld: !self.withheld, streak: 0, ..*self };
        Some(if self.withheld { Change::Withheld } else { Change::Restored })
    }

    pub(crate) fn is_withheld(&self) -> bool {
        self.withheld
    }

    /// Returns the failures since the last good probe: when all relays are withheld, the one with
    /// the fewest is handed out.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(health: &mut Health, ends: &[bool]) -> Vec<Option<Change>> {
        ends.iter().map(|good| health.record(*good)).collect()
    }

    #[test]
    fn two_bad_probes_in_a_row_withhold_and_three_good_ones_bring_back() {
        let mut health = Health::default();
        assert_eq!(record(&mut health, &[false, true, false]), [None; 3]);
        assert_eq!(health.record(false), Some(Change::Withheld));
        assert_eq!(record(&mut health, &[true, true, false, true, true]), [None; 5]);
        assert!(health.is_withheld());
        assert_eq!(health.record(true), Some(Change::Restored));
        assert_eq!(health, Health::default());
    }

    proptest! {
        #[test]
        fn a_relay_is_withheld_exactly_as_its_last_probes_demand(
            ends in prop::collection::vec(any::<bool>(), 0..40)
        ) {
            let mut health = Health::default();
            let mut expected = false;
            for n in 0..ends.len() {
                health.record(ends[n]);
                let last = |count: usize, good: bool| {
                    n + 1 >= count && ends[n + 1 - count..=n].iter().all(|end| *end == good)
                };
                expected = if expected { !last(3, true) } else { last(2, false) };
                prop_assert_eq!(health.is_withheld(), expected);
            }
        }
    }
}
