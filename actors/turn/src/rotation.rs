//! A new relay secret without a refused client: made, put on the relays by the operator, proven on
//! each, and only then used.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use stream_bridge::{Bridge, change_sealed};
use stream_pki::Seal;
use zeroize::Zeroizing;

use crate::credential::{Signer, now};
use crate::error::ProbeError;
use crate::probe;
use crate::probe_target::ProbeTarget;
use crate::secret::Secret;
use crate::secrets::Secrets;
use crate::{Pool, Server, TurnError};

/// How long one relay may take for a proof.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(3);

/// What the credential of a proof is good for, seconds.
const CREDENTIAL_LIFE_S: u64 = 60;

/// How long another agent may go on with the old secret, seconds: it learns of the new one within
/// 20 s, and its clock may be off.
const PROPAGATION_S: u64 = 30;

/// What came of a rotation.
#[derive(Debug)]
pub enum Rotation {
    /// Credentials are made with the new secret. The old one may be removed from the relays, and
    /// retired, from `old_until` on; Unix seconds.
    Switched { old_until: u64 },
    /// Nothing has changed: these relays do not accept `secret` yet. It is kept: once it is on all
    /// relays, beside the present one, the next try proves it.
    Waiting { secret: NewSecret, refusals: Vec<RejectedBy> },
}

/// A relay that did not do what a rotation needs, and why.
#[derive(Clone, Debug)]
pub struct RejectedBy {
    pub server: String,
    pub why: ProbeError,
}

/// A relay secret, for the operator who puts it on the relays. Never printed by accident.
pub struct NewSecret(Zeroizing<String>);

impl NewSecret {
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewSecret([redacted])")
    }
}

/// Where the secrets of one pool are kept.
#[derive(Clone)]
pub(crate) struct SealedRecord {
    pub(crate) bridge: Bridge,
    pub(crate) seal: Arc<Seal>,
    pub(crate) record: String,
    pub(crate) state: PathBuf,
}

impl SealedRecord {
    pub(crate) async fn change(
        &self,
        edit: impl Fn(&mut Secrets) -> Result<(), TurnError>,
    ) -> Result<Secrets, TurnError> {
        change_sealed(&self.bridge, &self.seal, &self.record, &self.state, edit).await
    }
}

/// Proves the pending secret of a pool, a new one if there is none, and switches to it. A drained
/// relay is not asked.
pub(crate) async fn rotate(
    record: &SealedRecord,
    (pool, targets): (&Pool, &[Vec<ProbeTarget>]),
    lifetime_s: u64,
) -> Result<(Secrets, Rotation), TurnError> {
    let fresh = Secret::random();
    let secrets = record.change(|secrets| secrets.begin(&fresh)).await?;
    let Some(pending) = secrets.pending.clone() else {
        return Err(TurnError::Refused("another agent has changed the secret".to_owned()));
    };
    let servers = pool.servers.iter().zip(targets);
    let asked = servers.filter(|(server, _)| !secrets.drained.contains(server.name()));
    let proofs = join_all(asked.map(|server| verify_on_relay(server, &pending))).await;
    let refusals: Vec<_> = proofs.into_iter().filter_map(Result::err).collect();
    if !refusals.is_empty() {
        let secret = NewSecret(Zeroizing::new(pending.as_str().to_owned()));
        return Ok((secrets, Rotation::Waiting { secret, refusals }));
    }
    let old_until = now() + lifetime_s + PROPAGATION_S;
    let secrets = record.change(|secrets| secrets.switch(&pending, old_until)).await?;
    log::info!("relay secret of pool {} is a new one, proven on each relay", pool.name);
    Ok((secrets, Rotation::Switched { old_until }))
}

/// Forgets the old secret of a pool, unless a relay still accepts it: then says which. One that
/// does not answer accepts nothing.
pub(crate) async fn retire(
    record: &SealedRecord,
    (pool, targets): (&Pool, &[Vec<ProbeTarget>]),
    secrets: &Secrets,
) -> Result<(Secrets, Vec<String>), TurnError> {
    let old = secrets.old(now())?;
    let servers = pool.servers.iter().zip(targets);
    let proofs = join_all(servers.map(|server| verify_on_relay(server, old))).await;
    let accepting: Vec<_> = proofs.into_iter().filter_map(Result::ok).collect();
    if !accepting.is_empty() {
        return Ok((secrets.clone(), accepting));
    }
    Ok((record.change(|secrets| secrets.retire(now())).await?, accepting))
}

/// Has a relay relay with a credential made with `secret`; returns its name.
async fn verify_on_relay(
    (server, targets): (&Server, &Vec<ProbeTarget>),
    secret: &Secret,
) -> Result<String, RejectedBy> {
    let credential = Signer::new(secret.as_str()).probe(now() + CREDENTIAL_LIFE_S);
    let target = targets.first().expect("the configuration was checked");
    let proof = probe::allocate(target, &credential, None, VERIFY_TIMEOUT).await;
    let server = server.name().to_owned();
    match proof {
        Ok(_) => Ok(server),
        Err(why) => Err(RejectedBy { server, why }),
    }
}
