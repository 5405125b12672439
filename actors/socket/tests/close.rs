//! A socket on a real server: its connection is over as soon as both ends have closed it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::{self, Payload, ServiceConfig};
use actix_web::{Error, HttpRequest, HttpResponse};
use rustls::pki_types::ServerName;
use stream_http::{Config, Limits, Server, Service};
use stream_pki::{
    ClientCertificates, Identity, ServerIdentity, Trust, client_config, self_signed, server_config,
};
use stream_socket::{CloseCause, CloseCode, close, open};
use stream_supervisor::{Supervisor, spawn_detached};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Longer than anything here takes.
const TIMEOUT: Duration = Duration::from_secs(20);

const UPGRADE: &[u8] = b"GET /socket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n\r\n";

const CLOSE: u8 = 0x88;

/// A frame of a client; the mask is zero.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short frame");
    [&[opcode, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

/// Has a socket that ends when its peer leaves or says "end".
async fn socket(request: HttpRequest, payload: Payload) -> Result<HttpResponse, Error> {
    let (response, sender, mut receiver) = open(&request, payload)?;
    spawn_detached("a socket", async move {
        let end = loop {
            match receiver.recv().await {
                Ok(text) if text == "end" => {
                    break CloseCause::server_error(CloseCode::Normal, "it is over");
                }
                Ok(_) => {}
                Err(end) => break end,
            }
        };
        close(sender, receiver, end).await;
    });
    Ok(response)
}

struct Client(TlsStream<TcpStream>);

impl Client {
    /// Opens a socket on a server that waits for an hour where it waits for a client to hang up.
    async fn open() -> Self {
        let pair = self_signed("socket", &[]).expect("a key pair");
        let identity = Identity::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes());
        let served = ServerIdentity::new(identity.expect("our own key pair"));
        let routes = |app: &mut ServiceConfig| {
            app.route("/socket", web::get().to(socket));
        };
        let (refusals, drain) = Default::default();
        let host = String::new();
        let service = Service { name: "sockets", refusals, host, drain, routes };
        let disconnect_timeout = Duration::from_secs(3600);
        let limits = Limits { disconnect_timeout, ..Limits::default() };
        let config =
            Config { listen: (Ipv4Addr::LOCALHOST, 0).into(), inherited: None, workers: 1, limits };
        let tls = server_config(&served, ClientCertificates::Ignored);
        let server = Server::start(config, tls, service, &Supervisor::default()).expect("started");

        let trust = Trust::Pins(vec![served.current().fingerprint()]);
        let tls = TlsConnector::from(Arc::new(client_config(&trust, None).expect("tls")));
        let name = ServerName::from(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let tcp = TcpStream::connect(server.address()).await.expect("a connection");
        let mut client = Self(tls.connect(name, tcp).await.expect("a handshake"));
        client.0.write_all(UPGRADE).await.expect("sent");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.0.read_u8().await.expect("an answer"));
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        client
    }

    async fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.0.write_all(&frame(opcode, payload)).await.expect("sent");
    }

    /// Returns the opcode of the next frame.
    async fn next(&mut self) -> u8 {
        let opcode = self.0.read_u8().await.expect("a frame");
        let length = self.0.read_u8().await.expect("its length");
        let mut payload = vec![0; usize::from(length)];
        self.0.read_exact(&mut payload).await.expect("its payload");
        opcode
    }

    /// Waits until the server has closed the connection, and well.
    async fn closed(&mut self) {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(TIMEOUT, self.0.read_to_end(&mut rest)).await;
        read.expect("the connection is closed").expect("and its TLS as well");
        assert!(rest.is_empty(), "{rest:?}");
    }
}

#[actix_web::test]
async fn a_client_that_closes_its_socket_sees_the_connection_go() {
    let mut client = Client::open().await;
    client.send(CLOSE, &1000u16.to_be_bytes()).await;
    while client.next().await != CLOSE {}
    client.closed().await;
}

#[actix_web::test]
async fn a_client_that_is_told_of_the_end_sees_the_connection_go_when_it_has_closed_as_well() {
    let mut client = Client::open().await;
    client.send(0x81, b"end").await;
    while client.next().await != CLOSE {}
    client.send(CLOSE, &1000u16.to_be_bytes()).await;
    client.closed().await;
}
