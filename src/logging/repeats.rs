//! What is said again and again is said at once the first time, and then once a minute with how
//! often it was.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, Record};

/// How long what is said again waits to be told.
const WINDOW: Duration = Duration::from_secs(60);

/// How many lines are remembered; the oldest gives way to the next one.
const MAX_LINES: usize = 256;

/// What differs from request to request and is not what a line is about: whoever sends requests
/// would have each of them written otherwise.
const OF_A_REQUEST: [&str; 4] = ["client", "path", "request", "token"];

/// What makes a line the same as another one: its sentence, and the fields that are words, such as
/// a session or a cause. Figures may differ.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Said {
    pub(super) level: Level,
    pub(super) target: String,
    pub(super) message: String,
    pub(super) words: Vec<(String, String)>,
}

/// Gathers the fields that are words.
struct Words(Vec<(String, String)>);

impl<'kvs> VisitSource<'kvs> for Words {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let is_figure = value.to_f64().is_some() || value.to_i128().is_some();
        if !is_figure && !OF_A_REQUEST.contains(&key.as_str()) {
            self.0.push((key.to_string(), value.to_string()));
        }
        Ok(())
    }
}

impl Said {
    pub(super) fn of(record: &Record<'_>) -> Self {
        let mut words = Words(Vec::new());
        // It refuses nothing.
        let _ = record.key_values().visit(&mut words);
        Self {
            level: record.level(),
            target: record.target().to_owned(),
            message: record.args().to_string(),
            words: words.0,
        }
    }
}

/// A line that was said again, so many times.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Repeated {
    pub(super) said: Said,
    times: u64,
    within: Duration,
}

impl fmt::Display for Repeated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { times, within, .. } = self;
        let times = match times {
            1 => "once".to_owned(),
            times => format!("{times} times"),
        };
        write!(f, "repeated {times} in the last {} s", within.as_secs_f64().ceil())
    }
}

/// Since when a line counts, and how often it was said again.
struct Count {
    since: Instant,
    times: u64,
}

/// The lines of the last minute.
#[derive(Default)]
pub(super) struct Repeats(HashMap<Said, Count>);

impl Repeats {
    /// Takes a line: returns whether it is to be written now, and what is to be written before it,
    /// since it is remembered no longer.
    pub(super) fn admit(&mut self, said: Said, now: Instant) -> (bool, Vec<Repeated>) {
        if let Some(count) = self.0.get_mut(&said)
            && now.saturating_duration_since(count.since) < WINDOW
        {
            count.times += 1;
            return (false, Vec::new());
        }
        let mut gave_way = Vec::new();
        if let Some(count) = self.0.remove(&said) {
            gave_way.extend(repeated(said.clone(), &count, now));
        }
        if self.0.len() >= MAX_LINES {
            self.0.retain(|_, count| {
                count.times > 0 || now.saturating_duration_since(count.since) < WINDOW
            });
        }
        if self.0.len() >= MAX_LINES
            && let Some(oldest) = self.0.iter().min_by_key(|(_, count)| count.since)
        {
            let oldest = oldest.0.clone();
            let count = self.0.remove(&oldest);
            gave_way.extend(count.and_then(|count| repeated(oldest, &count, now)));
        }
        self.0.insert(said, Count { since: now, times: 0 });
        (true, gave_way)
    }

    /// Returns when something that was said again is to be told.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let repeated = self.0.values().filter(|count| count.times > 0);
        repeated.map(|count| count.since + WINDOW).min()
    }

    /// Returns what is due. The next of its kind is written at once.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Repeated> {
        self.take(now, |count| now.saturating_duration_since(count.since) >= WINDOW)
    }

    /// Returns all that was said again.
    pub(super) fn take_all(&mut self, now: Instant) -> Vec<Repeated> {
        self.take(now, |_| true)
    }

    fn take(&mut self, now: Instant, wanted: impl Fn(&Count) -> bool) -> Vec<Repeated> {
        let taken = self.0.extract_if(|_, count| wanted(count));
        let mut taken: Vec<_> = taken.collect();
        taken.sort_by_key(|(_, count)| count.since);
        taken.into_iter().filter_map(|(said, count)| repeated(said, &count, now)).collect()
    }
}

fn repeated(said: Said, count: &Count, now: Instant) -> Option<Repeated> {
    let within = now.saturating_duration_since(count.since);
    (count.times > 0).then_some(Repeated { said, times: count.times, within })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: &str) -> Said {
        let (target, message) = ("t".to_owned(), message.to_owned());
        Said { level: Level::Warn, target, message, words: Vec::new() }
    }

    fn told(repeated: &[Repeated]) -> Vec<String> {
        repeated.iter().map(|one| format!("{}: {one}", one.said.message)).collect()
    }

    #[test]
    fn the_first_is_written_and_the_others_are_counted() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(repeats.admit(said("a"), at(0)), (true, vec![]));
        assert_eq!(repeats.next_due(), None, "nothing is repeated");
        assert_eq!(repeats.admit(said("a"), at(1)), (false, vec![]));
        assert_eq!(repeats.admit(said("a"), at(59)), (false, vec![]));
        assert_eq!(repeats.admit(said("b"), at(2)), (true, vec![]), "another line");
        assert_eq!(repeats.next_due(), Some(at(60)));
        assert_eq!(repeats.take_due(at(59)), []);
        assert_eq!(told(&repeats.take_due(at(60))), ["a: repeated 2 times in the last 60 s"]);
        assert_eq!(repeats.take_due(at(1000)), [], "told once");
        assert_eq!(repeats.admit(said("a"), at(1000)), (true, vec![]), "at once again");
    }

    #[test]
    fn what_comes_late_is_told_before_the_next_one_and_at_the_end() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        repeats.admit(said("a"), at(0));
        repeats.admit(said("a"), at(1));
        // Whoever tells it has not come to do so yet.
        let (first, before) = repeats.admit(said("a"), at(70));
        assert!(first);
        assert_eq!(told(&before), ["a: repeated once in the last 70 s"]);
        repeats.admit(said("a"), at(71));
        assert_eq!(told(&repeats.take_all(at(72))), ["a: repeated once in the last 2 s"]);
        assert_eq!(repeats.take_all(at(72)), []);
    }

    #[test]
    fn lines_of_another_level_place_or_session_are_others() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        let words = vec![("session".to_owned(), "s".to_owned())];
        for line in [
            said("a"),
            Said { level: Level::Info, ..said("a") },
            Said { target: "u".to_owned(), ..said("a") },
            Said { words, ..said("a") },
        ] {
            assert!(repeats.admit(line, now).0);
        }
    }

    #[test]
    fn fields_that_are_words_tell_lines_apart_and_figures_and_clients_do_not() {
        let of = |fields: &[(&str, Value<'_>)]| {
            Said::of(&Record::builder().key_values(&fields).args(format_args!("a")).build())
        };
        let usual = of(&[("cause", Value::from("x")), ("count", Value::from(1))]);
        let more = [("client", Value::from("192.0.2.1")), ("request", Value::from("r"))];
        let other = [("cause", Value::from("x")), ("count", Value::from(2)), more[0].clone()];
        assert_eq!(of(&other), usual);
        assert_eq!(of(&more), of(&[]));
        assert_ne!(of(&[("cause", Value::from("y")), ("count", Value::from(1))]), usual);
    }

    #[test]
    fn their_number_is_bounded_and_nothing_that_was_counted_is_lost() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let (mut written, mut counted) = (0, 0);
        let total = 5 * MAX_LINES;
        for number in 0..total {
            let now = start + Duration::from_millis(number as u64);
            for _ in 0..2 {
                let (first, before) = repeats.admit(said(&number.to_string()), now);
                written += usize::from(first);
                counted += before.iter().map(|one| one.times).sum::<u64>();
            }
            assert!(repeats.0.len() <= MAX_LINES);
        }
        let rest = repeats.take_all(start + WINDOW);
        counted += rest.iter().map(|one| one.times).sum::<u64>();
        assert_eq!((written, counted), (total, total as u64));
    }
}
