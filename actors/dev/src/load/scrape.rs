//! The gateway's own figures before, during and after a run.

use std::time::Duration;

use serde::Serialize;
use stream_simulators::client::Gateway;

/// How much more of each the gateway may hold at the end: a share of what it held, and as much
/// besides. What a first load makes warm stays.
const GROWTH: f64 = 0.05;
const SLACK: [f64; 4] = [16.0, 8.0, 0.0, 0.0];

/// What the gateway that answers holds; nothing where its metrics do not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Holding {
    /// In seconds since the run began.
    pub(super) at_s: f64,
    pub(super) memory_mib: Option<f64>,
    pub(super) descriptors: Option<f64>,
    pub(super) sockets: Option<f64>,
    /// Those that have not ended, of all accounts.
    pub(super) sessions: Option<f64>,
}

/// What became of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Verdict {
    pub(super) what: &'static str,
    pub(super) before: f64,
    pub(super) most: f64,
    pub(super) after: f64,
    pub(super) left: bool,
}

/// Asks `gateway`; returns nothing but the time when it does not tell its metrics.
pub(super) async fn holding(gateway: &Gateway, at: Duration) -> Holding {
    let text = gateway.metrics().await.unwrap_or_default();
    Holding { at_s: at.as_secs_f64(), ..read(&text) }
}

fn read(page: &str) -> Holding {
    let sum = |name: &str, label: Option<&[&str]>| {
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        let values = lines.filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let of_name = series.split('{').next()?.ends_with(name);
            let of_label = label
                .is_none_or(|any| any.iter().any(|one| series.contains(&format!("\"{one}\""))));
            (of_name && of_label).then(|| value.parse::<f64>().ok()).flatten()
        });
        values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    };
    Holding {
        at_s: 0.0,
        memory_mib: sum("process_resident_memory_bytes", None).map(|bytes| bytes / 1048576.0),
        descriptors: sum("process_open_fds", None),
        sockets: sum("_sockets_open", None),
        sessions: sum("_sessions_total", Some(&["created", "active", "terminating"])),
    }
}

/// Returns what the gateway held before, at most and after, of each kind that it tells.
pub(super) fn verdicts(before: &Holding, during: &[Holding], after: &Holding) -> Vec<Verdict> {
    type Kind = (&'static str, fn(&Holding) -> Option<f64>);
    let kinds: [Kind; 4] = [
        ("memory (MiB)", |held| held.memory_mib),
        ("open files", |held| held.descriptors),
        ("sockets", |held| held.sockets),
        ("sessions", |held| held.sessions),
    ];
    let verdict = |((what, of), slack): (Kind, f64)| {
        let (before, after) = (of(before)?, of(after)?);
        let most = during.iter().filter_map(of).fold(before.max(after), f64::max);
        let left = after > before * (1.0 + GROWTH) + slack;
        Some(Verdict { what, before, most, after, left })
    };
    kinds.into_iter().zip(SLACK).filter_map(verdict).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_by_their_names_and_what_is_not_told_is_none() {
        let page = "# HELP x_sessions_total y\nx_sessions_total{status=\"active\"} 3\n\
                    x_sessions_total{status=\"created\"} 2\n\
                    x_sessions_total{status=\"terminated\"} 9\nx_process_open_fds 40\n";
        let held = read(page);
        assert_eq!((held.sessions, held.descriptors), (Some(5.0), Some(40.0)));
        assert_eq!((held.memory_mib, held.sockets), (None, None));
        assert_eq!(read(""), Holding::default());
    }

    #[test]
    fn what_stays_is_left_and_what_warms_up_is_not() {
        let held = |memory, sessions| Holding {
            memory_mib: Some(memory),
            sessions: Some(sessions),
            ..Holding::default()
        };
        let of = |after: Holding| verdicts(&held(100.0, 0.0), &[held(300.0, 50.0)], &after);
        let [memory, sessions] = &of(held(120.0, 0.0))[..] else { panic!("two kinds") };
        assert!(!memory.left && !sessions.left);
        assert_eq!((memory.most, sessions.most), (300.0, 50.0));
        let [memory, sessions] = &of(held(122.0, 1.0))[..] else { panic!("two kinds") };
        assert!(memory.left && sessions.left);
    }
}
