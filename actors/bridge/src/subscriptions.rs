//! The subjects that this process serves, and the requests that arrive there. Shared state: a
//! restart of the actor keeps every subscription, and requests come in meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use actix::Message;
use async_nats::{Client, HeaderMap, Subject};
use bytes::Bytes;
use futures_util::StreamExt;
use parking_lot::Mutex;
use stream_protocol::{Refusal, RefusalCode, Reply};
use stream_supervisor::{AskError, Recipient, RequestId, spawn_detached};
use tokio::sync::oneshot;

/// A request that arrived. Whoever takes it answers it.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct IncomingRequest {
    pub subject: String,
    pub body: Bytes,
    asker: Asker,
}

/// Where the answer to a request goes.
#[derive(Clone)]
enum Asker {
    Nats {
        client: Client,
        reply: Option<Subject>,
    },
    #[cfg(feature = "simulation")]
    Simulated(Arc<dyn Fn(Vec<u8>) + Send + Sync>),
}

impl IncomingRequest {
    /// Sends the answer. Whether the asker still waits is not known here: it has its own deadline.
    pub async fn answer(&self, answer: Vec<u8>) {
        match &self.asker {
            Asker::Nats { client, reply: Some(reply) } => {
                if let Err(error) = client.publish(reply.clone(), answer.into()).await {
                    log::warn!(subject:% = self.subject, cause:% = error; "an answer was not sent");
                }
            }
            Asker::Nats { reply: None, .. } => {}
            #[cfg(feature = "simulation")]
            Asker::Simulated(take) => take(answer),
        }
    }

    /// Makes a request of a simulation, which gives the answer to `take`.
    #[cfg(feature = "simulation")]
    pub(crate) fn simulated(
        subject: String,
        body: Bytes,
        take: impl Fn(Vec<u8>) + Send + Sync + 'static,
    ) -> Self {
        Self { subject, body, asker: Asker::Simulated(Arc::new(take)) }
    }

    async fn refuse(&self, code: RefusalCode, message: impl Into<String>) {
        let refusal = Refusal::new(code, message);
        self.answer(Reply::<()>::encode(Err(refusal))).await;
    }
}

/// Who takes the requests on a subject.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) to: Recipient<IncomingRequest>,
    /// The queue group of the units that share the subject.
    pub(crate) group: Option<&'static str>,
}

/// The routes by subject, and the subscriptions of the present connection. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Subscriptions(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    routes: BTreeMap<String, Route>,
    /// One entry for every subscription; dropping it ends that.
    active: HashMap<String, oneshot::Sender<()>>,
}

impl Subscriptions {
    /// Has requests on `subject` told to `route` from now on. A subscription that stands is kept:
    /// what has arrived there would be lost with it.
    pub(crate) fn add(&self, subject: String, route: Route) {
        self.0.lock().routes.insert(subject, route);
    }

    /// Ends the subscription to `subject`.
    pub(crate) fn remove(&self, subject: &str) {
        let mut inner = self.0.lock();
        inner.routes.remove(subject);
        inner.active.remove(subject);
    }

    /// Ends every subscription, and keeps the routes: for another connection.
    pub(crate) fn clear_active(&self) {
        self.0.lock().active.clear();
    }

    /// Subscribes to `subject` over `client`, unless that is done already.
    pub(crate) fn subscribe(&self, client: &Client, subject: &str) {
        let mut inner = self.0.lock();
        if inner.active.get(subject).is_some_and(|end| !end.is_closed()) {
            return;
        }
        let (end, ended) = oneshot::channel();
        inner.active.insert(subject.to_owned(), end);
        let serve = serve(client.clone(), subject.to_owned(), self.clone(), ended);
        // Not work of the actor's state: requests come in while that is rebuilt.
        spawn_detached("a subscription", serve);
    }

    /// Subscribes to every subject that has a route.
    pub(crate) fn subscribe_all(&self, client: &Client) {
        let subjects: Vec<_> = self.0.lock().routes.keys().cloned().collect();
        subjects.iter().for_each(|subject| self.subscribe(client, subject));
    }

    fn route(&self, subject: &str) -> Option<Route> {
        self.0.lock().routes.get(subject).cloned()
    }
}

/// Hands on what arrives on `subject` to whoever serves it then, until `ended`. They work for the
/// request that the asker names.
async fn serve(
    client: Client,
    subject: String,
    subscriptions: Subscriptions,
    mut ended: oneshot::Receiver<()>,
) {
    let Some(Route { group, .. }) = subscriptions.route(&subject) else { return };
    let subscribed = match group {
        Some(group) => client.queue_subscribe(subject.clone(), group.to_owned()).await,
        None => client.subscribe(subject.clone()).await,
    };
    let mut requests = match subscribed {
        Ok(requests) => requests,
        Err(error) => {
            return log::error!(subject:%, cause:% = error; "a subject cannot be served");
        }
    };
    loop {
        let request = tokio::select! {
            biased;
            _ = &mut ended => return,
            request = requests.next() => request,
        };
        let Some(request) = request else { return };
        let id = request.headers.as_ref().and_then(request_id);
        let incoming = IncomingRequest {
            subject: request.subject.into_string(),
            body: request.payload,
            asker: Asker::Nats { client: client.clone(), reply: request.reply },
        };
        let Some(Route { to, .. }) = subscriptions.route(&subject) else { return };
        match RequestId::within(id, || to.tell(incoming.clone())) {
            Ok(()) => {}
            Err(AskError::Busy) => incoming.refuse(RefusalCode::Busy, "too much is queued").await,
            Err(error) => incoming.refuse(RefusalCode::Unavailable, error.to_string()).await,
        }
    }
}

/// The request for which another unit asks.
fn request_id(headers: &HeaderMap) -> Option<RequestId> {
    let value = |name| headers.get(name).map(|value| value.as_str());
    RequestId::of_sender(value(RequestId::HEADER), value(RequestId::TRACEPARENT))
}
