//! What caveats mean. Pure: text in, limits out.
//!
//! The words are those of the macaroon bakery's checkers: `time-before <RFC 3339>`, `allow <op> …`,
//! `declared <name> <value>`. A bare RFC 3339 time is an expiry too. Every caveat can only take
//! away; one that is not understood takes everything.

use std::time::{Duration, SystemTime};

use stream_protocol::{Op, Role, SessionId};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The last second that RFC 3339 can write: 9999-12-31T23:59:59Z.
const LAST_SECOND: i64 = 253_402_300_799;

/// What is left to the bearer after all caveats.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Restrictions<'a> {
    /// What every `allow` allows; nothing without one.
    pub(crate) ops: Ops,
    /// Checked to be a session id.
    pub(crate) session: Option<&'a str>,
    pub(crate) role: Option<Role>,
    pub(crate) generation: Option<u64>,
    /// The first moment at which the token is no longer good.
    pub(crate) expires: Option<SystemTime>,
}

impl<'a> Restrictions<'a> {
    /// Reads all caveats of a token; the first that is not understood is the error.
    ///
    /// Values that contradict each other leave no operation.
    pub(crate) fn parse(caveats: impl IntoIterator<Item = &'a str>) -> Result<Self, &'a str> {
        let mut restrictions = Self::default();
        let mut allowed: Option<Ops> = None;
        let mut contradiction = false;
        for caveat in caveats {
            match Caveat::parse(caveat).ok_or(caveat)? {
                Caveat::Allow(ops) => {
                    allowed = Some(allowed.map_or(ops, |before| before.intersect(ops)));
                }
                Caveat::Generation(value) => {
                    contradiction |= declare(&mut restrictions.generation, value)
                }
                Caveat::Role(value) => contradiction |= declare(&mut restrictions.role, value),
                Caveat::Session(value) => {
                    contradiction |= declare(&mut restrictions.session, value)
                }
                Caveat::TimeBefore(end) => {
                    restrictions.expires =
                        Some(restrictions.expires.map_or(end, |before| before.min(end)));
                }
            }
        }
        if !contradiction {
            restrictions.ops = allowed.unwrap_or_default();
        }
        Ok(restrictions)
    }

    /// Returns the caveats that say the same.
    pub(crate) fn to_caveats(&self) -> Vec<String> {
        let mut caveats = vec![];
        let ops: Vec<_> = self.ops.iter().map(Op::as_str).collect();
        if !ops.is_empty() {
            caveats.push(format!("allow {}", ops.join(" ")));
        }
        let declared = |name: &str, value: String| format!("declared {name} {value}");
        caveats.extend(self.session.map(|id| declared("session", id.to_owned())));
        caveats.extend(self.role.map(|role| declared("role", role.to_string())));
        caveats.extend(self.generation.map(|count| declared("generation", count.to_string())));
        caveats.extend(self.expires.map(|end| format!("time-before {}", print_time(end))));
        caveats
    }
}

/// A set of operations.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Ops(u32);

const _: () = assert!(Op::ALL.len() <= u32::BITS as usize);

impl Ops {
    pub(crate) fn contains(self, op: Op) -> bool {
        self.0 & 1 << op as u32 != 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Op> {
        Op::ALL.iter().copied().filter(move |op| self.contains(*op))
    }

    fn intersect(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl FromIterator<Op> for Ops {
    fn from_iter<I: IntoIterator<Item = Op>>(ops: I) -> Self {
        Self(ops.into_iter().fold(0, |set, op| set | 1 << op as u32))
    }
}

/// Whether a verifier would understand `text` and every operation in it.
pub(crate) fn is_understood(text: &str) -> bool {
    let known = |ops: &str| ops.split(' ').all(|op| op.parse::<Op>().is_ok());
    match text.strip_prefix("allow") {
        Some(ops) => ops.strip_prefix(' ').is_some_and(known),
        None => Caveat::parse(text).is_some(),
    }
}

/// One caveat by itself.
enum Caveat<'a> {
    Allow(Ops),
    Generation(u64),
    Role(Role),
    Session(&'a str),
    TimeBefore(SystemTime),
}

impl<'a> Caveat<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            // An operation that is not known here is one that nobody asks for.
            "allow" => {
                Some(Self::Allow(rest.split(' ').filter_map(|op| op.parse().ok()).collect()))
            }
            "declared" => Self::parse_declared(rest),
            "time-before" => parse_time(rest).map(Self::TimeBefore),
            _ => parse_time(text).map(Self::TimeBefore),
        }
    }

    fn parse_declared(text: &'a str) -> Option<Self> {
        let (name, value) = text.split_once(' ')?;
        match name {
            "generation" => parse_number(value).map(Self::Generation),
            "role" => parse_role(value).map(Self::Role),
            "session" => SessionId::is(value).then_some(Self::Session(value)),
            _ => None,
        }
    }
}

/// Notes a declared value; returns whether another one was declared before.
fn declare<T: PartialEq>(declared: &mut Option<T>, value: T) -> bool {
    match declared {
        Some(before) => *before != value,
        None => {
            *declared = Some(value);
            false
        }
    }
}

fn parse_role(text: &str) -> Option<Role> {
    match text {
        "adb" => Some(Role::Adb),
        "control" => Some(Role::Control),
        "view" => Some(Role::View),
        _ => None,
    }
}

fn parse_number(text: &str) -> Option<u64> {
    // `parse` alone would also take a plus sign.
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn parse_time(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
}

/// Writes `moment` to the second before, within what RFC 3339 can write.
fn print_time(moment: SystemTime) -> String {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let second = i64::try_from(since.as_secs()).unwrap_or(LAST_SECOND).min(LAST_SECOND);
    OffsetDateTime::from_unix_timestamp(second)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .expect("a second between the years 1970 and 9999 can be written")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read<'a>(caveats: &[&'a str]) -> Option<Restrictions<'a>> {
        Restrictions::parse(caveats.iter().copied()).ok()
    }

    fn ops(caveats: &[&str]) -> Vec<Op> {
        read(caveats).expect("understood").ops.iter().collect()
    }

    fn at(second: u64) -> Option<SystemTime> {
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(second))
    }

    #[test]
    fn without_allow_nothing_is_allowed() {
        assert_eq!(ops(&[]), []);
        assert_eq!(ops(&["allow"]), []);
        assert_eq!(ops(&["declared role view"]), []);
    }

    #[test]
    fn several_allows_leave_what_all_of_them_allow() {
        let first = "allow session.read session.join signal.read";
        assert_eq!(ops(&[first]), [Op::SessionJoin, Op::SessionRead, Op::SignalRead]);
        assert_eq!(
            ops(&[first, "allow signal.read session.read"]),
            [Op::SessionRead, Op::SignalRead]
        );
        assert_eq!(ops(&[first, "allow ice.mint"]), []);
        assert_eq!(ops(&["allow ice.mint", first, "allow session.read"]), []);
        assert_eq!(ops(&["allow session.fly session.read"]), [Op::SessionRead]);
    }

    #[test]
    fn both_ways_of_writing_an_expiry_count_and_the_earliest_wins() {
        let documented = "2020-06-23T09:32:19+02:00";
        assert_eq!(read(&[documented]).unwrap().expires, at(1_592_897_539));
        let worded = "time-before 2020-06-23T07:32:18Z";
        assert_eq!(read(&[worded]).unwrap().expires, at(1_592_897_538));
        for caveats in [[worded, documented], [documented, worded]] {
            assert_eq!(read(&caveats).unwrap().expires, at(1_592_897_538));
        }
    }

    #[test]
    fn a_value_declared_twice_holds_and_two_values_leave_nothing() {
        let allow = "allow session.read";
        let (one, two) =
            ("declared session 0123456789abcdefghij", "declared session abcdefghij0123456789");
        assert_eq!(ops(&[allow, one, one]), [Op::SessionRead]);
        for pair in [
            [one, two],
            ["declared role view", "declared role control"],
            ["declared generation 1", "declared generation 2"],
        ] {
            assert_eq!(ops(&[allow, pair[0], pair[1]]), [], "{pair:?}");
            assert_eq!(ops(&[pair[0], allow, pair[0], pair[1], pair[0]]), [], "{pair:?}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for caveat in [
            "",
            " ",
            "allowed session.read",
            "Allow session.read",
            " allow session.read",
            "deny session.read",
            "declared",
            "declared session",
            "declared session ABCDEFGHIJKLMNOPQRST",
            "declared user alice",
            "declared role root",
            "declared role view control",
            "declared generation -1",
            "declared generation +1",
            "declared generation ",
            "declared generation 18446744073709551616",
            "time-before",
            "time-before tomorrow",
            "time-before  2020-06-23T07:32:18Z",
            "2020-06-23",
            "2020-06-23T09:32:19",
            "1592897539",
            "error",
        ] {
            assert_eq!(read(&["allow session.read", caveat]), None, "{caveat:?}");
        }
    }

    #[test]
    fn the_caveat_that_is_not_understood_is_the_one_named() {
        assert_eq!(
            Restrictions::parse(["allow session.read", "colour blue", "x"]),
            Err("colour blue")
        );
    }

    #[test]
    fn who_adds_a_caveat_may_not_mistype_an_operation() {
        assert!(
            is_understood("allow session.read signal.read") && is_understood("declared role view")
        );
        for caveat in
            ["allow", "allow ", "allow session.raed", "allow session.read  signal.read", "x"]
        {
            assert!(!is_understood(caveat), "{caveat:?}");
        }
    }

    #[test]
    fn an_expiry_that_cannot_be_written_is_brought_within_bounds() {
        let written = |expires| {
            Restrictions { expires: Some(expires), ..Restrictions::default() }.to_caveats()
        };
        let early = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(written(early), ["time-before 1970-01-01T00:00:00Z"]);
        let late = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert_eq!(written(late), ["time-before 9999-12-31T23:59:59Z"]);
    }

    proptest! {
        #[test]
        fn restrictions_survive_their_caveats(
            ops in prop::collection::btree_set(prop::sample::select(Op::ALL), 0..5),
            session in prop::option::of("[a-z0-9]{20}"),
            role in prop::option::of(prop::sample::select(&[Role::Adb, Role::Control, Role::View])),
            generation: Option<u64>,
            expires in prop::option::of(0..LAST_SECOND as u64),
        ) {
            let (ops, session) = (ops.into_iter().collect(), session.as_deref());
            let expires = expires.and_then(at);
            let restrictions = Restrictions { ops, session, role, generation, expires };
            let caveats = restrictions.to_caveats();
            prop_assert_eq!(Restrictions::parse(caveats.iter().map(String::as_str)), Ok(restrictions));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "(time-before |declared |allow )?.{0,40}") {
            let _ = read(&[&text]);
        }

        #[test]
        fn no_time_makes_the_reader_panic(
            date in "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]",
            time in "([0-9]{2}:[0-9]{2}:[0-9]{2})?[0-9:.,+Zz-]{0,12}",
        ) {
            let _ = read(&[&(date + &time)]);
        }
    }
}
