//! Requests over NATS: those that are sent, and the subjects that are served.

use std::time::Duration;

use actix::Message;
use async_nats::{HeaderMap, Request, RequestErrorKind};
use bytes::Bytes;
use stream_supervisor::{Context, Handler, Reply, RequestId};

use crate::BridgeError;
use crate::actor::Actor;
use crate::subscriptions::Route;

/// Sends a request, with the id of the one that it is for, and answers with the payload of the
/// reply.
#[derive(Message)]
#[rtype(result = "Result<Bytes, BridgeError>")]
pub(crate) struct SendRequest {
    pub(crate) subject: String,
    pub(crate) body: Vec<u8>,
    pub(crate) deadline: Duration,
}

/// Has requests on a subject told to somebody, until [`Unsubscribe`].
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Subscribe {
    pub(crate) subject: String,
    pub(crate) route: Route,
}

/// Ends a [`Subscribe`].
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Unsubscribe {
    pub(crate) subject: String,
}

impl Handler<SendRequest> for Actor {
    fn handle(
        &mut self,
        send: &SendRequest,
        _: &Context<Self>,
    ) -> Reply<Result<Bytes, BridgeError>> {
        let SendRequest { subject, body, deadline } = send;
        let mut request = Request::new().payload(body.clone().into()).timeout(Some(*deadline));
        if let Some(id) = RequestId::current() {
            let mut headers = HeaderMap::new();
            id.headers().for_each(|(name, value)| headers.insert(name, value));
            request = request.headers(headers);
        }
        let subject = subject.clone();
        self.with("request", async move |store| {
            let reply = store.connection().client.send_request(subject, request).await;
            reply.map(|reply| reply.payload).map_err(|error| match error.kind() {
                RequestErrorKind::NoResponders => BridgeError::NoResponder,
                RequestErrorKind::TimedOut => BridgeError::TimedOut,
                _ => BridgeError::disconnected(error),
            })
        })
    }
}

impl Handler<Subscribe> for Actor {
    const IDEMPOTENT: bool = true;

    fn handle(&mut self, subscribe: &Subscribe, _: &Context<Self>) -> Reply<()> {
        self.serve(subscribe.subject.clone(), subscribe.route.clone());
        ().into()
    }
}

impl Handler<Unsubscribe> for Actor {
    const IDEMPOTENT: bool = true;

    fn handle(&mut self, unsubscribe: &Unsubscribe, _: &Context<Self>) -> Reply<()> {
        self.stop_serving(&unsubscribe.subject);
        ().into()
    }
}
