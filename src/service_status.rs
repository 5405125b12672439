//! How a service is, in the words that `systemctl status` shows.

use std::time::Duration;

use stream_supervisor::{Drain, DrainOrder};

/// What a service depends on and does not reach: its name, and why.
pub type Away = Vec<(&'static str, String)>;

/// Returns those dependencies that are away. That the service drains is not among them: it is said
/// by itself.
pub fn not_found(
    dependencies: impl IntoIterator<Item = (&'static str, Result<(), String>)>,
) -> Away {
    let others = dependencies.into_iter().filter(|(name, _)| *name != "drain");
    others.filter_map(|(name, found)| Some((name, found.err()?))).collect()
}

/// Returns one line: whether the service serves or drains, and what is away.
pub fn status_line(drain: &Drain, away: &Away) -> String {
    let state = match drain.order() {
        None => "serving".to_owned(),
        Some(DrainOrder::EndBy(_)) => {
            let left_s = drain.time_left().as_ref().map_or(0, Duration::as_secs);
            format!("draining: {} left, at most {left_s} s", drain.remaining())
        }
        Some(DrainOrder::Stay) => {
            format!("taken out: {} left, serves again once it is taken back", drain.remaining())
        }
    };
    if away.is_empty() {
        return state;
    }
    // What is away because something else is comes behind that, without saying so once more.
    let follows = |why: &str| {
        away.iter().any(|(_, other)| !other.is_empty() && why != other && why.contains(&**other))
    };
    let (consequences, causes): (Vec<_>, Vec<_>) = away.iter().partition(|(_, why)| follows(why));
    let causes = causes.iter().map(|(name, why)| format!("{name} ({why})"));
    let consequences = consequences.iter().map(|(name, _)| (*name).to_owned());
    let away: Vec<_> = causes.chain(consequences).collect();
    format!("{state}; away: {}", away.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_says_whether_the_service_serves_and_what_is_away() {
        let (drain, none) = (Drain::default(), Away::new());
        assert_eq!(status_line(&drain, &none), "serving");
        let away = vec![("nats", "connection refused".to_owned()), ("ams", "timeout".to_owned())];
        let line = status_line(&drain, &away);
        assert_eq!(line, "serving; away: nats (connection refused), ams (timeout)");
        let nats = "connection refused";
        let away = vec![("keys", format!("not read: {nats}")), ("nats", nats.to_owned())];
        let line = status_line(&drain, &away);
        assert_eq!(line, "serving; away: nats (connection refused), keys");
        drain.set_remaining(3);
        drain.begin_to_stay();
        assert!(status_line(&drain, &none).starts_with("taken out: 3 left"));
        drain.begin(Duration::from_secs(40));
        assert_eq!(status_line(&drain, &none), "draining: 3 left, at most 40 s");
    }
}
