//! Looks for the largest rate that holds. Pure.

/// Rates that differ by less are told apart by chance alone.
const CLOSE: f64 = 1.1;

/// Rates that are tried at most.
const MOST_TRIES: u32 = 14;

/// The least that is tried, of the first: less would take for ever.
const LEAST: f64 = 1.0 / 32.0;

/// Where the largest rate lies by what was tried.
#[derive(Debug, Default)]
pub(super) struct RateSearch {
    held: Option<f64>,
    failed: Option<f64>,
    first: Option<f64>,
    tries: u32,
}

impl RateSearch {
    /// Takes in whether `rate` held, and returns which one to try next; `None` when the search is
    /// over.
    pub(super) fn next(&mut self, rate: f64, held: bool) -> Option<f64> {
        self.tries += 1;
        let first = *self.first.get_or_insert(rate);
        match held {
            true => self.held = Some(self.held.map_or(rate, |held| held.max(rate))),
            false => self.failed = Some(self.failed.map_or(rate, |failed| failed.min(rate))),
        }
        let next = match (self.held, self.failed) {
            (Some(held), None) => held * 2.0,
            (None, failed) => failed.unwrap_or(rate) / 2.0,
            (Some(held), Some(failed)) => (held * failed).sqrt(),
        };
        let told_apart = self.held.zip(self.failed).is_none_or(|(h, f)| f / h > CLOSE);
        let goes_on = told_apart && self.tries < MOST_TRIES && next >= first * LEAST;
        goes_on.then_some(next)
    }

    /// The largest rate that held.
    pub(super) fn largest(&self) -> Option<f64> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(from: f64, limit: f64) -> RateSearch {
        let (mut search, mut rate) = (RateSearch::default(), Some(from));
        while let Some(tried) = rate {
            rate = search.next(tried, tried <= limit);
        }
        search
    }

    #[test]
    fn the_largest_rate_is_found_from_below_and_from_above() {
        for from in [1.0, 40.0, 900.0] {
            let found = search(from, 100.0).largest().expect("one");
            assert!((91.0..=100.0).contains(&found), "{found} from {from}");
        }
    }

    #[test]
    fn a_search_ends_though_all_hold_or_none_does() {
        assert!(search(1.0, f64::INFINITY).largest().is_some_and(|rate| rate > 1000.0));
        assert_eq!(search(1.0, 0.0).largest(), None);
    }
}
