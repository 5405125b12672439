//! The audit log of a service: where it is, and what goes into it by itself.

use std::path::PathBuf;

use stream_audit::{AuditLog, publish_head};
use stream_bridge::Bridge;
use stream_protocol::Hop;
use stream_protocol::subjects::{Bucket, NatsUser};
use stream_supervisor::spawn_detached;
use stream_tokens::Service;

/// Where the log of a service is, and what is needed to read it.
pub struct AuditSources {
    pub config: stream_audit::Config,
    /// Who writes it.
    pub unit: String,
    /// The file of the key that its own is derived from.
    pub sealing_key: PathBuf,
    pub nats: stream_bridge::Config,
    /// As whom NATS is asked.
    pub user: NatsUser,
    /// Where NATS keeps the end of the log.
    pub bucket: Bucket,
}

impl AuditSources {
    /// The log of a unit of `service`, which NATS calls `unit`.
    pub(crate) fn of(
        service: Service,
        unit: String,
        config: &stream_audit::Config,
        tokens: &stream_tokens::Config,
        nats: &stream_bridge::Config,
    ) -> Self {
        let user = match service {
            Service::Agent => NatsUser::Agent,
            Service::Gateway => NatsUser::Gateway,
        };
        Self {
            config: config.clone(),
            unit,
            sealing_key: tokens.sealing_key.clone(),
            nats: nats.clone(),
            user,
            bucket: service.keys(),
        }
    }

    /// Opens the log, notes in it what happens to sessions, and tells NATS how far it is. Needs a
    /// running actix system.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn start(self, bridge: &Bridge) -> anyhow::Result<AuditLog> {
        let Self { config, unit, sealing_key, bucket, .. } = self;
        let log = AuditLog::start(&config, &unit, &sealing_key)?;
        let (steps, of_unit) = (log.clone(), unit.clone());
        bridge.on_timeline(move |session, entry| {
            if is_transition(entry.hop) {
                let what = format!("session.{}", entry.hop);
                steps.note_step(&of_unit, session.as_str(), &what, &entry.text, !entry.failed);
            }
        });
        let head = publish_head(log.clone(), bridge.clone(), bucket, unit);
        spawn_detached("telling NATS of the audit log", head);
        Ok(log)
    }
}

/// Whether a hop changes what a session is, and is not only part of how its stream comes about.
fn is_transition(hop: Hop) -> bool {
    match hop {
        Hop::Create
        | Hop::Place
        | Hop::Launch
        | Hop::Boot
        | Hop::Join
        | Hop::Client
        | Hop::Adb
        | Hop::Owner
        | Hop::End
        | Hop::Note => true,
        Hop::Socket
        | Hop::Offer
        | Hop::Answer
        | Hop::Frame
        | Hop::Ice
        | Hop::Refusal
        | Hop::Wait
        | Hop::Nats
        | Hop::Other => false,
    }
}
