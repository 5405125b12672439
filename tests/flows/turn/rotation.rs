//! A new secret without a refused client.

use std::cell::RefCell;
use std::future::Future;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::try_join_all;
use stream_protocol::{IceServer, SessionId};
use stream_turn::{Credential, Peer, Rotation, Signer, Turn, TurnError, probe_relay};

use super::relays::{POOL, Relays, can_relay, credential, now, refusals};
use crate::support::{STEP_TIMEOUT, eventually, run_flow};

/// Sessions that must be served before a step counts.
const SOME: usize = 10;

/// New sessions that come one after the other, each with an allocation on every relay.
struct NewSessions<'a> {
    turn: &'a Turn,
    relays: usize,
    /// Who had one.
    users: RefCell<Vec<String>>,
}

impl NewSessions<'_> {
    /// Goes on until `work` is done; fails when one is refused.
    async fn during(&self, work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
        tokio::select! {
            done = work => done,
            Err::<(), _>(error) = self.come() => Err(error),
        }
    }

    async fn come(&self) -> anyhow::Result<()> {
        // Sessions come from many places: no two of them from one address, nor any from that of our
        // probes. A relay keeps a released allocation for a second, and refuses who comes upon its
        // address and port meanwhile (437), whatever the credential.
        let mut address = u32::from(Ipv4Addr::new(127, 1, 0, 0));
        loop {
            let servers = self.turn.issue(&SessionId::random(), Peer::Client, "").await?;
            anyhow::ensure!(servers.len() == self.relays, "a relay is missing");
            address += 1;
            for server in &servers {
                let (username, password) = credential(server)?;
                let credential = Credential { username, password };
                let from = Ipv4Addr::from_bits(address);
                probe_relay(&server.urls[0], &credential, from.into(), STEP_TIMEOUT).await?;
            }
            self.users.borrow_mut().push(credential(&servers[0])?.0);
            // A steady stream, not a flood.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Returns once some more have been served.
    async fn some_more(&self) -> anyhow::Result<()> {
        let before = self.users.borrow().len();
        let served = async || Ok((self.users.borrow().len() >= before + SOME).then_some(()));
        eventually("served", served).await
    }
}

/// Whether the credential of the first server was made with `signer`.
fn is_signed_by(
    signer: &Signer,
    session: &SessionId,
    servers: &[IceServer],
) -> anyhow::Result<bool> {
    let (username, password) = credential(&servers[0])?;
    let expiry = username.split(':').next().context("an expiry")?.parse::<u64>()?;
    Ok(signer.session(session, Peer::Client, expiry).password == password)
}

#[test]
fn a_new_secret_takes_over_without_a_refused_session() {
    run_flow(async || {
        let mut bench = Relays::start(3, 10).await?;
        let (turn, relays) = (bench.turn.clone(), &bench.relays);
        let (old, session) = (Signer::new(&bench.secret), SessionId::random());
        let sessions = NewSessions { turn: &turn, relays: 3, users: RefCell::default() };
        let mut new = String::new();
        let rotated = async {
            sessions.some_more().await?;
            // Nobody has it yet: nothing changes.
            let Rotation::Waiting { secret, refusals } = turn.rotate(POOL).await? else {
                anyhow::bail!("an unknown secret was accepted");
            };
            assert_eq!(refusals.len(), 3, "{refusals:?}");
            relays[0].add_secret(secret.reveal())?;
            relays[1].add_secret(secret.reveal())?;
            let Rotation::Waiting { secret: same, refusals } = turn.rotate(POOL).await? else {
                anyhow::bail!("one relay does not have it");
            };
            assert_eq!(same.reveal(), secret.reveal());
            let named: Vec<_> = refusals.iter().map(|refusal| refusal.server.as_str()).collect();
            assert_eq!(named, [relays[2].url()]);
            let servers = turn.issue(&session, Peer::Client, "").await?;
            assert!(is_signed_by(&old, &session, &servers)?, "not proven on all relays");
            sessions.some_more().await?;

            relays[2].add_secret(secret.reveal())?;
            let rotation = turn.rotate(POOL).await?;
            assert!(matches!(rotation, Rotation::Switched { .. }), "{rotation:?}");
            new = secret.reveal().to_owned();
            sessions.some_more().await
        };
        sessions.during(rotated).await?;
        let users = sessions.users.take();
        for relay in relays {
            let log = relay.log()?;
            // Ours are there to be refused, until the new secret is there.
            let proof = |line: &&str| line.contains(":probe>");
            let refusals = refusals(&log).into_iter().filter(|line| !proof(line));
            assert_eq!(refusals.collect::<Vec<_>>(), Vec::<&str>::new());
            let refused = |user: &&String| {
                !log.contains(&format!("<{user}>: incoming packet ALLOCATE processed, success"))
            };
            assert_eq!(users.iter().find(refused), None, "a session without an allocation");
        }
        let signer = Signer::new(&new);
        let servers = turn.issue(&session, Peer::Client, "").await?;
        assert!(is_signed_by(&signer, &session, &servers)?, "proven on all relays");

        assert!(matches!(turn.rotate(POOL).await, Err(TurnError::Refused(_))), "two are live");
        assert!(matches!(turn.retire(POOL).await, Err(TurnError::Refused(_))), "too early");
        if std::env::var_os("STREAM_TEST_LONG").is_some() {
            // The life of a credential, and the time in which other agents hear of a new secret.
            tokio::time::sleep(Duration::from_secs(41)).await;
        } else {
            bench.shared.age_old_secret().await?;
        }
        let still_on = eventually("old", async || match turn.retire(POOL).await {
            Err(TurnError::Refused(_)) => Ok(None),
            retired => Ok(Some(retired?)),
        });
        let all: Vec<_> = bench.relays.iter().map(|relay| relay.url()).collect();
        assert_eq!(still_on.await?, all, "the relays accept it");

        let before = old.session(&session, Peer::Client, now() + 60);
        assert!(can_relay(&bench.relays[0], &before.username, &before.password).await?);
        for relay in &mut bench.relays {
            relay.restart(&[&new])?;
        }
        assert_eq!(turn.retire(POOL).await?, Vec::<String>::new());
        assert!(
            matches!(turn.retire(POOL).await, Err(TurnError::Refused(_))),
            "there is no old one"
        );
        let after = signer.session(&session, Peer::Client, now() + 60);
        let tries = bench.relays.iter().map(async |relay| {
            assert!(!can_relay(relay, &before.username, &before.password).await?, "the old one");
            assert!(can_relay(relay, &after.username, &after.password).await?, "the new one");
            anyhow::Ok(())
        });
        try_join_all(tries).await?;
        assert!(matches!(turn.rotate(POOL).await?, Rotation::Waiting { .. }), "the next one");
        Ok(())
    });
}
