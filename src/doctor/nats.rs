//! Whether the store is whole, and has room.

use stream_bridge::{Space, StoreReport, StreamReport};

use super::Finding;

/// A store that is this full is told of, in parts of a hundred.
const FULL_PERCENT: u64 = 80;

const AREA: &str = "nats";

/// Judges the store, whose records are to be held by so many `replicas`.
pub(super) fn judge(report: &StoreReport, replicas: usize) -> Vec<Finding> {
    let mut found = Vec::new();
    match &report.account {
        Err(why) => found.push(Finding::error(
            AREA,
            format!("JetStream cannot be used: {why}"),
            "switch it on in nats-server, with a directory for its store",
        )),
        Ok([files, memory]) => {
            found.extend(of_space("files", *files));
            found.extend(of_space("memory", *memory));
        }
    }
    for (name, why) in &report.missing {
        found.push(Finding::warning(
            AREA,
            format!("{name} cannot be looked at: {why}"),
            "start the service, which makes what is missing, or permit it to this user",
        ));
    }
    found.extend(report.streams.iter().flat_map(|stream| of_stream(stream, replicas)));
    if found.is_empty() {
        let StoreReport { server, version, streams, .. } = report;
        let bytes: u64 = streams.iter().map(|stream| stream.bytes).sum();
        let (count, mib) = (streams.len(), bytes.div_ceil(1 << 20));
        let what = format!("{server}, {version}: {count} streams and buckets, {mib} MiB");
        found.push(Finding::good(AREA, what));
    }
    found
}

fn of_space(what: &str, Space { used, limit }: Space) -> Option<Finding> {
    let percent = used.saturating_mul(100).checked_div(limit?)?;
    (percent >= FULL_PERCENT).then(|| {
        let text = format!("{percent} % of the {what} that JetStream may use are used");
        Finding::warning(AREA, text, "raise max_file_store or max_memory_store, or the account's")
    })
}

fn of_stream(stream: &StreamReport, replicas: usize) -> Vec<Finding> {
    let StreamReport { name, bytes, max_bytes, absent_replicas, .. } = stream;
    let mut found = Vec::new();
    if let Some(max) = max_bytes {
        let percent = bytes.saturating_mul(100) / max;
        if percent >= FULL_PERCENT && !is_ring(name) {
            found.push(Finding::warning(
                AREA,
                format!("{name} is full to {percent} %: at 100 % what is new is refused"),
                format!("`nats stream edit {name} --max-bytes …`, with room for it on the disk"),
            ));
        }
    }
    if stream.replicas < replicas {
        let text = format!(
            "{name} has {} copies, and [nats] replicas asks for {replicas}",
            stream.replicas
        );
        let remedy = format!("`nats stream edit {name} --replicas {replicas}`");
        found.push(Finding::warning(AREA, text, remedy));
    }
    if *absent_replicas > 0 {
        let text = format!("{absent_replicas} copies of {name} are behind or out of reach");
        let remedy = "start the servers of the cluster that are away: `nats server list`";
        found.push(Finding::warning(AREA, text, remedy));
    }
    found
}

/// Whether the oldest goes when it is full, so that it may well be.
fn is_ring(name: &str) -> bool {
    !name.starts_with("KV_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    fn stream(name: &str) -> StreamReport {
        let name = name.to_owned();
        StreamReport { name, replicas: 3, absent_replicas: 0, bytes: 50, max_bytes: Some(100) }
    }

    fn report() -> StoreReport {
        let space = Space { used: 10, limit: Some(100) };
        StoreReport {
            server: "n1".to_owned(),
            version: "2.12.0".to_owned(),
            clock_skew: None,
            account: Ok([space, Space { limit: None, ..space }]),
            streams: vec![stream("KV_sessions"), stream("signals")],
            missing: Vec::new(),
        }
    }

    /// What is done to a good store, and the words that tell of it.
    type Fault = (fn(&mut StoreReport), &'static str, &'static str);

    #[test]
    fn each_fault_of_the_store_is_told_with_what_to_do() {
        let good = judge(&report(), 3);
        assert_eq!((good.len(), good[0].severity), (1, Severity::Good), "{good:?}");
        let with = |change: fn(&mut StoreReport)| {
            let mut changed = report();
            change(&mut changed);
            judge(&changed, 3).remove(0)
        };
        let faults: [Fault; 6] = [
            (|r| r.account = Err("off".to_owned()), "JetStream cannot be used", "switch it on"),
            (
                |r| r.account = Ok([Space { used: 90, limit: Some(100) }; 2]),
                "90 % of the files",
                "max_file_store",
            ),
            (
                |r| r.missing = vec![("KV_keys_agent".to_owned(), "not found".to_owned())],
                "KV_keys_agent cannot be looked at",
                "start the service",
            ),
            (|r| r.streams[0].bytes = 99, "KV_sessions is full to 99 %", "--max-bytes"),
            (|r| r.streams[0].replicas = 1, "has 1 copies", "--replicas 3"),
            (|r| r.streams[1].absent_replicas = 1, "1 copies of signals are behind", "cluster"),
        ];
        for (change, what, remedy) in faults {
            let found = with(change);
            assert_ne!(found.severity, Severity::Good);
            assert!(found.what.contains(what) && found.remedy.contains(remedy), "{found:?}");
        }
        let mut ring = report();
        ring.streams[1].bytes = 100;
        assert_eq!(judge(&ring, 3)[0].severity, Severity::Good, "the oldest signal goes");
    }
}
