//! What became of a session, told to an operator. Pure.

use std::fmt::Write;

use stream_gateway::admin::{SessionExplanation, Step, Verdict};
use stream_protocol::{
    Cause, KeptInstance, Origin, Presence, SessionDocument, Timestamp, printable,
};

/// The longest line, in characters.
const MAX_LINE_CHARS: usize = 2000;

/// Tells the story of a session, a line for each fact: first what went wrong, where, and what to do
/// about it, then how the session stands, then what happened, as far as it is known of the last
/// hour step by step.
pub fn tell(story: &SessionExplanation) -> String {
    let SessionExplanation { id, verdict, document, agent, at, timeline } = story;
    let mut told = String::new();
    let mut line = |name: &str, words: String| {
        // Causes are in the words of many, and other versions may have written them. Writing to a
        // text cannot fail.
        let _ = writeln!(told, "{name:<11} {}", printable(&words, MAX_LINE_CHARS));
    };
    line("verdict", self::verdict(verdict));
    if !verdict.remedy.is_empty() {
        line("remedy", verdict.remedy.clone());
    }
    line("session", id.to_string());
    if let Some(document) = document {
        for (name, words) in standing_of(document, agent.as_ref(), *at) {
            line(name, words);
        }
        line(&document.created_at.to_string(), "created".to_owned());
        // A step may say more than the cause.
        let told_by_step =
            |cause: &Cause| timeline.iter().any(|step| step.text.starts_with(&cause.text));
        for Cause { at, text } in document.causes.iter().filter(|cause| !told_by_step(cause)) {
            line(&at.to_string(), text.clone());
        }
    }
    for step in timeline {
        line(&moment(step.at_ms), self::step(step));
    }
    told
}

/// What went wrong, at which hop and when, in one sentence.
fn verdict(Verdict { fault, hop, at_ms, text, .. }: &Verdict) -> String {
    match (fault, at_ms) {
        (None, _) => text.clone(),
        (Some(fault), Some(at_ms)) => format!("{fault} at {hop}, {}: {text}", moment(*at_ms)),
        (Some(fault), None) => format!("{fault} at {hop}, as it is now: {text}"),
    }
}

/// How the session stands, by name.
fn standing_of(
    document: &SessionDocument,
    agent: Option<&Presence>,
    at: Timestamp,
) -> Vec<(&'static str, String)> {
    let agent = match (&document.owner, agent) {
        (None, _) => "none has claimed it".to_owned(),
        (Some(owner), _) if document.is_over() => owner.to_string(),
        (Some(owner), None) => {
            format!("{owner}, which gives no sign of life: another one of its cluster takes over")
        }
        (Some(owner), Some(presence)) => match &presence.unavailable {
            Some(why) => format!("{owner}, which can launch nothing: {why}"),
            None if presence.draining => format!("{owner}, which is draining"),
            None => format!("{owner}, which is there"),
        },
    };
    let kept = document.kept_instance.as_ref().map(|kept| ("kept", self::kept(kept, at)));
    let lines = [
        ("status", standing(document, at)),
        ("application", document.request.app.clone()),
        ("placement", placement(document)),
        ("agent", agent),
        ("instance", instance(document)),
    ];
    lines.into_iter().chain(kept).chain([("client", client(document, at))]).collect()
}

/// Writes a moment to the millisecond.
fn moment(at_ms: u64) -> String {
    let second = Timestamp::from_unix(at_ms / 1000).to_string();
    format!("{}.{:03}Z", second.trim_end_matches('Z'), at_ms % 1000)
}

/// What happened, how long it took and how often it did, who says so and for which request.
fn step(step: &Step) -> String {
    let Step { took_ms, until, hop, unit, text, failed, count, request, .. } = step;
    let mark = if *failed { "FAILED " } else { "" };
    // What is told as words is not said again.
    let took = took_ms.map(|took| format!("{took} ms")).filter(|took| !text.ends_with(took));
    let took = took.map_or_else(String::new, |took| format!(", {took}"));
    let often = if *count > 1 { format!(", {count} times") } else { String::new() };
    let until = until.map_or_else(String::new, |until| format!(", good until {until}"));
    let request = request.as_ref().map_or_else(String::new, |id| format!(", request {id}"));
    format!("{:<8} {mark}{text}{until}{took}{often} ({unit}{request})", hop.to_string())
}

fn standing(document: &SessionDocument, now: Timestamp) -> String {
    let status = document.status.to_string();
    let status = match document.last_cause() {
        "" => status,
        cause => format!("{status}: {cause}"),
    };
    match document.deadline {
        None => status,
        Some(deadline) if deadline > now => {
            format!("{status}; it may take {} s more", deadline.secs_since(now))
        }
        Some(_) => format!("{status}; its time is up"),
    }
}

fn placement(document: &SessionDocument) -> String {
    match (document.origin, document.placement.as_str()) {
        (Origin::Ams, _) => "AMS launched the instance by itself".to_owned(),
        (Origin::Client, "") => "no agent was found yet".to_owned(),
        (Origin::Client, why) => why.to_owned(),
    }
}

fn instance(document: &SessionDocument) -> String {
    let name = document.instance_name.as_ref().map(ToString::to_string);
    match (&document.instance_id, name) {
        (Some(id), Some(name)) => {
            format!("{id}, launched as {name} in cluster {}", document.cluster)
        }
        (Some(id), None) => format!("{id} in cluster {}", document.cluster),
        (None, Some(name)) => format!("launched as {name}, AMS has not answered"),
        (None, None) => "none is launched".to_owned(),
    }
}

fn kept(kept: &KeptInstance, now: Timestamp) -> String {
    let restart = match kept.restart_until {
        None => "may bring the session back",
        Some(_) if kept.may_restart(now) => "may bring the session back for now",
        Some(_) => "brings the session back no more",
    };
    match kept.delete_at {
        Some(at) => format!("the instance {restart}, and is deleted at {at}"),
        None => format!("the instance {restart}"),
    }
}

fn client(document: &SessionDocument, now: Timestamp) -> String {
    let number = document.generation;
    let role = match document.desired.client {
        Some(client) => format!("number {number}, for {}", client.role),
        None => format!("number {number} has left, or never came"),
    };
    match &document.idle {
        Some(idle) => format!("{role}; nobody watches for {} s", now.secs_since(idle.since)),
        None => role,
    }
}

#[cfg(test)]
mod tests {
    use stream_protocol::{Hop, Status};

    use super::*;

    fn story() -> SessionExplanation {
        let (created_at, deadline) = (1000.into(), Some(1030.into()));
        let document = SessionDocument { created_at, deadline, ..SessionDocument::sample() };
        let verdict = Verdict {
            fault: Some("ams_full".to_owned()),
            hop: Hop::Launch,
            at_ms: Some(1_005_020),
            text: "AMS has no room".to_owned(),
            remedy: "end sessions".to_owned(),
        };
        SessionExplanation {
            id: document.id.clone(),
            verdict,
            document: Some(document),
            agent: None,
            at: 1010.into(),
            timeline: Vec::new(),
        }
    }

    fn document(story: &mut SessionExplanation) -> &mut SessionDocument {
        story.document.as_mut().expect("a document")
    }

    #[test]
    fn the_verdict_and_the_remedy_come_first_also_without_a_document() {
        let mut story = story();
        story.document = None;
        let expected = "verdict     ams_full at launch, 1970-01-01T00:16:45.020Z: AMS has no room\n\
                        remedy      end sessions\n\
                        session     ";
        assert!(tell(&story).starts_with(expected), "{}", tell(&story));
        story.verdict.at_ms = None;
        assert!(tell(&story).contains("at launch, as it is now: AMS"), "{}", tell(&story));
        story.verdict.fault = None;
        assert!(tell(&story).starts_with("verdict     AMS has no room\n"), "{}", tell(&story));
    }

    #[test]
    fn a_session_that_waits_for_an_agent_says_for_how_long() {
        let told = tell(&story());
        assert!(told.contains("status      created; it may take 20 s more\n"), "{told}");
        assert!(told.contains("agent       none has claimed it\n"), "{told}");
        assert!(told.contains("1970-01-01T00:16:40Z created\n"), "{told}");
    }

    #[test]
    fn what_happened_is_told_step_by_step_and_a_cause_once() {
        let mut story = story();
        document(&mut story).push_cause(1005.into(), "image missing");
        document(&mut story).push_cause(1006.into(), "an older cause");
        let (hop, unit) = (Hop::End, "agent-1".to_owned());
        let text = "image missing, says AMS".to_owned();
        let at_ms = 1_005_020;
        story.timeline.push(Step {
            at_ms,
            took_ms: Some(7),
            until: Some(1_000_000.into()),
            hop,
            unit,
            text,
            failed: true,
            count: 2,
            request: Some("r-1".to_owned()),
        });
        let told = tell(&story);
        let line = "1970-01-01T00:16:45.020Z end      FAILED image missing, says AMS, \
                    good until 1970-01-12T13:46:40Z, 7 ms, 2 times (agent-1, request r-1)\n";
        assert!(told.ends_with(line), "{told}");
        assert_eq!(told.matches("image missing").count(), 1, "{told}");
        assert!(told.contains("an older cause"), "{told}");

        let step = story.timeline.last_mut().expect("a step");
        step.text = "client 0: first frame after 7 ms".to_owned();
        let told = tell(&story);
        assert_eq!(told.matches("7 ms").count(), 1, "{told}");
    }

    #[test]
    fn a_session_whose_agent_is_silent_and_one_that_failed_say_so() {
        let mut story = story();
        document(&mut story).owner = Some("a".parse().expect("a name"));
        assert!(tell(&story).contains("agent       a, which gives no sign of life"));
        let presence = r#"{"agent":"a","region":"","cluster":"","applications":[],"capacity":1,
            "draining":true,"version":"1"}"#;
        story.agent = Some(serde_json::from_str::<Presence>(presence).expect("a presence"));
        assert!(tell(&story).contains("agent       a, which is draining\n"));
        document(&mut story).status = Status::Error;
        document(&mut story).push_cause(1005.into(), "the instance failed: no GPU");
        document(&mut story)
            .push_cause(1004.into(), "the instance failed: \u{1b}[2Jgone\u{202e}\nok");
        assert!(tell(&story).contains("the instance failed: [2Jgoneok\n"), "{}", tell(&story));
        document(&mut story).causes.pop();
        let told = tell(&story);
        assert!(told.contains("status      error: the instance failed: no GPU"), "{told}");
        assert!(told.contains("1970-01-01T00:16:45Z the instance failed: no GPU\n"), "{told}");
        let (since, restart_until) = (1005.into(), Some(1005.into()));
        let delete_at = Some(1030.into());
        document(&mut story).kept_instance = Some(KeptInstance { since, restart_until, delete_at });
        let expected = "kept        the instance brings the session back no more, and is deleted at \
                        1970-01-01T00:17:10Z\n";
        assert!(tell(&story).contains(expected), "{}", tell(&story));
    }
}
