//! Probes AMS: whether it is there and trusts us. A probe goes past the breaker, and is how AMS is
//! found again.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::client::AmsClient;
use crate::error::AmsError;
use crate::response::Server;

/// A probe that has no answer for so long has another one sent beside it. An AMS that was mute does
/// not answer what it was asked then: only a later question shows that it is back.
const HEDGE_AFTER: Duration = Duration::from_secs(2);

/// How long one probe may take at most.
const DEADLINE: Duration = Duration::from_secs(10);

/// Returns what the server says of itself, and what was asked before and is not answered yet is
/// asked again. Refuses when it does not trust us.
pub(crate) async fn probe(client: &AmsClient) -> Result<Server, AmsError> {
    let within = client.timeout().min(DEADLINE);
    let begin = || {
        let since = Instant::now();
        async move { (since, client.server(within).await) }
    };
    let mut probes = FuturesUnordered::from_iter([begin()]);
    loop {
        tokio::select! {
            Some((since, found)) = probes.next() => {
                if found.is_ok() {
                    client.breaker().record_probe(since);
                }
                return found;
            }
            () = tokio::time::sleep(HEDGE_AFTER) => probes.push(begin()),
        }
    }
}
