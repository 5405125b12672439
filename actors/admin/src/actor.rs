//! The actor `admin`: it accepts operators and answers their requests.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use stream_protocol::{Empty, Refusal, RefusalCode, Reply, Versioned};
use stream_supervisor::{Context, Limits, Mode, RequestId, RestartPolicy, Worker, spawn_detached};
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::builtin::{self, BuiltinRequest, Dependencies};
use crate::listener::AdminSocket;
use crate::wire::{MAX_ANSWER, MAX_REQUEST, OpName, read_line};
use crate::witness::{Order, Witness};

/// How long a request may take to arrive, to be answered, and its answer to be read. A slow answer
/// becomes a refusal; a slow operator is disconnected.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How many operators are served at the same time; further ones wait.
const MAX_CONCURRENT: usize = 16;

/// The pause after a connection could not be accepted.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

pub(crate) fn start<R, F>(
    socket: AdminSocket,
    deps: Dependencies,
    witness: impl Witness,
    handler: impl Fn(R) -> F + Clone + Send + 'static,
) where
    R: DeserializeOwned + 'static,
    F: Future<Output = Result<Value, Refusal>> + 'static,
{
    let supervisor = deps.supervisor.clone();
    let factory = move || {
        let (deps, witness, handler) = (deps.clone(), witness.clone(), handler.clone());
        let respond: Respond = Rc::new(move |uid, line| {
            let (deps, witness, handler) = (deps.clone(), witness.clone(), handler.clone());
            Box::pin(async move { answer((uid, &line), &deps, &witness, &handler).await })
        });
        Actor { socket: socket.clone(), respond }
    };
    supervisor.spawn(
        "admin",
        Mode::KeepInFlight,
        RestartPolicy::default(),
        Limits::default(),
        factory,
    );
}

/// Returns the answer to a line of the user with this id.
type Respond = Rc<dyn Fn(u32, Vec<u8>) -> Pin<Box<dyn Future<Output = Vec<u8>>>>>;

struct Actor {
    socket: AdminSocket,
    respond: Respond,
}

impl Worker for Actor {
    fn started(&mut self, ctx: &Context<Self>) {
        let listener = self.socket.listener.try_clone().and_then(UnixListener::from_std);
        let listener = listener.expect("the listening socket can be shared");
        ctx.spawn(accept(listener, self.socket.uid, Rc::clone(&self.respond)));
    }
}

async fn accept(listener: UnixListener, uid: u32, respond: Respond) {
    let places = Arc::new(Semaphore::new(MAX_CONCURRENT));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                log::warn!(error:%; "the operator's socket accepts nobody");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let peer = stream.peer_cred().ok().map(|peer| peer.uid());
        let Some(peer) = peer.filter(|peer| is_operator(*peer, uid)) else {
            log::warn!("a stranger was turned away from the operator's socket");
            continue;
        };
        let respond = Rc::clone(&respond);
        // Outside of the worker: a request in hand is answered also after a restart.
        spawn_detached("an operator's request", async move {
            if let Err(error) = serve(stream, peer, respond).await {
                log::debug!(error:%; "an operator left without an answer");
            }
            drop(place);
        });
    }
}

/// Whether somebody who runs as `peer` may operate a service that runs as `uid`.
fn is_operator(peer: u32, uid: u32) -> bool {
    peer == uid || peer == 0
}

async fn serve(mut stream: UnixStream, peer: u32, respond: Respond) -> io::Result<()> {
    let line = timeout(REQUEST_TIMEOUT, read_line(&mut stream, MAX_REQUEST)).await??;
    let answered = RequestId::scope(Some(RequestId::random()), respond(peer, line));
    let mut line = timeout(REQUEST_TIMEOUT, answered).await.unwrap_or_else(|_| {
        let refusal = Refusal::new(RefusalCode::Unavailable, "there was no answer in time");
        Reply::<Empty>::encode(Err(refusal))
    });
    line.push(b'\n');
    timeout(REQUEST_TIMEOUT, stream.write_all(&line)).await??;
    stream.shutdown().await
}

/// Answers one line of the user `uid`, never with a longer one than the client reads. The witness
/// hears of it before anything is done, and of what came of it before that is answered.
pub(crate) async fn answer<R, F>(
    (uid, line): (u32, &[u8]),
    deps: &Dependencies,
    witness: &impl Witness,
    handler: impl Fn(R) -> F,
) -> Vec<u8>
where
    R: DeserializeOwned,
    F: Future<Output = Result<Value, Refusal>>,
{
    let answered = async {
        let OpName { op } = Versioned::decode(line)?;
        let order = Order { uid, op, request: Versioned::decode(line)? };
        let begun = witness.begin(&order).await?;
        let answered = async {
            if BuiltinRequest::OPS.contains(&order.op.as_str()) {
                return builtin::answer(Versioned::decode(line)?, deps);
            }
            handler(Versioned::decode(line)?).await
        };
        let answered = answered.await;
        witness.end(begun, answered.as_ref().map(drop)).await;
        answered
    };
    let answer = Reply::encode(answered.await);
    if answer.len() as u64 >= MAX_ANSWER {
        let refusal = Refusal::new(RefusalCode::TooLarge, "the answer is too long for this socket");
        return Reply::<Empty>::encode(Err(refusal));
    }
    answer
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use stream_supervisor::{Drain, Supervisor};

    use crate::{
        Admin, Client, ClientError, Config, Debug, DrainStatus, Fault, FaultInjection, InjectFault,
    };

    #[derive(Deserialize)]
    #[serde(tag = "op")]
    enum Request {
        #[serde(rename = "double")]
        Double { number: u64 },
        #[serde(rename = "much")]
        Much,
    }

    async fn handler(request: Request) -> Result<Value, Refusal> {
        match request {
            Request::Double { number } => Ok(json!({ "number": 2 * number })),
            Request::Much => Ok(json!("x".repeat(MAX_ANSWER as usize))),
        }
    }

    struct Fixture {
        supervisor: Supervisor,
        drain: Drain,
        client: Client,
        _folder: tempfile::TempDir,
    }

    fn fixture(debug: Debug) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("private/socket");
        let (supervisor, drain) = (Supervisor::default(), Drain::default());
        let config = Config { socket: socket.clone(), drain_s: 30 };
        Admin::start(config, debug, &supervisor, &drain, (), handler).unwrap();
        Fixture { supervisor, drain, client: Client::new(socket), _folder: folder }
    }

    fn crash(actor: &str, times: u32) -> InjectFault {
        InjectFault { actor: actor.to_owned(), fault: Fault::Panic, times, no_backoff: false }
    }

    fn code(answer: Result<impl Sized, ClientError>) -> Option<RefusalCode> {
        match answer.err()? {
            ClientError::Refused(refusal) => Some(refusal.code),
            other => panic!("{other}"),
        }
    }

    #[actix::test]
    async fn the_service_answers_what_is_its_own_and_everybody_answers_status() {
        let Fixture { client, .. } = &fixture(Debug::default());
        let doubled: Value = client.ask(&json!({ "op": "double", "number": 21 })).await.unwrap();
        assert_eq!(doubled, json!({ "number": 42 }));
        let status = client.status().await.unwrap();
        assert_eq!(status.actors.len(), 1);
        assert_eq!((status.actors[0].name.as_str(), status.actors[0].restarts), ("admin", 0));
    }

    #[actix::test]
    async fn a_drain_is_ordered_looked_at_and_taken_back() {
        let Fixture { client, drain, .. } = &fixture(Debug::default());
        assert_eq!(client.draining().await.unwrap(), DrainStatus { left_s: None, left: 0 });
        client.drain(None).await.unwrap();
        drain.set_remaining(7);
        let DrainStatus { left_s, left } = client.draining().await.unwrap();
        assert!((29..=30).contains(&left_s.unwrap()) && left == 7, "the configured time");
        client.drain(Some(Duration::from_secs(5))).await.unwrap();
        assert!(client.draining().await.unwrap().left_s.unwrap() <= 5, "the last one counts");
        client.cancel_drain().await.unwrap();
        assert!(!drain.is_draining());
        assert_eq!(code(client.cancel_drain().await), Some(RefusalCode::Conflict));
    }

    #[actix::test]
    async fn what_is_no_request_is_refused_with_a_sentence() {
        let Fixture { client, .. } = &fixture(Debug::default());
        let ask = async |request: Value| client.ask::<Value>(&request).await;
        assert_eq!(code(ask(json!({ "op": "halve" })).await), Some(RefusalCode::Malformed));
        assert_eq!(code(ask(json!({ "number": 1 })).await), Some(RefusalCode::Malformed));
        let text = json!({ "op": "double", "number": "one" });
        assert_eq!(code(ask(text).await), Some(RefusalCode::Malformed));
        assert_eq!(code(ask(json!({ "op": "much" })).await), Some(RefusalCode::TooLarge));
    }

    #[actix::test]
    async fn actors_fail_on_request_only_where_that_is_configured() {
        let refused = fixture(Debug::default());
        assert_eq!(
            code(refused.client.crash(crash("admin", 1)).await),
            Some(RefusalCode::Conflict)
        );
        assert_eq!(refused.supervisor.status()[0].restarts, 0);

        let allowed = Some(FaultInjection::YesForTestPurposesOnly);
        let Fixture { client, .. } = &fixture(Debug { fault_injection: allowed });
        assert_eq!(code(client.crash(crash("nobody", 1)).await), Some(RefusalCode::NotFound));
        assert_eq!(code(client.crash(crash("admin", 0)).await), Some(RefusalCode::Malformed));
        // The answer comes from what outlives the failure, the next one from the next worker.
        client.crash(crash("admin", 2)).await.unwrap();
        while client.status().await.unwrap().actors[0].restarts < 2 {}
        let actor = &client.status().await.unwrap().actors[0];
        assert!(actor.last_failure.as_ref().unwrap().cause.contains("panic"));
    }

    #[test]
    fn only_the_same_user_and_root_are_operators() {
        assert!(is_operator(1000, 1000) && is_operator(0, 1000));
        assert!(!is_operator(1001, 1000) && !is_operator(1000, 0));
    }
}
