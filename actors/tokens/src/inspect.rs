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
