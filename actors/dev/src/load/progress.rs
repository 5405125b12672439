//! The line that tells how far a run is.

use std::io::{IsTerminal, Write};

use super::figures::{percentile, times};
use super::record::{Hop, Record};

const WIDTH: u32 = 24;

/// Writes the state of a run of `total` sessions to stderr: over the line before on a terminal,
/// and below it in a log.
pub(super) fn show(record: &Record, total: u32) {
    let mut stderr = std::io::stderr().lock();
    let line = line(record, total);
    // Whoever does not read it loses nothing but the line.
    let _ = match stderr.is_terminal() {
        true => write!(stderr, "\r\x1b[K{line}").and_then(|()| stderr.flush()),
        false => writeln!(stderr, "{line}"),
    };
}

/// Ends the line on a terminal.
pub(super) fn end() {
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
}

fn line(record: &Record, total: u32) -> String {
    let counts = record.counts();
    let ended = counts.done + counts.failed;
    let bar = |count: u32| (u64::from(count) * u64::from(WIDTH) / u64::from(total.max(1))) as usize;
    let (ended_bar, begun_bar) = (bar(ended), bar(counts.begun));
    let mut line = format!(
        "[{}{}{}] {:>3.0} s  {} of {total} begun, {} live, {} failed",
        "#".repeat(ended_bar),
        "-".repeat(begun_bar - ended_bar),
        " ".repeat(WIDTH as usize - begun_bar),
        record.elapsed().as_secs_f64(),
        counts.begun,
        counts.live,
        counts.failed,
    );
    for hop in Hop::BOUND {
        let times = record.samples(|samples| times(hop, samples));
        if !times.is_empty() {
            line += &format!("  {hop} p99 {:.0} ms", percentile(&times, 0.99));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_what_has_ended_and_what_is_under_way() {
        let record = Record::begin();
        (0..6).for_each(|_| record.session_begins());
        (0..2).for_each(|_| record.session_ends(Ok(())));
        record.session_ends(Err((Hop::Create, "refused".to_owned())));
        let line = line(&record, 12);
        assert!(
            line.starts_with("[######------            ]   0 s  6 of 12 begun, 3 live, 1 failed")
        );
    }
}
