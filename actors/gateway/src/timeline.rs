//! What happened to a session, hop by hop.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use stream_bridge::{Bridge, PastEntry};
use stream_protocol::{Hop, Refusal, SessionId, TimelineEntry, Timestamp};

/// Of so many units is looked at what happened to them.
const MAX_UNITS: usize = 8;

/// One step of a session's life.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Step {
    /// When it had come about: Unix time in milliseconds, by the clock of NATS.
    pub at_ms: u64,
    /// How long it took, where that is known.
    pub took_ms: Option<u64>,
    /// When what it tells of ends, such as a credential.
    pub until: Option<Timestamp>,
    pub hop: Hop,
    /// The service that tells it.
    pub unit: String,
    pub text: String,
    pub failed: bool,
    /// How often it has happened by now.
    pub count: u64,
    /// The id of the request that it came of, which lines of the log have.
    #[serde(default)]
    pub request: Option<String>,
}

/// Returns what is known of a session's life, and what happened meanwhile to the units that had to
/// do with it.
///
/// # Errors
///
/// Refuses while NATS is away.
pub(crate) async fn read_steps(
    bridge: &Bridge,
    id: &SessionId,
    is_over: bool,
) -> Result<Vec<Step>, Refusal> {
    let past = bridge.timeline(id).await?;
    let (Some(first), Some(last)) = (past.first(), past.last()) else { return Ok(Vec::new()) };
    let life = first.at_ms..=if is_over { last.at_ms } else { u64::MAX };
    let units: BTreeSet<_> = past.iter().map(|one| one.entry.unit.clone()).collect();
    let of_units = units.iter().take(MAX_UNITS).map(|unit| bridge.unit_timeline(unit));
    let of_units = try_join_all(of_units).await?.into_iter().flatten();
    let meanwhile = of_units.filter(|one| life.contains(&one.at_ms));
    let mut all: Vec<_> = past.into_iter().chain(meanwhile).collect();
    all.sort_by_key(|one| one.at_ms);
    Ok(steps(all))
}

/// Makes one step of what a unit has counted, and finds how long AMS and the boot took: each ends
/// what the one before began.
fn steps(past: Vec<PastEntry>) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for PastEntry { at_ms, entry } in past {
        let TimelineEntry { hop, unit, text, took_ms, until, failed, count, request } = entry;
        let is_known = |step: &&mut Step| {
            count > 1 && step.hop == hop && step.unit == unit && step.text == text
        };
        if let Some(step) = steps.iter_mut().find(is_known) {
            step.count = step.count.max(count);
            continue;
        }
        let begun = match hop {
            Hop::Launch => Some(Hop::Place),
            Hop::Boot => Some(Hop::Launch),
            _ => None,
        };
        let begun = steps.iter().rev().find(|step| Some(step.hop) == begun);
        let took_ms = took_ms.or_else(|| Some(at_ms.saturating_sub(begun?.at_ms)));
        steps.push(Step { at_ms, took_ms, until, hop, unit, text, failed, count, request });
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(at_ms: u64, hop: Hop, count: u64) -> PastEntry {
        PastEntry { at_ms, entry: TimelineEntry { count, ..TimelineEntry::new(hop, "text") } }
    }

    #[test]
    fn a_launch_takes_as_long_as_since_it_was_placed_and_a_boot_since_the_launch() {
        let life = [Hop::Place, Hop::Launch, Hop::Socket, Hop::Boot, Hop::End];
        let past = (10..).zip(life).map(|(at, hop)| past(at * at, hop, 1)).collect();
        let took: Vec<_> = steps(past).iter().map(|step| step.took_ms).collect();
        assert_eq!(took, [None, Some(21), None, Some(13 * 13 - 11 * 11), None]);
    }

    #[test]
    fn what_was_counted_is_one_step_where_it_came_first() {
        let counted = [1, 2, 4].into_iter().zip([5, 7, 9]);
        let past = counted.map(|(count, at)| past(at, Hop::Refusal, count)).collect();
        let steps = steps(past);
        assert_eq!(steps.iter().map(|step| (step.at_ms, step.count)).collect::<Vec<_>>(), [(5, 4)]);
    }
}
