//! What happened to a session, hop by hop, as units tell it for whoever looks for a cause.
//!
//! Nothing is decided by it: an entry may be missing, and a record that cannot be written is none.
//! It holds what a document holds, so no token, password or candidate.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{DesiredState, SessionDocument, Status, Timestamp};

/// What a cause begins with when AMS has accepted an instance that no node has room for: placing it
/// is part of the launch.
pub const NO_ROOM: &str = "AMS has no room for the instance";

/// The most characters of a text. What others say is part of some.
const MAX_TEXT_CHARS: usize = 400;

/// A step of a session's life, in the order in which they come first.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Hop {
    /// A gateway has stored what a client asked for.
    Create,
    /// An agent has claimed the session, after others perhaps that did not.
    Place,
    /// AMS has accepted the instance.
    Launch,
    /// The instance has said that it runs.
    Boot,
    /// A viewer waits until nobody controls the session.
    Wait,
    /// A client has joined.
    Join,
    /// A client has opened its signaling socket, or it is closed.
    Socket,
    /// The first offer of a generation has passed.
    Offer,
    /// The first answer of a generation has passed.
    Answer,
    /// The instance has said that its client is there, or has left.
    Client,
    /// A client has shown its first frame, as it says itself.
    Frame,
    /// A peer was given TURN credentials, or fresh ones are due.
    Ice,
    /// Somebody uses ADB, or does no more.
    Adb,
    /// Another agent has taken the session over, or one has handed it over.
    Owner,
    /// A unit had lost NATS, or NATS stored nothing.
    Nats,
    /// The end was ordered, has begun or is over.
    End,
    /// Somebody was turned away.
    Refusal,
    /// Something else that the document of the session tells.
    Note,
    /// One that a newer version knows.
    #[serde(other)]
    Other,
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Place => "place",
            Self::Launch => "launch",
            Self::Boot => "boot",
            Self::Wait => "wait",
            Self::Join => "join",
            Self::Socket => "socket",
            Self::Offer => "offer",
            Self::Answer => "answer",
            Self::Client => "client",
            Self::Frame => "frame",
            Self::Ice => "ice",
            Self::Adb => "adb",
            Self::Owner => "owner",
            Self::Nats => "nats",
            Self::End => "end",
            Self::Refusal => "refusal",
            Self::Note => "note",
            Self::Other => "other",
        })
    }
}

/// Something that happened. When, the log says that keeps it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TimelineEntry {
    pub hop: Hop,
    /// Who tells it; empty until it is written down.
    #[serde(default)]
    pub unit: String,
    /// What happened, as a sentence.
    pub text: String,
    /// How long it took, where whoever tells it has measured that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// When what it tells of ends, such as a credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Whether it failed, or ended the session because of a failure.
    #[serde(default, skip_serializing_if = "is_false")]
    pub failed: bool,
    /// How often it has happened by now at this unit.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub count: u64,
    /// The id of the request that it came of, by which logs can be searched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn once() -> u64 {
    1
}

fn is_once(count: &u64) -> bool {
    *count == 1
}

impl TimelineEntry {
    /// Returns an entry for something that went well; of `text` the first 400 characters are kept.
    pub fn new(hop: Hop, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if let Some((end, _)) = text.char_indices().nth(MAX_TEXT_CHARS) {
            text.truncate(end);
        }
        Self {
            hop,
            unit: String::new(),
            text,
            took_ms: None,
            until: None,
            failed: false,
            count: 1,
            request: None,
        }
    }

    /// Returns what a change of a session's document says, in the order in which it came about.
    pub fn of_change(before: &SessionDocument, after: &SessionDocument) -> Vec<Self> {
        let mut entries = Vec::new();
        let mut tell = |hop, text: String| entries.push(Self::new(hop, text));
        match (&before.owner, &after.owner) {
            (None, Some(agent)) => {
                let why = match after.placement.as_str() {
                    "" => "",
                    why => &format!(": {why}"),
                };
                tell(Hop::Place, format!("agent {agent} has claimed the session{why}"));
            }
            // With a cause it is told by that.
            (Some(from), Some(to)) if from != to && before.causes == after.causes => {
                tell(Hop::Owner, format!("agent {to} has taken the session over from {from}"));
            }
            (Some(from), None) => tell(Hop::Owner, format!("agent {from} hands the session over")),
            _ => {}
        }
        if let Some(instance) = &after.instance_id
            && before.instance_id.is_none()
        {
            tell(Hop::Launch, format!("AMS has accepted instance {instance}"));
        }
        if after.status == Status::Active && after.running_since != before.running_since {
            let words = match after.causes.last() {
                Some(cause) if before.causes.last() != Some(cause) => &cause.text,
                _ => "the instance is running",
            };
            tell(Hop::Boot, format!("{words}, on {}", screen(after)));
        }
        if after.generation > before.generation {
            let role =
                after.desired.client.map_or(String::new(), |client| format!(" to {}", client.role));
            tell(Hop::Join, format!("client {} has joined{role}", after.generation));
        }
        match (&before.idle, &after.idle) {
            (Some(_), None) if after.status == Status::Active => {
                tell(Hop::Client, format!("client {} is connected", after.generation));
            }
            (before, Some(now)) if now.left && before.as_ref().is_none_or(|idle| !idle.left) => {
                tell(Hop::Client, format!("client {} has left", now.generation));
            }
            (Some(before), Some(now)) if now.dismissed && !before.dismissed => {
                tell(Hop::Client, format!("client {} did not come", now.generation));
            }
            _ => {}
        }
        if after.ice_renewal > before.ice_renewal {
            tell(Hop::Ice, "fresh TURN credentials are there for client and instance".to_owned());
        }
        if after.adb.made > before.adb.made {
            tell(Hop::Adb, "somebody connects to ADB".to_owned());
        } else if after.adb.present.len() < before.adb.present.len() {
            tell(Hop::Adb, "a connection to ADB has ended".to_owned());
        }
        entries.extend(Self::of_end(before, after));
        entries
    }

    /// What the change says of the end of the session, or of the way back from it.
    fn of_end(before: &SessionDocument, after: &SessionDocument) -> Vec<Self> {
        let mut entries = Vec::new();
        let ordered = after.desired.state == DesiredState::Terminated
            && before.desired.state != DesiredState::Terminated;
        if ordered {
            entries.push(Self::new(Hop::End, "the end is ordered"));
        }
        // Whatever was said of why, once.
        let told = before.causes.last();
        let news = after.causes.iter().rev().take_while(|cause| Some(*cause) != told).count();
        let causes = &after.causes[after.causes.len() - news..];
        let changed = after.status != before.status;
        let ends = matches!(after.status, Status::Terminating | Status::Terminated | Status::Error);
        let failed = ends && (after.failed || after.status == Status::Error);
        let hop = |cause: &str| match ends {
            true if failed => failed_hop(before, cause),
            true => Hop::End,
            false if before.owner.is_some() && before.owner != after.owner => Hop::Owner,
            false => Hop::Note,
        };
        // That the instance runs is told by the hop.
        let booted = changed && after.status == Status::Active;
        let causes = if booted { &[] } else { causes };
        let told = |text: &String| Self { failed, ..Self::new(hop(text), text) };
        entries.extend(causes.iter().map(|cause| told(&cause.text)));
        if changed && ends && (causes.is_empty() || after.status.is_final()) {
            let text = format!("the session is {}", after.status);
            entries.push(Self { failed, ..Self::new(Hop::End, text) });
        }
        if before.kept_instance.is_some() && after.kept_instance.is_none() && after.is_over() {
            entries.push(Self::new(Hop::End, "the instance that was kept is deleted"));
        }
        entries
    }
}

/// Returns the hop that a session had not come past when it failed for `cause`.
fn failed_hop(before: &SessionDocument, cause: &str) -> Hop {
    match before.status {
        Status::Created if before.owner.is_none() => Hop::Place,
        Status::Created if before.instance_id.is_none() || cause.starts_with(NO_ROOM) => {
            Hop::Launch
        }
        Status::Created => Hop::Boot,
        _ => Hop::End,
    }
}

fn screen(document: &SessionDocument) -> String {
    let screen = document.screen();
    format!("{}x{} at {} fps", screen.width, screen.height, screen.fps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Idle, Timestamp};

    fn told(before: &SessionDocument, edit: impl FnOnce(&mut SessionDocument)) -> Vec<String> {
        let mut after = before.clone();
        edit(&mut after);
        let entries = TimelineEntry::of_change(before, &after);
        let shown = |entry: &TimelineEntry| {
            let mark = if entry.failed { "!" } else { "" };
            format!("{:?}{mark}: {}", entry.hop, entry.text)
        };
        entries.iter().map(shown).collect()
    }

    #[test]
    fn every_step_of_a_session_is_told_by_the_write_that_makes_it() {
        let created = SessionDocument::sample();
        assert_eq!(told(&created, |_| {}), [""; 0]);
        let claimed = told(&created, |document| {
            document.owner = "a".parse().ok();
            document.placement = "62 places free".to_owned();
        });
        assert_eq!(claimed, ["Place: agent a has claimed the session: 62 places free"]);
        let launched = told(&created, |document| document.instance_id = Some("i".to_owned()));
        assert_eq!(launched, ["Launch: AMS has accepted instance i"]);
        let booted = told(&created, |document| {
            document.status = Status::Active;
            document.running_since = 9.into();
            document.push_cause(9.into(), "the instance is running: up");
        });
        assert_eq!(booted, ["Boot: the instance is running: up, on 1280x720 at 60 fps"]);
        let noted = told(&created, |document| document.push_cause(9.into(), "AMS is asked again"));
        assert_eq!(noted, ["Note: AMS is asked again"]);
        let joined = told(&created, |document| document.generation += 1);
        assert_eq!(joined, ["Join: client 1 has joined to control"]);
        let moved =
            told(&SessionDocument { owner: "a".parse().ok(), ..created.clone() }, |document| {
                document.owner = "b".parse().ok()
            });
        assert_eq!(moved, ["Owner: agent b has taken the session over from a"]);
        let why = "taken over from agent a, which is draining";
        let left =
            told(&SessionDocument { owner: "a".parse().ok(), ..created.clone() }, |document| {
                document.owner = "b".parse().ok();
                document.push_cause(9.into(), why);
            });
        assert_eq!(left, [format!("Owner: {why}")]);
    }

    #[test]
    fn a_client_comes_and_goes_once() {
        let idle = |left| Idle {
            since: Timestamp::EPOCH,
            generation: 2,
            left,
            answered: false,
            dismissed: false,
        };
        let running = SessionDocument {
            status: Status::Active,
            generation: 2,
            idle: Some(idle(false)),
            ..SessionDocument::sample()
        };
        let came = told(&running, |document| document.idle = None);
        assert_eq!(came, ["Client: client 2 is connected"]);
        let there = SessionDocument { idle: None, ..running.clone() };
        let left = told(&there, |document| document.idle = Some(idle(true)));
        assert_eq!(left, ["Client: client 2 has left"]);
        let again = SessionDocument { idle: Some(idle(true)), ..running };
        assert_eq!(told(&again, |document| document.deadline = None), [""; 0]);
    }

    #[test]
    fn an_end_is_told_with_its_cause_and_a_failure_as_one() {
        let running = SessionDocument { status: Status::Active, ..SessionDocument::sample() };
        let ordered = told(&running, |document| document.desired.state = DesiredState::Terminated);
        assert_eq!(ordered, ["End: the end is ordered"]);
        let begun = told(&running, |document| {
            document.status = Status::Terminating;
            document.push_cause(7.into(), "deleted by account demo");
        });
        assert_eq!(begun, ["End: deleted by account demo"]);
        let failed = told(&running, |document| {
            document.status = Status::Error;
            document.failed = true;
            document.push_cause(7.into(), "image missing");
        });
        assert_eq!(failed, ["End!: image missing", "End!: the session is error"]);
    }

    #[test]
    fn a_failure_is_told_at_the_hop_that_the_session_had_not_come_past() {
        let fail = |before: &SessionDocument, cause: &str| {
            let fails = |document: &mut SessionDocument| {
                (document.status, document.failed) = (Status::Terminating, true);
                document.push_cause(7.into(), cause);
            };
            told(before, fails).remove(0)
        };
        let created = SessionDocument { owner: None, ..SessionDocument::sample() };
        assert_eq!(fail(&created, "nobody took it"), "Place!: nobody took it");
        let claimed = SessionDocument { owner: "a".parse().ok(), ..created };
        assert_eq!(fail(&claimed, "AMS is away"), "Launch!: AMS is away");
        let launched = SessionDocument { instance_id: Some("i".to_owned()), ..claimed };
        assert_eq!(fail(&launched, "it died"), "Boot!: it died");
        let full = format!("{NO_ROOM}: no suitable node");
        assert_eq!(fail(&launched, &full), format!("Launch!: {full}"));
        let running = SessionDocument { status: Status::Active, ..launched };
        assert_eq!(fail(&running, "it died"), "End!: it died");
    }

    #[test]
    fn a_text_is_cut_and_one_of_a_newer_version_is_read() {
        let entry = TimelineEntry::new(Hop::Join, "ü".repeat(9999));
        assert_eq!(entry.text.chars().count(), MAX_TEXT_CHARS);
        let later = r#"{"hop":"teleport","text":"t","more":1}"#;
        let read: TimelineEntry = serde_json::from_str(later).unwrap();
        assert_eq!(read, TimelineEntry::new(Hop::Other, "t"));
        assert_eq!(
            serde_json::to_string(&TimelineEntry::new(Hop::Join, "t")).unwrap(),
            r#"{"hop":"join","unit":"","text":"t"}"#
        );
    }
}
