//! Requests: those we send, and those that arrive for the subjects we serve.

use std::time::Duration;

use actix::Message;
use async_nats::{Client, RequestErrorKind, Subject};
use bytes::Bytes;
use futures_util::StreamExt;
use stream_protocol::{Refusal, RefusalCode, Reply as Answer};
use stream_supervisor::{AskError, Context, Handler, Recipient, Reply};
use tokio::sync::oneshot;

use crate::BridgeError;
use crate::actor::{Actor, SharedState};
use crate::connect::error_chain;

/// A request that arrived; whoever takes it answers it.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct IncomingRequest {
    pub subject: String,
    pub body: Bytes,
    client: Client,
    reply: Option<Subject>,
}

impl IncomingRequest {
    /// Sends the answer. The asker has its own deadline: whether it still waits is not known here.
    pub async fn answer(&self, answer: Vec<u8>) {
        if let Some(reply) = self.reply.clone()
            && let Err(error) = self.client.publish(reply, answer.into()).await
        {
            log::warn!("an answer on {} was not sent: {error}", self.subject);
        }
    }

    async fn refuse(&self, code: RefusalCode, message: impl Into<String>) {
        let refusal = Refusal::new(code, message);
        self.answer(Answer::<()>::encode(Err(refusal))).await;
    }
}

/// Sends a request and returns the answer's payload.
#[derive(Message)]
#[rtype(result = "Result<Bytes, BridgeError>")]
pub(crate) struct SendRequest {
    pub(crate) subject: String,
    pub(crate) body: Vec<u8>,
    pub(crate) deadline: Duration,
}

/// Who takes the requests on a subject, and with whom.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) to: Recipient<IncomingRequest>,
    /// The queue group of the units that share the subject.
    pub(crate) group: Option<&'static str>,
}

/// Has requests on a subject told to somebody.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Subscribe {
    pub(crate) subject: String,
    pub(crate) route: Route,
}

/// Ends that.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Unsubscribe {
    pub(crate) subject: String,
}

/// Hands on what arrives on `subject`, to whoever serves it then, until `ended`.
pub(crate) async fn listen(
    client: Client,
    subject: String,
    shared: SharedState,
    mut ended: oneshot::Receiver<()>,
) {
    let Some(Route { group, .. }) = shared.route(&subject) else { return };
    let subscribed = match group {
        Some(group) => client.queue_subscribe(subject.clone(), group.to_owned()).await,
        None => client.subscribe(subject.clone()).await,
    };
    let mut requests = match subscribed {
        Ok(requests) => requests,
        Err(error) => return log::error!("subject {subject} cannot be served: {error}"),
    };
    loop {
        let request = tokio::select! {
            request = requests.next() => request,
            _ = &mut ended => return,
        };
        let Some(request) = request else { return };
        let incoming = IncomingRequest {
            subject: request.subject.into_string(),
            body: request.payload,
            client: client.clone(),
            reply: request.reply,
        };
        let Some(Route { to, .. }) = shared.route(&subject) else { return };
        match to.tell(incoming.clone()) {
            Ok(()) => {}
            Err(AskError::Busy) => incoming.refuse(RefusalCode::Busy, "too much is queued").await,
            Err(error) => incoming.refuse(RefusalCode::Unavailable, error.to_string()).await,
        }
    }
}

impl Handler<SendRequest> for Actor {
    fn handle(
        &mut self,
        send: &SendRequest,
        _: &Context<Self>,
    ) -> Reply<Result<Bytes, BridgeError>> {
        let SendRequest { subject, body, deadline } = send;
        let request =
            async_nats::Request::new().payload(body.clone().into()).timeout(Some(*deadline));
        let subject = subject.clone();
        self.with(async move |nats| {
            let answer = nats.log.client.send_request(subject, request).await;
            answer.map(|answer| answer.payload).map_err(|error| match error.kind() {
                RequestErrorKind::NoResponders => BridgeError::NoResponder,
                RequestErrorKind::TimedOut => BridgeError::TimedOut,
                _ => BridgeError::Disconnected(error_chain(&error)),
            })
        })
    }
}

impl Handler<Subscribe> for Actor {
    const IDEMPOTENT: bool = true;

    fn handle(&mut self, subscribe: &Subscribe, _: &Context<Self>) -> Reply<()> {
        let Subscribe { subject, route } = subscribe;
        // A subscription that stands is kept: what has arrived there would be lost with it.
        self.subscriptions().routes.insert(subject.clone(), route.clone());
        self.listen(subject);
        ().into()
    }
}

impl Handler<Unsubscribe> for Actor {
    const IDEMPOTENT: bool = true;

    fn handle(&mut self, unsubscribe: &Unsubscribe, _: &Context<Self>) -> Reply<()> {
        self.subscriptions().routes.remove(&unsubscribe.subject);
        self.unlisten(&unsubscribe.subject);
        ().into()
    }
}
