//! The actor `tickets`: follows the shared ticket keys, and adds one when the newest is old.
//!
//! Until the keys are here, and when they cannot be had, the servers make tickets with what they
//! have, at first a key of their own. A key makes tickets for six hours and is kept until the last
//! of them has ended. Who resumes is not shown a certificate: a ticket vouches for every unit that
//! has the sealing key.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use actix::Message;
use parking_lot::Mutex;
use stream_bridge::{Bridge, SealedError, SealedRecord};
use stream_pki::{Seal, SecretError, SessionTicketer};
use stream_protocol::Timestamp;
use stream_protocol::subjects::Bucket;
use stream_supervisor::{Context, Handler, Limits, Mode, Reply, RestartPolicy, Supervisor, Worker};

use crate::ticket_keyring::{ADD_AT_MOST_EVERY, Key, TicketKeyring};

/// Where the ticket keys are.
#[derive(Clone, Debug)]
pub struct TicketConfig {
    /// The bucket of the sealed keys of this service.
    pub bucket: Bucket,
    /// The sealed record that holds them; each service has its own.
    pub record: &'static str,
    /// File with the key under which the units of this service seal them.
    pub sealing_key: PathBuf,
    /// Directory for the highest generation of the keys seen so far.
    pub state: PathBuf,
}

/// Starts the actor, which keeps the keys of `ticketer` up to date.
///
/// # Errors
///
/// Refuses a sealing key that cannot be read.
pub fn share_ticket_keys(
    config: TicketConfig,
    ticketer: SessionTicketer,
    bridge: Bridge,
    supervisor: &Supervisor,
) -> Result<(), SecretError> {
    let seal = Arc::new(Seal::load(&config.sealing_key)?);
    let record = SealedRecord::new(bridge, seal, config.bucket, config.record, &config.state);
    let last_added = Arc::new(Mutex::new(None));
    let factory = move || Actor {
        ticketer: ticketer.clone(),
        record: record.clone(),
        last_added: Arc::clone(&last_added),
    };
    supervisor.spawn(
        "tickets",
        Mode::CancelOnRestart,
        RestartPolicy::default(),
        Limits::default(),
        factory,
    );
    Ok(())
}

struct Actor {
    ticketer: SessionTicketer,
    record: SealedRecord<TicketKeyring>,
    /// When this unit last set out to add a key. Every rebuilt actor shares it.
    last_added: Arc<Mutex<Option<Instant>>>,
}

impl Actor {
    /// Returns whether this unit may add a key; if so, it counts as having added one.
    fn may_add(&self) -> bool {
        let mut last_added = self.last_added.lock();
        let may = last_added.is_none_or(|added| added.elapsed() >= ADD_AT_MOST_EVERY);
        if may {
            *last_added = Some(Instant::now());
        }
        may
    }

    /// Adds a key in the background. All units read it from NATS, this one too.
    fn add(&self, ctx: &Context<Self>) {
        let (record, last_added) = (self.record.clone(), Arc::clone(&self.last_added));
        ctx.spawn(async move {
            let now = Timestamp::now();
            let fresh = Key::fresh(now);
            let edit = |keys: &mut TicketKeyring| {
                // Several units find it due at the same time, and one of them is first.
                if !keys.are_due(now) {
                    return Err(AddError::AnotherDid);
                }
                keys.rotate(fresh.clone(), now);
                Ok(())
            };
            match record.update(edit).await {
                Ok(_) => log::info!("tickets: a new key makes them"),
                Err(AddError::AnotherDid) => {}
                Err(AddError::Sealed(error)) => {
                    log::warn!(cause:% = error.sentence(); "tickets: no new key can be stored");
                    // The next read tries again.
                    *last_added.lock() = None;
                }
            }
        });
    }
}

/// Why a key was not added.
enum AddError {
    AnotherDid,
    Sealed(SealedError),
}

impl From<SealedError> for AddError {
    fn from(error: SealedError) -> Self {
        Self::Sealed(error)
    }
}

impl Worker for Actor {
    fn started(&mut self, ctx: &Context<Self>) {
        let (record, context) = (self.record.clone(), ctx.clone());
        ctx.spawn(async move {
            let first = || Ok(TicketKeyring::first(Timestamp::now()));
            // The record itself logs why it cannot be read; the servers go on with what they have.
            let on_read = |keys: Result<_, _>| drop(keys.map(|keys| context.tell(KeysRead(keys))));
            record.watch(first, on_read).await;
        });
    }
}

/// The keys were read.
#[derive(Message)]
#[rtype(result = "()")]
struct KeysRead(TicketKeyring);

impl Handler<KeysRead> for Actor {
    fn handle(&mut self, KeysRead(keys): &KeysRead, ctx: &Context<Self>) -> Reply<()> {
        self.ticketer.set_shared_keys(keys.for_servers());
        if keys.are_due(Timestamp::now()) && self.may_add() {
            self.add(ctx);
        }
        ().into()
    }
}
