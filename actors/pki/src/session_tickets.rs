//! Tickets with which a returning client resumes its TLS session, under keys that can be replaced
//! while they are in use and shared by several servers.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

use crate::random::random_bytes;

/// How long a client may resume with a ticket. The keys of old connections stay in use that long.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(6 * 60 * 60);

/// The largest session that becomes a ticket, in bytes. It holds the certificates that a client has
/// shown, which are far smaller.
const MAX_SESSION: usize = 16 * 1024;

const NAME_LEN: usize = 16;

/// A key that encrypts tickets. Each ticket begins with the name of its key.
#[derive(Clone)]
pub struct TicketKey {
    name: [u8; NAME_LEN],
    key: LessSafeKey,
}

impl TicketKey {
    /// The length of a name, bytes.
    pub const NAME_LEN: usize = NAME_LEN;

    /// Makes the key called `name`, which is no secret, from 32 secret bytes.
    pub fn new(name: [u8; NAME_LEN], key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("32 bytes are a key of AES-256");
        Self { name, key: LessSafeKey::new(key) }
    }

    fn random() -> Self {
        Self::new(*random_bytes(), &random_bytes())
    }

    /// Nonces are random, which is safe for some 2^32 tickets under one key.
    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let nonce = random_bytes::<NONCE_LEN>();
        // Room for the tag as well: a vector that grows leaves a copy of the plain text behind.
        let mut text = Zeroizing::new(Vec::with_capacity(session.len() + AES_256_GCM.tag_len()));
        text.extend_from_slice(session);
        let unique = Nonce::assume_unique_for_key(*nonce);
        self.key.seal_in_place_append_tag(unique, Aad::from(&self.name), &mut *text).ok()?;
        Some([self.name.as_slice(), nonce.as_slice(), &text].concat())
    }

    fn decrypt(&self, nonce: &[u8], text: &[u8]) -> Option<Vec<u8>> {
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = Zeroizing::new(text.to_vec());
        let session = self.key.open_in_place(nonce, Aad::from(&self.name), &mut text).ok()?;
        Some(session.to_vec())
    }
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKey([redacted])")
    }
}

/// Makes and reads the session tickets of servers; every clone sees a change of keys at once.
///
/// It begins with a random key of its own, which no other process has.
#[derive(Clone, Debug)]
pub struct SessionTicketer(Arc<ArcSwap<Keys>>);

#[derive(Debug)]
struct Keys {
    /// The last one encrypts.
    shared: Vec<TicketKey>,
    own: Arc<TicketKey>,
    /// Until when tickets under the own key are valid; unlimited as long as nothing is shared.
    own_until: Option<Instant>,
}

impl Default for SessionTicketer {
    fn default() -> Self {
        let own = Arc::new(TicketKey::random());
        Self(Arc::new(ArcSwap::from_pointee(Keys { shared: Vec::new(), own, own_until: None })))
    }
}

impl SessionTicketer {
    /// Encrypts with the last of `keys` from now on, and accepts tickets of all of them. Tickets
    /// under this process's own key stay valid for [`TICKET_LIFETIME`] after the first call. Does
    /// nothing for an empty list.
    pub fn set_shared_keys(&self, keys: Vec<TicketKey>) {
        self.set_shared_keys_at(keys, Instant::now());
    }

    fn set_shared_keys_at(&self, shared: Vec<TicketKey>, now: Instant) {
        if shared.is_empty() {
            return;
        }
        self.0.rcu(|before| Keys {
            shared: shared.clone(),
            own: Arc::clone(&before.own),
            own_until: before.own_until.or(Some(now + TICKET_LIFETIME)),
        });
    }

    fn decrypt_at(&self, ticket: &[u8], now: Instant) -> Option<Vec<u8>> {
        if ticket.len() > MAX_SESSION + NAME_LEN + NONCE_LEN + AES_256_GCM.tag_len() {
            return None;
        }
        let (name, rest) = ticket.split_at_checked(NAME_LEN)?;
        let (nonce, text) = rest.split_at_checked(NONCE_LEN)?;
        let keys = self.0.load();
        let own = keys.own_until.is_none_or(|until| now < until).then_some(&*keys.own);
        let key = keys.shared.iter().chain(own).find(|key| key.name == name)?;
        key.decrypt(nonce, text)
    }
}

impl ProducesTickets for SessionTicketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        TICKET_LIFETIME.as_secs().try_into().expect("some hours are few seconds")
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        if session.len() > MAX_SESSION {
            return None;
        }
        let keys = self.0.load();
        keys.shared.last().unwrap_or(&keys.own).encrypt(session)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.decrypt_at(ticket, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(letter: u8) -> TicketKey {
        TicketKey::new([letter; NAME_LEN], &[letter; 32])
    }

    fn sharing(letters: &[u8]) -> SessionTicketer {
        let ticketer = SessionTicketer::default();
        ticketer.set_shared_keys(letters.iter().copied().map(key).collect());
        ticketer
    }

    #[test]
    fn servers_that_share_a_key_accept_each_others_tickets_and_no_other_server_does() {
        let ticket = sharing(b"a").encrypt(b"session").unwrap();
        assert_eq!(sharing(b"a").decrypt(&ticket).unwrap(), b"session");
        assert_eq!(sharing(b"b").decrypt(&ticket), None);
        assert_eq!(SessionTicketer::default().decrypt(&ticket), None);
        let same_name = SessionTicketer::default();
        same_name.set_shared_keys(vec![TicketKey::new([b'a'; NAME_LEN], &[b'b'; 32])]);
        assert_eq!(same_name.decrypt(&ticket), None);
    }

    #[test]
    fn the_newest_key_makes_tickets_and_the_others_are_still_accepted() {
        let (old, new) = (sharing(b"a"), sharing(b"ab"));
        assert!(new.decrypt(&old.encrypt(b"session").unwrap()).is_some());
        assert!(old.decrypt(&new.encrypt(b"session").unwrap()).is_none());
    }

    #[test]
    fn what_was_made_before_anything_was_shared_is_accepted_for_a_lifetime() {
        let (ticketer, now) = (SessionTicketer::default(), Instant::now());
        let ticket = ticketer.encrypt(b"session").unwrap();
        ticketer.set_shared_keys_at(vec![key(b'a')], now);
        // Other keys later do not prolong it.
        ticketer.set_shared_keys_at(vec![key(b'a'), key(b'b')], now + TICKET_LIFETIME / 2);
        let just_before = now + TICKET_LIFETIME - Duration::from_secs(1);
        assert_eq!(ticketer.decrypt_at(&ticket, just_before).unwrap(), b"session");
        assert_eq!(ticketer.decrypt_at(&ticket, now + TICKET_LIFETIME), None);
    }

    #[test]
    fn every_clone_sees_a_change_and_nothing_is_changed_to_no_key() {
        let ticketer = sharing(b"a");
        let ticket = ticketer.encrypt(b"session").unwrap();
        let clone = ticketer.clone();
        clone.set_shared_keys(Vec::new());
        assert!(ticketer.decrypt(&ticket).is_some());
        clone.set_shared_keys(vec![key(b'b')]);
        assert!(ticketer.decrypt(&ticket).is_none());
    }

    #[test]
    fn a_ticket_hides_its_session_and_never_looks_the_same() {
        let ticketer = sharing(b"a");
        let ticket = || ticketer.encrypt(b"session").unwrap();
        assert_ne!(ticket(), ticket());
        assert!(!ticket().windows(7).any(|part| part == b"session"));
        assert!(!format!("{ticketer:?}").contains("97, 97"), "{ticketer:?}");
    }

    #[test]
    fn a_session_has_a_bound_and_so_has_what_is_looked_at() {
        let ticketer = sharing(b"a");
        let largest = ticketer.encrypt(&[0; MAX_SESSION]).unwrap();
        assert!(ticketer.decrypt(&largest).is_some());
        assert_eq!(ticketer.encrypt(&[0; MAX_SESSION + 1]), None);
        let larger = key(b'a').encrypt(&[0; MAX_SESSION + 1]).unwrap();
        assert_eq!(ticketer.decrypt(&larger), None);
    }

    proptest! {
        #[test]
        fn a_ticket_opens_and_any_changed_bit_refuses(
            session: Vec<u8>,
            bit: prop::sample::Index,
        ) {
            let ticketer = sharing(b"ab");
            let mut ticket = ticketer.encrypt(&session).unwrap();
            prop_assert_eq!(&ticketer.decrypt(&ticket).unwrap(), &session);
            let bit = bit.index(ticket.len() * 8);
            ticket[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(ticketer.decrypt(&ticket), None);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let named = [&[b'a'; NAME_LEN], bytes.as_slice()].concat();
            prop_assert_eq!(sharing(b"a").decrypt(&bytes), None);
            prop_assert_eq!(sharing(b"a").decrypt(&named), None);
        }
    }
}
