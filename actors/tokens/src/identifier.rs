//! The identifier of a token: `1.<kid>.<id>.<kind>.<subject>`. Pure.

use std::fmt;

use stream_protocol::TokenKind;

/// Characters of a key id: 48 bits in URL-safe base64.
pub(crate) const KID_LENGTH: usize = 8;

/// Characters of a token id: 12 random bytes in URL-safe base64.
pub(crate) const ID_LENGTH: usize = 16;

const VERSION: &str = "1";

/// The longest subject: the name of an account, 64 characters, and a word before it.
const MAX_SUBJECT: usize = 80;

/// What [`is_subject`] accepts, in words.
pub(crate) const SUBJECT_RULE: &str = "a subject is 1 to 80 characters of A-Za-z0-9_.:@-";

/// Whose token it is, and which key signed it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Identifier<'a> {
    pub(crate) kid: &'a str,
    /// What the token is revoked by.
    pub(crate) id: &'a str,
    pub(crate) kind: TokenKind,
    pub(crate) subject: &'a str,
}

impl<'a> Identifier<'a> {
    /// Reads an identifier; `None` for a text that is none of ours.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        // The subject comes last since it alone may hold dots.
        let mut parts = text.splitn(5, '.');
        let mut part = || parts.next();
        let (VERSION, kid, id, kind, subject) = (part()?, part()?, part()?, part()?, part()?)
        else {
            return None;
        };
        let shaped = is_base64url(kid, KID_LENGTH) && is_base64url(id, ID_LENGTH);
        let kind = kind.parse().ok()?;
        (shaped && is_subject(subject)).then_some(Self { kid, id, kind, subject })
    }
}

impl fmt::Display for Identifier<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kid, id, kind, subject } = self;
        write!(f, "{VERSION}.{kid}.{id}.{kind}.{subject}")
    }
}

/// Returns whether `text` may be the subject of a token.
pub(crate) fn is_subject(text: &str) -> bool {
    (1..=MAX_SUBJECT).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:@-".contains(&b))
}

pub(crate) fn is_base64url(text: &str, length: usize) -> bool {
    text.len() == length
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_identifier_of_ours_is_refused() {
        for text in [
            "",
            "asdf",
            "2.abcdefgh.0123456789abcdef.ams.a",
            "1.abcdefg.0123456789abcdef.ams.a",
            "1.abcdefgh.0123456789abcde.ams.a",
            "1.abcdefgh.0123456789abcdef.root.a",
            "1.abcdefgh.0123456789abcdef.ams",
            "1.abcdefgh.0123456789abcdef.ams.",
            "1.abcdefgh.0123456789abcdef.ams.a b",
            "1.abcde+gh.0123456789abcdef.ams.a",
            " 1.abcdefgh.0123456789abcdef.ams.a",
        ] {
            assert_eq!(Identifier::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_identifier_survives_its_text(
            kid in "[A-Za-z0-9_-]{8}",
            id in "[A-Za-z0-9_-]{16}",
            kind in prop::sample::select(TokenKind::ALL),
            subject in "[A-Za-z0-9_.:@-]{1,80}",
        ) {
            let identifier = Identifier { kid: &kid, id: &id, kind, subject: &subject };
            let text = identifier.to_string();
            prop_assert_eq!(Identifier::parse(&text), Some(identifier));
        }

        #[test]
        fn no_text_has_two_readings(text in "1\\.[A-Za-z0-9_.-]{0,60}") {
            if let Some(identifier) = Identifier::parse(&text) {
                prop_assert_eq!(identifier.to_string(), text);
            }
        }
    }
}
