//! What cannot be spared: two messages through the store of NATS and two echoes over TLS.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use actix_web::web::{self, Payload};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use anyhow::Context;
use async_nats::jetstream::stream::{Config, Republish};
use async_nats::{Client, ConnectOptions, jetstream};
use futures_util::StreamExt;
use stream_dev::in_process::Stack;
use stream_pki::{
    ClientCertificates, Fingerprint, Identity, ServerIdentity, Trust, client_config, server_config,
};
use stream_socket::{SocketReceiver, SocketSender};
use stream_supervisor::spawn_detached;
use tokio::sync::oneshot;

use super::socket::{Path, Socket};

const READY_WITHIN: Duration = Duration::from_secs(30);

pub(super) struct Baseline {
    pub(super) paths: Vec<Path>,
}

impl Baseline {
    pub(super) async fn start(stack: &Stack, paths: usize) -> anyhow::Result<Self> {
        let dir = stack.nodes.gateway_dir();
        let identity = Identity::load(dir.join("server.crt"), dir.join("server.key"))?;
        let pin = identity.fingerprint();
        let url = echo_server(identity)?;
        let gateway = Address::of(stack)?.connect().await?;
        let stream = Config {
            name: "baseline".to_owned(),
            subjects: vec!["baseline.>".to_owned()],
            allow_direct: true,
            republish: Some(Republish {
                source: "baseline.>".to_owned(),
                destination: "bare.baseline.>".to_owned(),
                headers_only: false,
            }),
            ..Config::default()
        };
        jetstream::new(gateway.clone()).create_stream(stream).await?;
        agent(stack, paths, &url, pin).await?;
        let mut all = Vec::with_capacity(paths);
        for n in 0..paths {
            let back = gateway.subscribe(format!("bare.baseline.{n}.back")).await?;
            let echo = Socket::open(&url, pin, None).await?;
            let (nats, there) = (gateway.clone(), format!("baseline.{n}.there"));
            all.push(Path::Baseline { echo, nats, there, back });
        }
        gateway.flush().await?;
        Ok(Self { paths: all })
    }
}

/// How NATS is reached, also from another thread.
struct Address {
    ca: PathBuf,
    token: String,
    url: String,
}

impl Address {
    fn of(stack: &Stack) -> anyhow::Result<Self> {
        let token = std::fs::read_to_string(stack.nats.token())?;
        Ok(Self { ca: stack.nats.ca(), token, url: stack.nats.url() })
    }

    async fn connect(self) -> anyhow::Result<Client> {
        let tls = client_config(&Trust::from_ca_file(&self.ca)?, None)?;
        let options = ConnectOptions::with_token(self.token).require_tls(true).tls_first();
        Ok(options.tls_client_config(tls).connect(self.url).await?)
    }
}

/// The other end, on a thread of its own as ours is: what comes goes through an echo and back.
async fn agent(stack: &Stack, paths: usize, url: &str, pin: Fingerprint) -> anyhow::Result<()> {
    let (nats, url) = (Address::of(stack)?, url.to_owned());
    let (ready, started) = oneshot::channel();
    std::thread::Builder::new().name("baseline".to_owned()).spawn(move || {
        actix::System::new().block_on(async move {
            let told = serve(nats, paths, &url, pin).await;
            let failed = told.is_err();
            let _ = ready.send(told);
            if !failed {
                std::future::pending::<()>().await;
            }
        });
    })?;
    tokio::time::timeout(READY_WITHIN, started).await?.context("the other end is gone")?
}

async fn serve(at: Address, paths: usize, url: &str, pin: Fingerprint) -> anyhow::Result<()> {
    let nats = at.connect().await?;
    for n in 0..paths {
        let mut there = nats.subscribe(format!("bare.baseline.{n}.there")).await?;
        let mut echo = Socket::open(url, pin, None).await?;
        let (nats, back) = (nats.clone(), format!("baseline.{n}.back"));
        spawn_detached("a path of the baseline", async move {
            while let Some(message) = there.next().await {
                let text = String::from_utf8_lossy(&message.payload).into_owned();
                if echo.send(text).await.is_err() {
                    return;
                }
                let Ok(text) = echo.recv().await else { return };
                if nats.publish(back.clone(), text.into()).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(nats.flush().await?)
}

/// A server whose sockets say again whatever they hear; returns their address.
fn echo_server(identity: Identity) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("wss://{}/", listener.local_addr()?);
    let tls = server_config(&ServerIdentity::new(identity), ClientCertificates::Ignored);
    let app = || App::new().route("/", web::get().to(echo));
    let server = HttpServer::new(app)
        .workers(2)
        .tcp_nodelay(true)
        .disable_signals()
        .listen_rustls_0_23(listener, (*tls).clone())?;
    spawn_detached("the echo server", async move {
        // It ends with the bench.
        let _ = server.run().await;
    });
    Ok(url)
}

async fn echo(request: HttpRequest, payload: Payload) -> actix_web::Result<HttpResponse> {
    let (response, sender, receiver) = stream_socket::open(&request, payload)?;
    spawn_detached("an echo", say_again(sender, receiver));
    Ok(response)
}

async fn say_again(mut sender: SocketSender, mut receiver: SocketReceiver) {
    while let Ok(text) = receiver.recv().await {
        if sender.send(text).await.is_err() {
            return;
        }
    }
}
