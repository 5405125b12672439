//! The figures of a bench, as a table for people and as JSON for whoever compares runs.

use std::fmt::Write;
use std::path::PathBuf;
use std::{fs, io};

use serde::Serialize;

/// What one bench found out.
#[derive(Serialize)]
pub(super) struct Report {
    machine: String,
    figures: Vec<Figure>,
}

/// Ours beside another, both as medians.
#[derive(Serialize)]
pub(super) struct Figure {
    name: &'static str,
    unit: &'static str,
    better: &'static str,
    ours: f64,
    other: f64,
    other_is: &'static str,
    ratio: f64,
    goal: f64,
    met: bool,
}

/// What was measured of one thing; times are in milliseconds.
#[derive(Default)]
pub(super) struct Samples(Vec<f64>);

impl Samples {
    pub(super) fn push(&mut self, time: std::time::Duration) {
        self.0.push(time.as_secs_f64() * 1000.0);
    }

    /// Those of times that are in milliseconds already.
    pub(super) fn of(times: &[f64]) -> Self {
        Self(times.to_vec())
    }

    pub(super) fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    pub(super) fn push_number(&mut self, number: f64) {
        self.0.push(number);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The least one that this share of all, between 0 and 1, does not exceed; no number when there
    /// are none.
    pub(super) fn percentile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        // Between no and all samples: nothing is cut off.
        let rank = (sorted.len() as f64 * share).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    /// The middle one, or the mean of the two in the middle; no number when there are none.
    pub(super) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[n / 2],
            n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
        }
    }
}

impl Figure {
    /// A time, of which less is better: it is to be at most `goal` times the other's.
    pub(super) fn time(
        name: &'static str,
        ours: &Samples,
        (other_is, other): (&'static str, &Samples),
        goal: f64,
    ) -> Self {
        Self::lower(name, "ms", ours.median(), (other_is, other.median()), goal)
    }

    /// Something of which less is better: it is to be at most `goal` times the other.
    pub(super) fn lower(
        name: &'static str,
        unit: &'static str,
        ours: f64,
        (other_is, other): (&'static str, f64),
        goal: f64,
    ) -> Self {
        let ratio = ours / other;
        let met = ratio <= goal;
        Self { name, unit, better: "lower", ours, other, other_is, ratio, goal, met }
    }

    /// Something of which more is better: it is to be at least `goal` times the other.
    pub(super) fn higher(
        name: &'static str,
        unit: &'static str,
        ours: f64,
        (other_is, other): (&'static str, f64),
        goal: f64,
    ) -> Self {
        let ratio = ours / other;
        let met = ratio >= goal;
        Self { name, unit, better: "higher", ours, other, other_is, ratio, goal, met }
    }
}

impl Figure {
    /// [`Figure::time`] in nanoseconds.
    pub(super) fn nanoseconds(
        name: &'static str,
        ours: &Samples,
        other: (&'static str, &Samples),
        goal: f64,
    ) -> Self {
        let time = Self::time(name, ours, other, goal);
        Self { unit: "ns", ours: time.ours * 1e6, other: time.other * 1e6, ..time }
    }
}

impl Report {
    pub(super) fn new(figures: Vec<Figure>) -> Self {
        Self { machine: machine(), figures }
    }

    pub(super) fn table(&self) -> String {
        let mut table = format!(
            "{}\n\n{:<24} {:>11} {:>11}  {:>6} {:>6}  \n",
            self.machine, "median", "ours", "other", "ratio", "goal"
        );
        for figure in &self.figures {
            let Figure { name, unit, ours, other, other_is, ratio, goal, .. } = figure;
            let verdict = if figure.met { "met" } else { "missed" };
            let name = format!("{name} ({unit})");
            // Writing to a string does not fail.
            let _ = writeln!(
                table,
                "{name:<24} {ours:>11.2} {other:>11.2}  {ratio:>6.2} {goal:>6.2}  {verdict:<7} {other_is}"
            );
        }
        table
    }

    /// Writes `target/bench/NAME.json` under the checkout, wherever cargo builds.
    pub(super) fn write(&self, name: &str) -> io::Result<PathBuf> {
        let folder = stream_dev::checkout().join("target/bench");
        fs::create_dir_all(&folder)?;
        let path = folder.join(name).with_extension("json");
        fs::write(&path, serde_json::to_vec_pretty(self)?)?;
        Ok(path)
    }
}

/// What was measured on.
fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let model =
        processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, model)| model.trim());
    // Not those that a bench has left to a server.
    let number = processors.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    let build = if cfg!(debug_assertions) { "debug build" } else { "release build" };
    format!("{number} x {model} ({}), Linux {}, {build}", instructions(&processors), kernel.trim())
}

/// Which of the instructions that make handshakes cheap the processor has.
fn instructions(processors: &str) -> String {
    const OF_INTEREST: [&str; 6] = ["adx", "avx2", "avx512ifma", "bmi2", "sha_ni", "vaes"];
    let flags = processors.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let has = |name: &str| flags.split_whitespace().any(|flag| flag == name);
    let has = |name: &&str| if has(name) { (*name).to_owned() } else { format!("no {name}") };
    OF_INTEREST.iter().map(has).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn samples(times: &[u64]) -> Samples {
        let mut samples = Samples::default();
        times.iter().for_each(|time| samples.push(Duration::from_millis(*time)));
        samples
    }

    #[test]
    fn one_slow_round_does_not_move_the_median() {
        assert_eq!(samples(&[3, 1, 900]).median(), 3.0);
        assert_eq!(samples(&[4, 1, 2, 900]).median(), 3.0);
    }

    #[test]
    fn a_percentile_is_one_of_the_samples() {
        let hundred: Vec<_> = (1..=100).rev().collect();
        assert_eq!(samples(&hundred).percentile(0.5), 50.0);
        assert_eq!(samples(&hundred).percentile(0.99), 99.0);
        assert_eq!(samples(&[7]).percentile(0.0), 7.0);
        assert!(samples(&[]).percentile(0.5).is_nan());
    }

    #[test]
    fn more_is_better_where_it_is_said_so() {
        assert!(Figure::higher("x", "1/s", 8.0, ("y", 10.0), 0.8).met);
        assert!(!Figure::higher("x", "1/s", 7.0, ("y", 10.0), 0.8).met);
    }

    #[test]
    fn a_goal_is_met_up_to_its_ratio_and_never_without_samples() {
        let figure = |ours: &[u64], goal| {
            Figure::time("x", &samples(ours), ("the floor", &samples(&[10])), goal)
        };
        assert!(figure(&[20], 2.0).met && !figure(&[21], 2.0).met);
        assert!(!figure(&[], 2.0).met);
    }

    #[test]
    fn the_json_has_the_form_that_is_promised() {
        let figure = Figure::time("x", &samples(&[20]), ("the floor", &samples(&[10])), 3.0);
        let report = serde_json::to_value(Report::new(vec![figure])).expect("json");
        assert!(report["machine"].is_string());
        let expected = serde_json::json!({
            "name": "x", "unit": "ms", "better": "lower", "ours": 20.0, "other": 10.0,
            "other_is": "the floor", "ratio": 2.0, "goal": 3.0, "met": true,
        });
        assert_eq!(report["figures"], serde_json::json!([expected]));
    }
}
