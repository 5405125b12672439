//! The rotation of a relay secret, without a client that is refused: we make a secret, the operator
//! puts it on the relays, we verify it on each, and only then use it.

use std::fmt;
use std::time::Duration;

use futures_util::future::join_all;
use stream_bridge::SealedRecord;
use stream_protocol::Timestamp;
use zeroize::Zeroizing;

use crate::credential::Signer;
use crate::error::ProbeError;
use crate::probe;
use crate::probe_target::ProbeTarget;
use crate::secret::Secret;
use crate::secrets::Secrets;
use crate::{Config, Pool, Server, TurnError};

/// How long one relay may take to verify a secret.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(3);

/// How long another agent may go on with the old secret, in seconds: it reads the new one within
/// 20 s, and its clock may be off.
const PROPAGATION_S: u64 = 30;

/// What came of a rotation.
#[derive(Debug)]
pub enum Rotation {
    /// Credentials are made with the new secret. The old one may be removed from the relays, and
    /// retired, from `old_until` on.
    Switched { old_until: Timestamp },
    /// Nothing has changed: these relays do not accept `secret` yet. It stays pending: once it is
    /// on all relays, beside the present one, the next rotation verifies it.
    Waiting { secret: NewSecret, refusals: Vec<RejectedBy> },
}

/// A relay that does not accept a secret, and why.
#[derive(Clone, Debug)]
pub struct RejectedBy {
    pub server: String,
    pub why: ProbeError,
}

/// A relay secret, for the operator who puts it on the relays. `Debug` does not print it.
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

/// Verifies the pending secret of a pool, a new one if there is none, on each relay that is not
/// drained, and switches to it.
pub(crate) async fn rotate(
    record: &SealedRecord<Secrets>,
    (pool, targets): (&Pool, &[Vec<ProbeTarget>]),
    config: &Config,
) -> Result<(Secrets, Rotation), TurnError> {
    let fresh = Secret::random();
    let secrets = record.update(|secrets| secrets.begin(&fresh)).await?;
    let Some(pending) = secrets.pending.clone() else {
        return Err(TurnError::Refused("another agent has changed the secret".to_owned()));
    };
    let servers = pool.servers.iter().zip(targets);
    let asked = servers.filter(|(server, _)| !secrets.drained.contains(server.name()));
    let verified = asked.map(|server| verify_on_relay(server, &pending, config.lifetime_s));
    let verified = join_all(verified).await;
    let refusals: Vec<_> = verified.into_iter().filter_map(Result::err).collect();
    if !refusals.is_empty() {
        let secret = NewSecret(Zeroizing::new(pending.as_str().to_owned()));
        return Ok((secrets, Rotation::Waiting { secret, refusals }));
    }
    let old_until = Timestamp::now().plus_secs(config.longest_lifetime_s() + PROPAGATION_S);
    let secrets = record.update(|secrets| secrets.switch(&pending, old_until)).await?;
    log::info!(pool = pool.name.as_str(); "relay secret is a new one, verified on each relay");
    Ok((secrets, Rotation::Switched { old_until }))
}

/// Forgets the old secret of a pool, unless relays still accept it; returns those. A relay that
/// does not answer counts as one that does not accept it.
pub(crate) async fn retire(
    record: &SealedRecord<Secrets>,
    (pool, targets): (&Pool, &[Vec<ProbeTarget>]),
    secrets: &Secrets,
    lifetime_s: u64,
) -> Result<(Secrets, Vec<String>), TurnError> {
    let old = secrets.old(Timestamp::now())?;
    let servers = pool.servers.iter().zip(targets);
    let verified = servers.map(|server| verify_on_relay(server, old, lifetime_s));
    let verified = join_all(verified).await;
    let accepting: Vec<_> = verified.into_iter().filter_map(Result::ok).collect();
    if !accepting.is_empty() {
        return Ok((secrets.clone(), accepting));
    }
    Ok((record.update(|secrets| secrets.retire(Timestamp::now())).await?, accepting))
}

/// Allocates at a relay with a credential made with `secret`, over any of its ways; returns the
/// name of the relay. The credential is valid for as long as a client's, whatever the relay's clock
/// says.
async fn verify_on_relay(
    (server, targets): (&Server, &Vec<ProbeTarget>),
    secret: &Secret,
    lifetime_s: u64,
) -> Result<String, RejectedBy> {
    let credential = Signer::new(secret.as_str()).probe(Timestamp::now().plus_secs(lifetime_s));
    let allocate = |target| probe::allocate(target, &credential, None, VERIFY_TIMEOUT);
    let mut failures = Vec::new();
    let server = server.name().to_owned();
    for allocated in join_all(targets.iter().map(allocate)).await {
        match allocated {
            Ok(_) => return Ok(server),
            Err(why) => failures.push(why),
        }
    }
    // What the relay says is worth more than that a way to it is blocked.
    failures.sort_by_key(ProbeError::is_about_the_way);
    let why = failures.into_iter().next().expect("the configuration was checked");
    Err(RejectedBy { server, why })
}
