//! How an operator reads the state of the actors.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A service at one moment.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct StatusReport {
    pub version: String,
    /// In the order they were started.
    pub actors: Vec<ActorReport>,
}

/// One actor of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ActorReport {
    pub name: String,
    /// `running`, `backoff`, `escalated` or `stopped`.
    pub state: String,
    pub restarts: u64,
    pub last_failure: Option<FailureReport>,
    /// Messages queued or in work now, the most there ever were, and how many there may be.
    pub depth: u64,
    pub high_water: u64,
    pub capacity: u64,
    /// Messages refused because there were as many.
    pub refused: u64,
    /// Seconds since the state was last built.
    pub uptime: u64,
    /// What else a service of another version tells.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct FailureReport {
    /// Unix seconds.
    pub at: u64,
    pub cause: String,
}

impl StatusReport {
    /// The report as one JSON object, on several lines.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and strings serialize")
    }
}

impl fmt::Display for StatusReport {
    /// Writes a table with a line for each actor.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["ACTOR", "STATE", "RESTARTS", "DEPTH/MOST/LIMIT", "UPTIME", "LAST FAILURE"];
        let mut lines = vec![heads.map(str::to_owned)];
        lines.extend(self.actors.iter().map(ActorReport::cells));
        let mut widths = [0; 6];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.chars().count().max(*width);
            }
        }
        for (at, line) in lines.iter().enumerate() {
            let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            let line = cells.collect::<Vec<_>>().join("  ");
            let end = if at + 1 < lines.len() { "\n" } else { "" };
            write!(f, "{}{end}", line.trim_end())?;
        }
        Ok(())
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
        // What an actor said may have several lines; a table has one for each.
        let cause = self.cause.split_whitespace().collect::<Vec<_>>().join(" ");
        format!("{} {cause}", moment(self.at))
    }
}

/// A moment in Unix seconds, as people read it.
pub fn moment(at: u64) -> String {
    let at = i64::try_from(at).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| "?".to_owned())
}

/// A span of time in its two largest units.
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
            last_failure: Some(FailureReport { at: 0, cause }),
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
