//! Looks at AMS: whether it is there and trusts us. A look goes past the breaker, and is how AMS is
//! found again.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::error::AmsError;
use crate::remote::Remote;
use crate::wire::Server;

/// A look that has no answer for so long has another one taken beside it. An AMS that was mute does
/// not answer what it was asked then: only a later question shows that it is back.
const MUTE: Duration = Duration::from_secs(2);

/// How long one look may take at most.
const DEADLINE: Duration = Duration::from_secs(10);

/// Returns what the server says of itself, and what was asked before and is not answered yet is
/// asked again. Refuses when it does not trust us.
pub(crate) async fn look(remote: &Remote) -> Result<Server, AmsError> {
    let within = remote.timeout().min(DEADLINE);
    let begin = || {
        let since = Instant::now();
        async move { (since, remote.server(within).await) }
    };
    let mut looks = FuturesUnordered::from_iter([begin()]);
    loop {
        tokio::select! {
            Some((since, found)) = looks.next() => {
                if found.is_ok() {
                    remote.gate().spoke(since);
                }
                return found;
            }
            () = tokio::time::sleep(MUTE) => looks.push(begin()),
        }
    }
}
