//! What a load came to. Pure.

use serde::Serialize;
use stream_protocol::Timestamp;

use super::figures::{self, HopFigures, Stretch};
use super::options::Options;
use super::record::{Counts, Hop, Record};
use super::scrape::{Holding, Verdict};

/// Points of a plot over time.
const STRETCHES: u32 = 60;

/// Points of the plot of how times are spread.
const SPREAD: u32 = 100;

/// All that is known in the end.
#[derive(Serialize)]
pub(super) struct Outcome {
    pub(super) command: String,
    pub(super) begun_at: Timestamp,
    pub(super) options: Options,
    pub(super) application: String,
    /// In the order in which they were tried.
    pub(super) runs: Vec<Run>,
    pub(super) left: Vec<Verdict>,
    pub(super) search: Option<Search>,
}

/// One load.
#[derive(Serialize)]
pub(super) struct Run {
    pub(super) rate: f64,
    pub(super) seconds: f64,
    pub(super) counts: Counts,
    pub(super) hops: Vec<HopFigures>,
    pub(super) over_time: Vec<(Hop, Vec<Stretch>)>,
    /// For each hop the times of which 1, 2, … of a hundred are no longer.
    pub(super) spread: Vec<(Hop, Vec<f64>)>,
    pub(super) failures: Vec<FailureCount>,
    pub(super) samples_dropped: u64,
    pub(super) held: Vec<Holding>,
}

#[derive(Serialize)]
pub(super) struct FailureCount {
    pub(super) hop: Hop,
    pub(super) cause: String,
    pub(super) count: u64,
}

/// What --find-rate has found.
#[derive(Serialize)]
pub(super) struct Search {
    pub(super) bound_ms: u32,
    pub(super) largest_rate: Option<f64>,
    pub(super) tried: Vec<f64>,
}

impl Search {
    pub(super) fn words(&self) -> String {
        let Self { bound_ms, largest_rate, tried } = self;
        let within = format!("99 of 100 creations and signals took {bound_ms} ms at most");
        match largest_rate {
            Some(rate) => format!("largest rate at which {within}: {rate:.1}/s"),
            None => format!(
                "at no rate that was tried {within}, down to {:.2}/s",
                tried.iter().copied().fold(f64::INFINITY, f64::min)
            ),
        }
    }
}

impl Run {
    pub(super) fn of(rate: f64, record: &Record, held: Vec<Holding>) -> Self {
        let length = record.elapsed();
        let spread = |times: &[f64]| {
            let at = |n| figures::percentile(times, f64::from(n) / f64::from(SPREAD));
            (1..=SPREAD).map(at).collect::<Vec<_>>()
        };
        let failures = record.failures().into_iter();
        record.samples(|samples| {
            let hops = figures::of_hops(samples);
            let reached = || hops.iter().map(|figures| figures.hop);
            let over_time = |hop| (hop, figures::over_time(hop, samples, length, STRETCHES));
            Self {
                rate,
                seconds: length.as_secs_f64(),
                counts: record.counts(),
                over_time: reached().map(over_time).collect(),
                spread: reached().map(|hop| (hop, spread(&figures::times(hop, samples)))).collect(),
                failures: failures
                    .map(|((hop, cause), count)| FailureCount { hop, cause, count })
                    .collect(),
                samples_dropped: record.dropped(),
                held,
                hops,
            }
        })
    }

    /// Whether nothing failed and what is bounded stayed within `bound` milliseconds.
    pub(super) fn holds(&self, bound: u32) -> bool {
        let bounded = self.hops.iter().filter(|figures| Hop::BOUND.contains(&figures.hop));
        self.counts.failed == 0 && bounded.into_iter().all(|hop| hop.p99 <= f64::from(bound))
    }
}

impl Outcome {
    /// The run to be shown: the one at the largest rate that held, or the last.
    pub(super) fn shown(&self) -> Option<&Run> {
        let largest = self.search.as_ref().and_then(|search| search.largest_rate);
        self.runs.iter().rfind(|run| Some(run.rate) == largest).or(self.runs.last())
    }
}
