//! What many samples come to. Pure.

use std::time::Duration;

use serde::Serialize;

use super::record::{Hop, Sample};

/// One hop, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct HopFigures {
    pub(super) hop: Hop,
    pub(super) count: usize,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) most: f64,
}

/// A stretch of the run: the median and the 99th percentile of a hop in it, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Stretch {
    pub(super) until_s: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
}

/// Returns the figures of every hop that was reached.
pub(super) fn of_hops(samples: &[Sample]) -> Vec<HopFigures> {
    Hop::ALL.into_iter().filter_map(|hop| of_hop(hop, &times(hop, samples))).collect()
}

/// Returns the times of `hop` in milliseconds, the shortest first.
pub(super) fn times(hop: Hop, samples: &[Sample]) -> Vec<f64> {
    let of_hop = samples.iter().filter(|sample| sample.hop == hop);
    let mut times: Vec<_> = of_hop.map(|sample| milliseconds(sample.took)).collect();
    times.sort_by(f64::total_cmp);
    times
}

fn of_hop(hop: Hop, sorted: &[f64]) -> Option<HopFigures> {
    let most = *sorted.last()?;
    let at = |share| percentile(sorted, share);
    Some(HopFigures { hop, count: sorted.len(), p50: at(0.5), p90: at(0.9), p99: at(0.99), most })
}

/// Returns how `hop` did over time, in at most `stretches` of equal length; those in which it was
/// not reached are left out.
pub(super) fn over_time(
    hop: Hop,
    samples: &[Sample],
    length: Duration,
    stretches: u32,
) -> Vec<Stretch> {
    let each = length.max(Duration::from_secs(1)) / stretches;
    let mut times = vec![Vec::new(); stretches as usize];
    for sample in samples.iter().filter(|sample| sample.hop == hop) {
        let nth = (sample.at.as_secs_f64() / each.as_secs_f64()) as usize;
        times[nth.min(stretches as usize - 1)].push(milliseconds(sample.took));
    }
    let ends = (1..=stretches).map(|nth| (each * nth).as_secs_f64());
    let stretch = |(until_s, mut times): (f64, Vec<f64>)| {
        times.sort_by(f64::total_cmp);
        (!times.is_empty()).then(|| Stretch {
            until_s,
            p50: percentile(&times, 0.5),
            p99: percentile(&times, 0.99),
        })
    };
    ends.zip(times).filter_map(stretch).collect()
}

/// Returns the least of `sorted`, which are some, that this share of all does not exceed.
pub(super) fn percentile(sorted: &[f64], share: f64) -> f64 {
    // Between none and all of them: nothing is cut off.
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_s: u64, took_ms: u64) -> Sample {
        let (at, took) = (Duration::from_secs(at_s), Duration::from_millis(took_ms));
        Sample { hop: Hop::Signal, at, took }
    }

    #[test]
    fn hops_that_nobody_reached_have_no_figures() {
        let samples: Vec<_> = (1..=100).map(|n| sample(n, n)).collect();
        let [signal] = &of_hops(&samples)[..] else { panic!("one hop") };
        assert_eq!((signal.hop, signal.count), (Hop::Signal, 100));
        assert_eq!((signal.p50, signal.p99, signal.most), (50.0, 99.0, 100.0));
    }

    #[test]
    fn each_stretch_has_its_own_and_the_last_takes_what_comes_late() {
        let samples = [sample(0, 1), sample(1, 3), sample(9, 7), sample(11, 9)];
        let stretches = over_time(Hop::Signal, &samples, Duration::from_secs(10), 5);
        let of = |until_s, p50, p99| Stretch { until_s, p50, p99 };
        assert_eq!(stretches, [of(2.0, 1.0, 3.0), of(10.0, 7.0, 9.0)]);
        assert_eq!(over_time(Hop::Create, &samples, Duration::ZERO, 5), []);
    }
}
