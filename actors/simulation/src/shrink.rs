//! Leaves out of a plan what a broken promise does not need.

use crate::simulation::{Outcome, run, steps};

/// Returns the numbers of the steps that are left of the plan of `seed` when no part of them can be
/// left out without the promise `promise` being kept, and what came of those. `None` when it is not
/// broken to begin with.
pub fn shrink(seed: u64, promise: &str) -> Option<(Vec<usize>, Outcome)> {
    let breaks = |steps: &[usize]| {
        let outcome = run(seed, Some(steps), true);
        let broken = outcome.violations.iter().any(|how| how.starts_with(promise));
        broken.then_some(outcome)
    };
    let mut left: Vec<_> = (0..steps(seed).len()).collect();
    let mut outcome = breaks(&left)?;
    let mut part = left.len().div_ceil(2);
    while part > 0 {
        let mut at = 0;
        while at < left.len() {
            let mut fewer = left.clone();
            fewer.drain(at..(at + part).min(left.len()));
            match breaks(&fewer) {
                Some(found) => (left, outcome) = (fewer, found),
                None => at += part,
            }
        }
        part /= 2;
    }
    Some((left, outcome))
}
