//! What caveats mean. Pure: text in, restrictions out.
//!
//! The words are those of the macaroon bakery's checkers: `time-before <RFC 3339>`, `allow <op> …`,
//! `declared <name> <value>`. A bare RFC 3339 time is an expiry too. Every caveat can only take
//! away; one that is not understood takes everything.
//!
//! A new caveat changes [`GRAMMAR`], [`Restrictions`] with its `declare` and `to_caveats`, and, if
//! the services mint it, a method of [`Mint`](crate::Mint).

use std::fmt;

use stream_protocol::{Op, Role, SessionId, Timestamp};

macro_rules! grammar {
    () => {
        "`allow OP…`, `declared session ID`, `declared role view|control|adb`, \
         `declared generation N`, `declared until SECONDS`, `time-before TIME`"
    };
}

#[doc = concat!("The caveats that are understood: ", grammar!(), ".")]
pub const GRAMMAR: &str = grammar!();

/// The last second that RFC 3339 can write: 9999-12-31T23:59:59Z.
const LAST_SECOND: Timestamp = Timestamp::from_unix(253_402_300_799);

/// What all caveats together leave to the bearer. `S` is how a session's id is held: borrowed while
/// a token is verified, which allocates nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Restrictions<S = SessionId> {
    /// What every `allow` allows; nothing without one.
    pub(crate) ops: Ops,
    /// The one session that the token opens; `None` when it is not bound to one.
    pub session: Option<S>,
    /// The one role the bearer may take; `None` when it is not bound to one.
    pub role: Option<Role>,
    /// The one generation the token is good for; `None` when it is not bound to one.
    pub generation: Option<u64>,
    /// The first moment at which the token is no longer good; `None` is never.
    pub expires: Option<Timestamp>,
    /// The first moment at which nothing is good any more that comes of the token, also when it is
    /// renewed; `None` is never.
    pub until: Option<Timestamp>,
}

impl<S> Default for Restrictions<S> {
    fn default() -> Self {
        let ops = Ops::default();
        Self { ops, session: None, role: None, generation: None, expires: None, until: None }
    }
}

impl Restrictions {
    /// Returns the restrictions with the session's id borrowed.
    pub(crate) fn borrowed(&self) -> Restrictions<&str> {
        let session = self.session.as_ref().map(SessionId::as_str);
        let Self { ops, role, generation, expires, until, .. } = *self;
        Restrictions { ops, session, role, generation, expires, until }
    }
}

impl<S> Restrictions<S> {
    /// Whether the token allows `op`.
    pub fn allows(&self, op: Op) -> bool {
        self.ops.contains(op)
    }

    /// Returns the first moment at which the token is no longer good; `None` is never.
    pub fn end(&self) -> Option<Timestamp> {
        self.expires.into_iter().chain(self.until).min()
    }
}

impl<'a> Restrictions<&'a str> {
    /// Reads all caveats of a token.
    ///
    /// Values that contradict each other leave no operation.
    ///
    /// # Errors
    ///
    /// Returns the first caveat that is not understood.
    pub(crate) fn parse(caveats: impl IntoIterator<Item = &'a str>) -> Result<Self, &'a str> {
        let mut restrictions = Self::default();
        let mut allowed: Option<Ops> = None;
        let mut contradiction = false;
        for caveat in caveats {
            let (word, rest) = caveat.split_once(' ').unwrap_or((caveat, ""));
            match word {
                "allow" => {
                    let ops = Ops::parse(rest);
                    allowed = Some(allowed.map_or(ops, |before| before.intersect(ops)));
                }
                "declared" => contradiction |= !restrictions.declare(rest).ok_or(caveat)?,
                word => {
                    let time = if word == "time-before" { rest } else { caveat };
                    let end = time.parse().map_err(|_| caveat)?;
                    let before = restrictions.expires.unwrap_or(end);
                    restrictions.expires = Some(before.min(end));
                }
            }
        }
        if !contradiction {
            restrictions.ops = allowed.unwrap_or_default();
        }
        Ok(restrictions)
    }

    /// Notes a declared name and value; returns whether it agrees with what was declared before,
    /// and `None` when it is not understood.
    fn declare(&mut self, text: &'a str) -> Option<bool> {
        let (name, value) = text.split_once(' ')?;
        Some(match name {
            "generation" => set_once(&mut self.generation, parse_number(value)?),
            "role" => set_once(&mut self.role, parse_role(value)?),
            "session" => set_once(&mut self.session, SessionId::is(value).then_some(value)?),
            "until" => {
                let end = Timestamp::from_unix(parse_number(value)?);
                self.until = Some(self.until.map_or(end, |before| before.min(end)));
                true
            }
            _ => return None,
        })
    }

    /// Returns the restrictions with a session's id of their own.
    pub(crate) fn into_owned(self) -> Restrictions {
        let Self { ops, session, role, generation, expires, until } = self;
        let session = session.map(|id| id.parse().expect("checked when it was read"));
        Restrictions { ops, session, role, generation, expires, until }
    }
}

impl<S: fmt::Display> Restrictions<S> {
    /// Returns the caveats that say the same.
    pub(crate) fn to_caveats(&self) -> Vec<String> {
        let mut caveats = vec![];
        let ops: Vec<_> = self.ops.iter().map(Op::as_str).collect();
        if !ops.is_empty() {
            caveats.push(format!("allow {}", ops.join(" ")));
        }
        caveats.extend(self.session.as_ref().map(|id| format!("declared session {id}")));
        caveats.extend(self.role.map(|role| format!("declared role {role}")));
        caveats.extend(self.generation.map(|count| format!("declared generation {count}")));
        caveats.extend(self.until.map(|end| format!("declared until {}", end.as_unix())));
        caveats.extend(self.expires.map(|end| format!("time-before {}", end.min(LAST_SECOND))));
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

    /// Reads operations with a space between. One that is not known here is one that nobody asks
    /// for.
    fn parse(text: &str) -> Self {
        text.split(' ').filter_map(|op| op.parse::<Op>().ok()).collect()
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

/// Returns whether a verifier would understand `text` and every operation in it.
pub(crate) fn is_understood(text: &str) -> bool {
    let known = |ops: &str| ops.split(' ').all(|op| op.parse::<Op>().is_ok());
    match text.strip_prefix("allow") {
        Some(ops) => ops.strip_prefix(' ').is_some_and(known),
        None => Restrictions::parse([text]).is_ok(),
    }
}

/// Sets a value that may be declared once; returns whether it agrees with an earlier one.
fn set_once<T: PartialEq>(declared: &mut Option<T>, value: T) -> bool {
    match declared {
        Some(before) => *before == value,
        None => {
            *declared = Some(value);
            true
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read<'a>(caveats: &[&'a str]) -> Option<Restrictions<&'a str>> {
        Restrictions::parse(caveats.iter().copied()).ok()
    }

    fn ops(caveats: &[&str]) -> Vec<Op> {
        read(caveats).expect("understood").ops.iter().collect()
    }

    fn at(second: u64) -> Option<Timestamp> {
        Some(Timestamp::from_unix(second))
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
        assert_eq!(ops(&["allow session.read session.read"]), [Op::SessionRead], "said twice");
        let read = read(&["allow session.read"]).expect("understood");
        assert!(read.allows(Op::SessionRead) && !read.allows(Op::SessionJoin));
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
    fn what_comes_of_a_token_ends_with_the_earliest_word() {
        let both = read(&["declared until 200", "time-before 1970-01-01T00:05:00Z"]).unwrap();
        assert_eq!((both.until, both.expires, both.end()), (at(200), at(300), at(200)));
        assert_eq!(read(&["declared until 200", "declared until 100"]).unwrap().until, at(100));
        assert_eq!(both.to_caveats()[0], "declared until 200");
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
            assert_eq!(ops(&[allow, pair[0], pair[1], pair[1]]), [], "{pair:?} and again");
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
            "declared until tomorrow",
            "declared until -1",
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
    fn the_grammar_names_every_caveat_that_is_written_and_no_other() {
        let forms: Vec<_> = GRAMMAR.split('`').skip(1).step_by(2).collect();
        for form in &forms {
            for role in ["view", "control", "adb"] {
                let caveat = form
                    .replace("OP…", "session.read")
                    .replace("ID", "0123456789abcdefghij")
                    .replace("view|control|adb", role)
                    .replace("SECONDS", "7")
                    .replace("N", "7")
                    .replace("TIME", "2030-01-01T00:00:00Z");
                assert!(is_understood(&caveat), "{caveat}");
            }
        }
        let all = Restrictions {
            ops: Ops::parse("ice.mint"),
            session: Some("0123456789abcdefghij"),
            role: Some(Role::View),
            generation: Some(7),
            expires: at(7),
            until: at(7),
        };
        assert_eq!(all.to_caveats().len(), forms.len());
    }

    #[test]
    fn an_expiry_that_cannot_be_written_is_brought_within_bounds() {
        let late = Restrictions { expires: at(1 << 40), ..Restrictions::<&str>::default() };
        assert_eq!(late.to_caveats(), ["time-before 9999-12-31T23:59:59Z"]);
    }

    proptest! {
        #[test]
        fn restrictions_survive_their_caveats(
            ops in prop::collection::btree_set(prop::sample::select(Op::ALL), 0..5),
            session in prop::option::of("[a-z0-9]{20}"),
            role in prop::option::of(prop::sample::select(&[Role::Adb, Role::Control, Role::View])),
            generation: Option<u64>,
            expires in prop::option::of(0..LAST_SECOND.as_unix()),
            until: Option<u64>,
        ) {
            let (ops, session) = (ops.into_iter().collect(), session.as_deref());
            let (expires, until) = (expires.and_then(at), until.and_then(at));
            let restrictions = Restrictions { ops, session, role, generation, expires, until };
            let caveats = restrictions.to_caveats();
            let read = Restrictions::parse(caveats.iter().map(String::as_str));
            prop_assert_eq!(read, Ok(restrictions));
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
