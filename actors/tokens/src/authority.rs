//! What the authority decides. Pure but for the randomness of a fresh token's id.

use stream_macaroon::Macaroon;
use stream_pki::random_text;
use stream_protocol::{Op, SessionId, Timestamp, TokenKind};
use zeroize::Zeroizing;

use crate::caveats::Restrictions;
use crate::identifier::{ID_LENGTH, Identifier, SUBJECT_RULE, is_base64url, is_subject};
use crate::keyring::Keyring;
use crate::revocation_list::RevocationList;
use crate::{Claims, Mint, Minted, Service, TokensError};

/// Makes a token as `mint` says, signed with the key that is in force at `now`.
pub(crate) fn mint(
    keys: &Keyring,
    revoked: &RevocationList,
    service: Service,
    mint: &Mint,
    now: Timestamp,
) -> Result<Minted, TokensError> {
    mint_with_id(keys, revoked, service, &random_text(ID_LENGTH), mint, now)
}

/// Makes a token with the id of an earlier one.
pub(crate) fn mint_with_id(
    keys: &Keyring,
    revoked: &RevocationList,
    service: Service,
    id: &str,
    mint: &Mint,
    now: Timestamp,
) -> Result<Minted, TokensError> {
    if !is_base64url(id, ID_LENGTH) {
        return Err(TokensError::Unmintable("an id is 16 characters of URL-safe base64"));
    }
    if !is_subject(&mint.subject) {
        return Err(TokensError::Unmintable(SUBJECT_RULE));
    }
    // A token of these kinds that is bound to no session must not exist: its holder could bind it
    // to any.
    if !opens_all_sessions(mint.kind) && mint.restrictions.session.is_none() {
        return Err(TokensError::Unmintable("one of this kind is bound to a session"));
    }
    let restrictions = mint.restrictions.borrowed();
    sign(keys, revoked, service, (id, mint.kind, &mint.subject), &restrictions, now)
}

/// Makes a token that allows what the one of `claims` does, but until `expires`; with its id, so
/// that what revokes one revokes both.
pub(crate) fn renew(
    keys: &Keyring,
    revoked: &RevocationList,
    service: Service,
    claims: &Claims,
    expires: Timestamp,
    now: Timestamp,
) -> Result<Minted, TokensError> {
    let Claims { id, kind, subject, restrictions } = claims;
    let expires = restrictions.until.map_or(expires, |until| until.min(expires));
    let restrictions = Restrictions { expires: Some(expires), ..restrictions.borrowed() };
    sign(keys, revoked, service, (id, *kind, subject), &restrictions, now)
}

fn sign(
    keys: &Keyring,
    revoked: &RevocationList,
    service: Service,
    (id, kind, subject): (&str, TokenKind, &str),
    restrictions: &Restrictions<&str>,
    now: Timestamp,
) -> Result<Minted, TokensError> {
    let key = keys.active(now);
    let identifier = Identifier { kid: &key.kid, id, kind, subject };
    if revoked.covers(&identifier, restrictions.session) {
        return Err(TokensError::Unmintable("what it is for is revoked"));
    }
    let mut macaroon = Macaroon::new(key.signer(), service.location(), &identifier.to_string());
    for caveat in restrictions.to_caveats() {
        macaroon.add_first_party(&caveat);
    }
    Ok(Minted { token: Zeroizing::new(macaroon.encode()), id: id.to_owned() })
}

/// Why a token is not valid. The bearer never learns it.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum InvalidToken<'a> {
    #[error("it is for {0:?}, not for this service")]
    Location(&'a str),
    #[error("its identifier is none of ours")]
    Identifier,
    #[error("the key {0} is not here, or was retired")]
    UnknownKey(&'a str),
    #[error("its signature is wrong")]
    Signature,
    #[error("the caveat {0:?} is not understood")]
    Caveat(&'a str),
    #[error("it has expired")]
    Expired,
    #[error("it is revoked")]
    Revoked,
}

/// Checks that `macaroon` is a token of this service, signed by one of `keys`, not revoked, and
/// good at `now`. Allocates nothing.
pub(crate) fn verify<'a>(
    keys: &Keyring,
    revoked: &RevocationList,
    service: Service,
    macaroon: &'a Macaroon,
    now: Timestamp,
) -> Result<Verified<'a>, InvalidToken<'a>> {
    // The signature does not cover the location, and the keys of the services differ anyway: this
    // check only names the mistake of a token that was sent to the wrong service.
    if macaroon.location() != service.location() {
        return Err(InvalidToken::Location(macaroon.location()));
    }
    let identifier = Identifier::parse(macaroon.identifier()).ok_or(InvalidToken::Identifier)?;
    let key = keys.find(identifier.kid).ok_or(InvalidToken::UnknownKey(identifier.kid))?;
    macaroon.verify(key.signer()).map_err(|_| InvalidToken::Signature)?;

    let caveats = macaroon.caveats().iter().map(String::as_str);
    let restrictions = Restrictions::parse(caveats).map_err(InvalidToken::Caveat)?;
    if restrictions.end().is_some_and(|end| now >= end) {
        return Err(InvalidToken::Expired);
    }
    if revoked.covers(&identifier, restrictions.session) {
        return Err(InvalidToken::Revoked);
    }
    Ok(Verified { identifier, restrictions })
}

/// A token that is valid; `authorize` says for what.
#[derive(Debug)]
pub(crate) struct Verified<'a> {
    identifier: Identifier<'a>,
    restrictions: Restrictions<&'a str>,
}

impl Verified<'_> {
    /// Returns the claims of the token, if it allows `op`, on `session` if one is given.
    pub(crate) fn authorize(
        &self,
        op: Op,
        session: Option<&SessionId>,
    ) -> Result<Claims, TokensError> {
        let Self { identifier: Identifier { id, kind, subject, .. }, restrictions } = *self;
        let here = match (restrictions.session, session) {
            (Some(bound), Some(asked)) => bound == asked.as_str(),
            (Some(_), None) => false,
            (None, Some(_)) => opens_all_sessions(kind),
            (None, None) => true,
        };
        if !here || !restrictions.ops.contains(op) {
            return Err(TokensError::Forbidden);
        }
        let restrictions = restrictions.into_owned();
        Ok(Claims { id: id.to_owned(), kind, subject: subject.to_owned(), restrictions })
    }
}

/// Returns whether a token of this kind that is bound to no session opens all of them.
fn opens_all_sessions(kind: TokenKind) -> bool {
    match kind {
        TokenKind::Account | TokenKind::Ams | TokenKind::Monitor | TokenKind::Operator => true,
        TokenKind::Instance | TokenKind::Share | TokenKind::Socket => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stream_macaroon::Key;
    use stream_protocol::Role;

    use super::*;
    use crate::keyring::tests::{newest, of};
    use crate::revocation_list::{self, Revocation};

    const HERE: &str = "0123456789abcdefghij";
    const ELSEWHERE: &str = "abcdefghij0123456789";

    fn session(text: &str) -> SessionId {
        text.parse().expect("a session id")
    }

    fn moment(second: u64) -> Timestamp {
        Timestamp::from_unix(second)
    }

    fn account() -> Mint {
        Mint::new(TokenKind::Account, "my-client")
    }

    fn instance() -> Mint {
        Mint::new(TokenKind::Instance, HERE).session(session(HERE))
    }

    fn socket() -> Mint {
        let mint = Mint::new(TokenKind::Socket, HERE).session(session(HERE));
        mint.role(Role::View).generation(7).expires(moment(1000))
    }

    fn mint(keys: &Keyring, order: &Mint) -> Result<Minted, TokensError> {
        super::mint(keys, &RevocationList::default(), Service::Agent, order, Timestamp::now())
    }

    fn verify<'a>(
        keys: &Keyring,
        macaroon: &'a Macaroon,
        now: Timestamp,
    ) -> Result<Verified<'a>, InvalidToken<'a>> {
        super::verify(keys, &RevocationList::default(), Service::Agent, macaroon, now)
    }

    fn made(keys: &Keyring, order: &Mint) -> Macaroon {
        let minted = mint(keys, order).expect("minted");
        Macaroon::decode(&minted.token).expect("a macaroon")
    }

    fn ask(
        macaroon: &Macaroon,
        now: Timestamp,
        op: Op,
        asked: Option<&str>,
    ) -> Result<Claims, TokensError> {
        let asked = asked.map(session);
        let keys = of(b"ab");
        let verified = verify(&keys, macaroon, now).map_err(|_| TokensError::Invalid)?;
        verified.authorize(op, asked.as_ref())
    }

    #[test]
    fn a_fresh_token_says_what_was_wished() {
        let keys = of(b"ab");
        let order = socket();
        let minted = mint(&keys, &order).unwrap();
        assert_eq!(minted.id.len(), ID_LENGTH);
        assert!(!format!("{minted:?}").contains(minted.token.as_str()));

        let macaroon = Macaroon::decode(&minted.token).unwrap();
        assert_eq!(macaroon.location(), "anbox-stream-agent");
        assert_eq!(
            macaroon.caveats(),
            [
                "allow signal.read signal.write",
                "declared session 0123456789abcdefghij",
                "declared role view",
                "declared generation 7",
                "time-before 1970-01-01T00:16:40Z",
            ]
        );
        let claims = ask(&macaroon, moment(0), Op::SignalWrite, Some(HERE)).unwrap();
        let Mint { kind, subject, restrictions } = order;
        let wished = Claims { id: minted.id, kind, subject, restrictions };
        assert_eq!(claims, wished);
    }

    #[test]
    fn a_renewed_token_gains_time_and_nothing_else_and_is_revoked_with_the_first() {
        let keys = of(b"ab");
        let order = socket();
        let mut narrowed = made(&keys, &order);
        narrowed.add_first_party("allow signal.write");
        let before = ask(&narrowed, moment(999), Op::SignalWrite, Some(HERE)).unwrap();
        let again = |revoked: &RevocationList| {
            renew(&keys, revoked, Service::Agent, &before, moment(2000), moment(999))
        };
        let renewed = again(&RevocationList::default()).unwrap();
        assert_eq!(renewed.id, before.id);
        let renewed = Macaroon::decode(&renewed.token).unwrap();
        let after = ask(&renewed, moment(1999), Op::SignalWrite, Some(HERE)).unwrap();
        let restrictions =
            Restrictions { expires: Some(moment(2000)), ..before.restrictions.clone() };
        assert_eq!(after, Claims { restrictions, ..before.clone() });
        let mut ending = before.clone();
        ending.restrictions.until = Some(moment(1500));
        let list = RevocationList::default();
        let renewed = renew(&keys, &list, Service::Agent, &ending, moment(2000), moment(999));
        let renewed = Macaroon::decode(&renewed.unwrap().token).unwrap();
        assert!(ask(&renewed, moment(1499), Op::SignalWrite, Some(HERE)).is_ok());
        let late = ask(&renewed, moment(1500), Op::SignalWrite, Some(HERE));
        assert!(late.is_err(), "it outlives what it came from");
        let gained = ask(&renewed, moment(999), Op::SignalRead, Some(HERE));
        assert!(matches!(gained, Err(TokensError::Forbidden)), "{gained:?}");

        for revocation in [Revocation::Token(before.id.clone()), Revocation::Session(session(HERE))]
        {
            let refused = again(&revocation_list::tests::of(&[revocation]));
            assert!(matches!(refused, Err(TokensError::Unmintable(_))), "{refused:?}");
        }
    }

    #[test]
    fn what_is_minted_again_has_the_id_it_is_given() {
        let keys = of(b"ab");
        let again = |id: &str| {
            let revoked = RevocationList::default();
            mint_with_id(&keys, &revoked, Service::Agent, id, &instance(), Timestamp::now())
        };
        assert_eq!(again("0123456789abcdef").unwrap().id, "0123456789abcdef");
        for id in ["", "short", "0123456789abcde."] {
            assert!(matches!(again(id), Err(TokensError::Unmintable(_))), "{id}");
        }
    }

    #[test]
    fn an_instance_opens_exactly_its_session_and_its_operations_and_never_expires() {
        let macaroon = made(&of(b"ab"), &instance());
        assert!(!macaroon.caveats().iter().any(|caveat| caveat.contains("time-before")));
        for &op in Op::ALL {
            let late = moment(1 << 40);
            let opened = ask(&macaroon, late, op, Some(HERE));
            assert_eq!(opened.is_ok(), TokenKind::Instance.ops().contains(&op), "{op}");
            for asked in [Some(ELSEWHERE), None] {
                let refused = ask(&macaroon, late, op, asked);
                assert!(matches!(refused, Err(TokensError::Forbidden)), "{op} {asked:?}");
            }
        }
    }

    #[test]
    fn an_account_opens_all_sessions_until_it_is_bound_to_one() {
        let mut macaroon = made(&of(b"ab"), &account());
        for asked in [Some(HERE), Some(ELSEWHERE), None] {
            assert!(ask(&macaroon, moment(0), Op::SessionRead, asked).is_ok(), "{asked:?}");
        }
        macaroon.add_first_party("declared session 0123456789abcdefghij");
        assert!(ask(&macaroon, moment(0), Op::SessionRead, Some(HERE)).is_ok());
        for asked in [Some(ELSEWHERE), None] {
            let refused = ask(&macaroon, moment(0), Op::SessionRead, asked);
            assert!(matches!(refused, Err(TokensError::Forbidden)), "{asked:?}");
        }
    }

    #[test]
    fn an_instance_bound_to_no_session_would_open_none() {
        let keys = of(b"ab");
        let kid = &newest(&keys).kid;
        let identifier = format!("1.{kid}.0123456789abcdef.instance.{HERE}");
        let mut macaroon = Macaroon::new(newest(&keys).signer(), "anbox-stream-agent", &identifier);
        macaroon.add_first_party("allow session.read");
        let refused = ask(&macaroon, moment(0), Op::SessionRead, Some(HERE));
        assert!(matches!(refused, Err(TokensError::Forbidden)), "{refused:?}");
    }

    #[test]
    fn a_token_ends_at_its_expiry_to_the_second() {
        let order = account().expires(moment(1000));
        let macaroon = made(&of(b"ab"), &order);
        assert!(ask(&macaroon, moment(999), Op::SessionRead, None).is_ok());
        let expired = ask(&macaroon, moment(1000), Op::SessionRead, None);
        assert!(matches!(expired, Err(TokensError::Invalid)));
    }

    #[test]
    fn old_keys_verify_until_they_are_gone() {
        let old = made(&of(b"a"), &account());
        assert!(ask(&old, moment(0), Op::SessionRead, None).is_ok());
        let keys = of(b"bc");
        let refused = verify(&keys, &old, moment(0));
        assert!(matches!(refused, Err(InvalidToken::UnknownKey(_))), "{refused:?}");
    }

    #[test]
    fn a_token_that_is_not_ours_is_invalid() {
        let keys = of(b"ab");
        let genuine = made(&keys, &account());
        let signed = |key: &Key, location: &str, identifier: &str| {
            let mut macaroon = Macaroon::new(key, location, identifier);
            macaroon.add_first_party("allow session.read");
            macaroon
        };
        let (key, ours) = (newest(&keys).signer(), genuine.identifier());
        assert!(
            ask(&signed(key, "anbox-stream-agent", ours), moment(0), Op::SessionRead, None).is_ok()
        );
        let stranger = ours.replacen(&newest(&keys).kid, "unknown_", 1);
        for (foreign, flaw) in [
            (signed(&Key::derive(b"x"), "anbox-stream-agent", ours), InvalidToken::Signature),
            (
                signed(key, "anbox-stream-gateway", ours),
                InvalidToken::Location("anbox-stream-gateway"),
            ),
            (signed(key, "", ours), InvalidToken::Location("")),
            (signed(key, "anbox-stream-agent", "asdf"), InvalidToken::Identifier),
            (signed(key, "anbox-stream-agent", &stranger), InvalidToken::UnknownKey("unknown_")),
        ] {
            assert_eq!(verify(&keys, &foreign, moment(0)).unwrap_err(), flaw);
        }
        let mut strange = genuine;
        strange.add_first_party("colour blue");
        let refused = verify(&keys, &strange, moment(0));
        assert_eq!(refused.unwrap_err(), InvalidToken::Caveat("colour blue"));
    }

    #[test]
    fn what_is_revoked_is_refused_with_all_that_is_derived_from_it() {
        let keys = of(b"ab");
        let minted = mint(&keys, &account()).unwrap();
        let original = Macaroon::decode(&minted.token).unwrap();
        let mut derived = original.clone();
        derived.add_first_party("allow session.read");
        let by_id = revocation_list::tests::of(&[Revocation::Token(minted.id)]);
        let by_name = revocation_list::tests::of(&[Revocation::Account("my-client".into())]);
        for revoked in [&by_id, &by_name] {
            for token in [&original, &derived] {
                let refused = super::verify(&keys, revoked, Service::Agent, token, moment(0));
                assert_eq!(refused.unwrap_err(), InvalidToken::Revoked);
            }
        }
        let fresh = |revoked| super::mint(&keys, revoked, Service::Agent, &account(), moment(0));
        assert!(fresh(&by_id).is_ok());
        assert!(matches!(fresh(&by_name), Err(TokensError::Unmintable(_))));

        let bound = made(&keys, &instance());
        let ended = revocation_list::tests::of(&[Revocation::Session(session(HERE))]);
        let refused = super::verify(&keys, &ended, Service::Agent, &bound, moment(0));
        assert_eq!(refused.unwrap_err(), InvalidToken::Revoked);
        assert!(super::verify(&keys, &ended, Service::Agent, &original, moment(0)).is_ok());
    }

    #[test]
    fn a_judgement_allocates_nothing() {
        let keys = of(b"ab");
        let order = instance().expires(moment(1000)).role(Role::View);
        let macaroon = made(&keys, &order);
        let revoked = revocation_list::tests::of(&[Revocation::Session(session(ELSEWHERE))]);
        let judged =
            || super::verify(&keys, &revoked, Service::Agent, &macaroon, moment(0)).is_ok();
        // The key is derived once.
        assert!(judged());
        let counted = allocation_counter::measure(|| assert!(judged()));
        assert_eq!(counted.count_total, 0);
    }

    #[test]
    fn what_cannot_be_a_token_is_not_minted() {
        for order in [
            Mint::new(TokenKind::Account, ""),
            Mint::new(TokenKind::Account, "a b"),
            Mint::new(TokenKind::Account, "a".repeat(81)),
            instance().session(None),
            Mint::new(TokenKind::Socket, HERE),
        ] {
            let refused = mint(&of(b"ab"), &order);
            assert!(matches!(refused, Err(TokensError::Unmintable(_))), "{order:?}");
        }
        let longest = Mint::new(TokenKind::Account, "a".repeat(80));
        assert!(mint(&of(b"ab"), &longest).is_ok(), "as the refusal says: {SUBJECT_RULE}");
    }

    /// Caveats that mean something, that nearly do, and any.
    fn any_caveat() -> impl Strategy<Value = String> {
        let ops = prop::collection::vec(prop::sample::select(Op::ALL), 0..6);
        prop_oneof![
            ops.prop_map(|ops| {
                ops.iter().fold("allow".to_owned(), |text, op| format!("{text} {op}"))
            }),
            prop::sample::select(&[HERE, ELSEWHERE])
                .prop_map(|id| format!("declared session {id}")),
            "declared (role (view|control|adb)|generation [0-3])",
            "(time-before )?1970-01-01T00:00:0[0-9]Z",
            ".{0,30}",
        ]
    }

    fn any_mint() -> impl Strategy<Value = Mint> {
        let bound = prop::sample::select(&[HERE, ELSEWHERE]).prop_map(session);
        (
            prop::sample::select(TokenKind::ALL),
            prop::option::of(bound),
            prop::option::of(prop::sample::select(&[Role::Adb, Role::Control, Role::View])),
            prop::option::of(0..4u64),
            prop::option::of((0..10u64).prop_map(moment)),
        )
            .prop_map(|(kind, session, role, generation, expires)| {
                let mint = Mint::new(kind, "my-client").session(session).role(role);
                mint.generation(generation).expires(expires)
            })
            .prop_filter("cannot be minted", |order| {
                opens_all_sessions(order.kind) || order.restrictions.session.is_some()
            })
    }

    proptest! {
        #[test]
        fn attenuation_never_gains_a_right(
            order in any_mint(),
            caveats in prop::collection::vec(any_caveat(), 0..6),
            now in (0..12u64).prop_map(moment),
            op in prop::sample::select(Op::ALL),
            asked in prop::sample::select(&[None, Some(HERE), Some(ELSEWHERE)]),
        ) {
            let original = made(&of(b"ab"), &order);
            let mut narrowed = original.clone();
            for caveat in &caveats {
                narrowed.add_first_party(caveat);
            }
            let narrowed = Macaroon::decode(&narrowed.encode()).expect("a macaroon");
            if let Ok(after) = ask(&narrowed, now, op, asked) {
                let before = ask(&original, now, op, asked);
                prop_assert!(before.is_ok(), "{order:?} {caveats:?}");
                let before = before.unwrap();
                let (less, more) = (&after.restrictions, &before.restrictions);
                prop_assert!(more.session.is_none() || more.session == less.session);
                prop_assert!(more.role.is_none() || more.role == less.role);
                prop_assert!(more.generation.is_none() || more.generation == less.generation);
                prop_assert!(more.expires.is_none() || less.expires <= more.expires);
                prop_assert_eq!((before.id, before.kind), (after.id, after.kind));
            }
        }

        #[test]
        fn a_token_allows_what_its_kind_does_and_no_more(
            order in any_mint(),
            op in prop::sample::select(Op::ALL),
        ) {
            let order = order.expires(None);
            let asked = order.restrictions.session.as_ref().map(SessionId::as_str);
            let opened = ask(&made(&of(b"ab"), &order), moment(0), op, asked).is_ok();
            prop_assert_eq!(opened, order.kind.ops().contains(&op));
        }
    }
}
