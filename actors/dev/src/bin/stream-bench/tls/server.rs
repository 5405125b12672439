//! Our server as the services build it, with nothing behind it: a process of its own.

use std::future::pending;

use actix_web::{HttpResponse, web};
use anyhow::Context;
use stream_http::{Config, HttpConfig, Limits, Server, Service};
use stream_pki::{ClientCertificates, Identity, ServerIdentity, server_config};
use stream_supervisor::Supervisor;

/// Serves on one thread with the files of a certificate and its key, at a port, until it is killed.
pub(in super::super) async fn serve(arguments: &[String]) -> anyhow::Result<()> {
    let [certificate, key, port] = arguments else {
        anyhow::bail!("usage: tls-server CERTIFICATE KEY PORT");
    };
    let identity = ServerIdentity::new(Identity::load(certificate, key)?);
    let tls = server_config(&identity, ClientCertificates::Ignored);
    let service = Service {
        name: "bench",
        refusals: Default::default(),
        host: "localhost".to_owned(),
        drain: Default::default(),
        routes: |app: &mut web::ServiceConfig| {
            app.route("/", web::get().to(async || HttpResponse::Ok().body("pong")));
        },
    };
    // All clients have one address.
    let http = HttpConfig {
        connections_per_address: 100_000,
        handshakes_per_address: 100_000,
        full_handshakes_per_second: 1_000_000,
        requests_per_address: 1_000_000,
        ..HttpConfig::default()
    };
    let listen = ([127, 0, 0, 1], port.parse()?).into();
    let config = Config {
        listen,
        inherited: None,
        workers: 1,
        limits: Limits { http, ..Limits::default() },
    };
    let supervisor = Supervisor::default();
    let _server = Server::start(config, tls, service, &supervisor).context("it cannot listen")?;
    pending().await
}
