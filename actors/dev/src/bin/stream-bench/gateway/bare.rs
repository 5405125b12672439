//! actix-web and actix-ws with our TLS and nothing of ours besides: a process of its own.

use actix_web::web::{self, Bytes, Data, Payload};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use actix_ws::{Message, MessageStream, Session};
use anyhow::Context;
use stream_pki::{ClientCertificates, Identity, ServerIdentity, server_config};
use stream_supervisor::spawn_detached;

use super::requests::Answer;

/// As many as a gateway has.
const WORKERS: usize = 2;

/// Serves a fixed answer and idle sockets at a port, until it is killed.
pub(in super::super) async fn serve(arguments: &[String]) -> anyhow::Result<()> {
    let [certificate, key, answer, port] = arguments else {
        anyhow::bail!("usage: bare-server CERTIFICATE KEY ANSWER PORT");
    };
    let identity = ServerIdentity::new(Identity::load(certificate, key)?);
    let tls = server_config(&identity, ClientCertificates::Ignored);
    let answer = Data::new(serde_json::from_slice::<Answer>(&std::fs::read(answer)?)?);
    let app = move || {
        App::new()
            .app_data(answer.clone())
            .route("/1.0/sessions/{id}", web::get().to(say))
            .route("/socket", web::get().to(socket))
    };
    let server = HttpServer::new(app).workers(WORKERS).tcp_nodelay(true);
    let server = server.bind_rustls_0_23(("127.0.0.1", port.parse()?), (*tls).clone())?;
    server.run().await.context("it has failed")
}

async fn say(answer: Data<Answer>) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    for (name, value) in &answer.headers {
        response.insert_header((name.as_str(), value.as_str()));
    }
    response.body(Bytes::from(answer.body.clone()))
}

async fn socket(request: HttpRequest, payload: Payload) -> actix_web::Result<HttpResponse> {
    let (response, session, messages) = actix_ws::handle(&request, payload)?;
    spawn_detached("a bare socket", listen(session, messages));
    Ok(response)
}

async fn listen(mut session: Session, mut messages: MessageStream) {
    while let Some(Ok(message)) = messages.recv().await {
        if let Message::Ping(payload) = message
            && session.pong(&payload).await.is_err()
        {
            return;
        }
    }
}
