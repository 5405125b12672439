//! Probes AMS: whether it is there and trusts us. A probe passes the circuit breaker and is how AMS
//! is found again.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::AmsClient;
use crate::error::AmsError;
use crate::hedge::hedged;
use crate::response::Server;

/// A probe without an answer for so long gets another one beside it.
const HEDGE_AFTER: Duration = Duration::from_secs(2);

/// How long one probe may take at most.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns what the server says of itself.
///
/// # Errors
///
/// [`AmsError::Unreachable`] when AMS cannot be reached or does not trust us,
/// [`AmsError::TimedOut`] when it stays mute.
pub(crate) async fn probe(client: &AmsClient) -> Result<Server, AmsError> {
    let timeout = client.timeout().min(PROBE_TIMEOUT);
    let attempt = || {
        let since = Instant::now();
        async move { Ok((since, client.server(timeout).await?)) }
    };
    let again = async || tokio::time::sleep(HEDGE_AFTER).await;
    // Each attempt has this time as well, but there is always a younger one.
    let probed = tokio::time::timeout(timeout, hedged(attempt, again)).await;
    let (since, server) = probed.map_err(|_| AmsError::TimedOut)??;
    client.breaker().record_probe(since);
    Ok(server)
}
