//! What a run came to, as a table for people.

use super::outcome::{Outcome, Run};

/// Returns the figures of the last run, what failed, what was left behind, and the largest rate if
/// that was looked for.
pub(super) fn table(outcome: &Outcome) -> String {
    let mut lines = vec![outcome.command.clone(), String::new()];
    if let Some(run) = outcome.shown() {
        of_run(run, &mut lines);
    }
    if !outcome.left.is_empty() {
        lines.push(String::new());
        lines.push(format!(
            "{:<20} {:>10} {:>10} {:>10}",
            "the gateway held", "before", "most", "after"
        ));
    }
    for held in &outcome.left {
        let left = if held.left { "  left behind" } else { "" };
        let numbers = [held.before, held.most, held.after].map(|value| format!("{value:>10.1}"));
        lines.push(format!("{:<20} {}{left}", held.what, numbers.join(" ")));
    }
    if let Some(search) = &outcome.search {
        lines.push(String::new());
        lines.push(search.words());
    }
    lines.push(String::new());
    lines.join("\n")
}

fn of_run(run: &Run, lines: &mut Vec<String>) {
    let counts = run.counts;
    lines.push(format!(
        "{} sessions at {:.1}/s in {:.0} s: {} good, {} failed",
        counts.begun, run.rate, run.seconds, counts.done, counts.failed
    ));
    lines.push(String::new());
    let heads = ["count", "p50", "p90", "p99", "most"].map(|head| format!("{head:>9}"));
    lines.push(format!("{:<20} {}", "milliseconds", heads.join(" ")));
    for figures in &run.hops {
        let hop = figures.hop.to_string();
        let numbers = [figures.p50, figures.p90, figures.p99, figures.most];
        let numbers = numbers.map(|value| format!("{value:>9.1}"));
        lines.push(format!("{hop:<20} {:>9} {}", figures.count, numbers.join(" ")));
    }
    for failure in &run.failures {
        lines.push(format!("{:>6} × {}: {}", failure.count, failure.hop, failure.cause));
    }
    if run.samples_dropped > 0 {
        lines.push(format!("{} samples were too many and are not counted", run.samples_dropped));
    }
}
