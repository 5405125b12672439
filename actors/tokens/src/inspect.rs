//! What a token says and why it is not valid: for operators, never for the bearer. Pure.

use serde::{Deserialize, Serialize};
use stream_macaroon::Macaroon;
use stream_protocol::Timestamp;

use crate::caveats::Restrictions;
use crate::identifier::Identifier;
use crate::keyring::Keyring;
use crate::revocation_list::RevocationList;
use crate::{Service, authority};

/// What can be read in a token; what cannot is absent.
#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Inspection {
    pub location: Option<String>,
    /// The root key that signed it, as the token says.
    pub kid: Option<String>,
    /// What it is revoked by.
    pub id: Option<String>,
    pub kind: Option<String>,
    pub subject: Option<String>,
    pub caveats: Vec<String>,
    /// `None` is never.
    pub expires_at: Option<Timestamp>,
    /// Why it opens nothing; `None` for a valid token.
    pub flaw: Option<String>,
}

/// Returns what the text of a token says, without looking at its signature.
pub fn explain(text: &str) -> Inspection {
    match Macaroon::decode(text) {
        Ok(macaroon) => read(&macaroon),
        Err(error) => Inspection { flaw: Some(error.to_string()), ..Inspection::default() },
    }
}

/// Returns what the text of a token says, and whether it is valid at `now`.
pub(crate) fn inspect(
    keys: &Keyring,
    revoked: &RevocationList,
    service: Service,
    text: &str,
    now: Timestamp,
) -> Inspection {
    let Ok(macaroon) = Macaroon::decode(text) else { return explain(text) };
    let flaw = authority::verify(keys, revoked, service, &macaroon, now).err();
    Inspection { flaw: flaw.map(|flaw| flaw.to_string()), ..read(&macaroon) }
}

fn read(macaroon: &Macaroon) -> Inspection {
    let identifier = Identifier::parse(macaroon.identifier());
    let caveats = macaroon.caveats();
    let restrictions = Restrictions::parse(caveats.iter().map(String::as_str)).unwrap_or_default();
    Inspection {
        location: Some(macaroon.location().to_owned()),
        kid: identifier.map(|parts| parts.kid.to_owned()),
        id: identifier.map(|parts| parts.id.to_owned()),
        kind: identifier.map(|parts| parts.kind.to_string()),
        subject: identifier.map(|parts| parts.subject.to_owned()),
        caveats: caveats.to_vec(),
        expires_at: restrictions.end(),
        flaw: None,
    }
}

#[cfg(test)]
mod tests {
    use stream_protocol::TokenKind;

    use super::*;
    use crate::Mint;
    use crate::keyring::tests::{newest, of};

    #[test]
    fn a_token_is_told_part_by_part_and_why_it_opens_nothing() {
        let (keys, revoked) = (of(b"ab"), RevocationList::default());
        let (now, end) = (Timestamp::from_unix(100), Timestamp::from_unix(200));
        let mint = Mint::new(TokenKind::Account, "my-client").expires(end);
        let minted = authority::mint(&keys, &revoked, Service::Agent, &mint, now).unwrap();
        let told = explain(&minted.token);
        let expected = Inspection {
            location: Some("anbox-stream-agent".to_owned()),
            kid: Some(newest(&keys).kid.clone()),
            id: Some(minted.id.clone()),
            kind: Some("account".to_owned()),
            subject: Some("my-client".to_owned()),
            caveats: told.caveats.clone(),
            expires_at: Some(end),
            flaw: None,
        };
        assert_eq!(told, expected);
        assert!(told.caveats.contains(&"time-before 1970-01-01T00:03:20Z".to_owned()));

        let look = |now| inspect(&keys, &revoked, Service::Agent, &minted.token, now);
        assert_eq!(look(now), told);
        let flaw = Some("it has expired".to_owned());
        assert_eq!(look(end), Inspection { flaw, ..told });
        let nothing = inspect(&keys, &revoked, Service::Agent, "x", now);
        assert!(nothing.flaw.is_some() && nothing == explain("x"), "{nothing:?}");
    }
}
