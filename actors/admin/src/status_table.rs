//! The status of a service, as operators read it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stream_protocol::Timestamp;

use crate::table::table;

/// The status of a service at one moment.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct StatusReport {
    /// The version of the program.
    pub version: String,
    /// The actors, in the order of their start.
    pub actors: Vec<ActorReport>,
}

/// The status of one actor.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ActorReport {
    /// The name it was started with.
    pub name: String,
    /// `running`, `backoff`, `escalated` or `stopped`.
    pub state: String,
    /// How often its state was rebuilt since the process started.
    pub restarts: u64,
    /// Its last failure, if there was one.
    pub last_failure: Option<FailureReport>,
    /// Messages queued or in work now.
    pub depth: u64,
    /// The highest depth since the process started.
    pub high_water: u64,
    /// The highest depth there may be.
    pub capacity: u64,
    /// Messages refused because the mailbox was full.
    pub refused: u64,
    /// Seconds since the state was last built.
    pub uptime: u64,
    /// Members that another version of the program reports.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// When and why an actor failed last.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct FailureReport {
    /// When it failed.
    pub at: Timestamp,
    /// Why, in one sentence.
    pub cause: String,
}

impl StatusReport {
    /// Returns the report as one JSON object, on several lines.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and strings serialize")
    }
}

impl fmt::Display for StatusReport {
    /// Writes a table with a line for each actor.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["ACTOR", "STATE", "RESTARTS", "DEPTH/MOST/LIMIT", "UPTIME", "LAST FAILURE"];
        f.write_str(&table(heads, self.actors.iter().map(ActorReport::cells)))
    }
}

impl ActorReport {
    fn cells(&self) -> [String; 6] {
        [
            self.name.clone(),
            self.state.clone(),
            self.restarts.to_string(),
            format!("{}/{}/{}", self.depth, self.high_water, self.capacity),
            span(self.uptime),
            self.last_failure.as_ref().map_or_else(|| "-".to_owned(), FailureReport::cell),
        ]
    }
}

impl FailureReport {
    fn cell(&self) -> String {
        // A cause may have several lines; a table has one for each actor.
        let cause = self.cause.split_whitespace().collect::<Vec<_>>().join(" ");
        format!("{} {cause}", moment(self.at))
    }
}

/// Returns a point in time as people read it (RFC 3339, UTC).
pub fn moment(at: impl Into<Timestamp>) -> String {
    at.into().to_string()
}

/// Returns a span of time in its two largest units.
fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m {}s", seconds % 60),
        3600..86_400 => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_a_line_and_its_columns_stand_below_each_other() {
        let healthy = ActorReport {
            name: "pki".into(),
            state: "running".into(),
            restarts: 0,
            last_failure: None,
            depth: 0,
            high_water: 3,
            capacity: 1024,
            refused: 0,
            uptime: 90_061,
            more: BTreeMap::new(),
        };
        let cause = "panic: first\nsecond".to_owned();
        let failed = ActorReport {
            name: "sessions".into(),
            state: "backoff".into(),
            restarts: 12,
            last_failure: Some(FailureReport { at: Timestamp::from_unix(0), cause }),
            uptime: 61,
            ..healthy.clone()
        };
        let report = StatusReport { version: "1".into(), actors: vec![healthy, failed] };
        let expected = [
            "ACTOR     STATE    RESTARTS  DEPTH/MOST/LIMIT  UPTIME  LAST FAILURE",
            "pki       running  0         0/3/1024          1d 1h   -",
            "sessions  backoff  12        0/3/1024          1m 1s   1970-01-01T00:00:00Z \
             panic: first second",
        ];
        assert_eq!(report.to_string(), expected.join("\n"));
    }

    #[test]
    fn spans_are_told_in_their_two_largest_units() {
        let spans = [0, 59, 60, 3599, 3600, 86_399, 86_400].map(span);
        assert_eq!(spans, ["0s", "59s", "1m 0s", "59m 59s", "1h 0m", "23h 59m", "1d 0h"]);
    }
}
