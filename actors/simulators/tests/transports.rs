//! Whom an instance takes for its agent, over each transport; the test plays the agent.

#[allow(dead_code, reason = "half of it plays a gateway")]
mod harness;

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use stream_pki::{ClientCertificates, Fingerprint, Identity, ServerIdentity, server_config};
use stream_simulators::instance::{self, Behaviour, Transport};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

/// Far more than anything here takes; only a failure waits for it.
const SOON: Duration = Duration::from_secs(60);

const TRANSPORTS: [Transport; 3] = [Transport::Rest, Transport::Socket, Transport::Hop];

/// Shows the certificate of the identity called `name`.
fn acceptor(name: &str) -> Result<TlsAcceptor> {
    let file = harness::identity_file(name);
    let served = ServerIdentity::new(Identity::load(&file, &file)?);
    Ok(TlsAcceptor::from(server_config(&served, ClientCertificates::Ignored)))
}

/// Returns how many of three connections an instance goes on with that is told `pin`, when its
/// agent shows the certificate of the identity `harness`.
async fn accepted(behaviour: Behaviour, pin: &str) -> Result<usize> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("https://{}", listener.local_addr()?);
    let acceptor = acceptor("harness")?;
    let (stop, stopped) = watch::channel(false);
    let server = async {
        let mut accepted = 0;
        for _ in 0..3 {
            let (tcp, _) = listener.accept().await?;
            accepted += usize::from(acceptor.accept(tcp).await.is_ok());
        }
        stop.send(true)?;
        anyhow::Ok(accepted)
    };
    let instance = instance::run(harness::userdata(&url, pin), behaviour, stopped);
    let (accepted, ended) = timeout(SOON, async { tokio::join!(server, instance) }).await?;
    ended?;
    accepted
}

fn over(transport: Transport) -> Behaviour {
    Behaviour { transport, ..Behaviour::default() }
}

#[actix_web::test]
async fn a_server_with_another_certificate_is_told_nothing_and_tried_again() -> Result<()> {
    let named = harness::identity().fingerprint().to_string();
    let other = Fingerprint([7; 32]).to_string();
    for transport in TRANSPORTS {
        ensure!(accepted(over(transport), &named).await? == 3, "{transport:?}");
        ensure!(accepted(over(transport), &other).await? == 0, "{transport:?}");
    }
    Ok(())
}

#[actix_web::test]
async fn an_agent_that_names_no_certificate_is_trusted_by_its_authority() -> Result<()> {
    for transport in TRANSPORTS {
        for (authority, expected) in [("harness", 3), ("other", 0)] {
            let authority = Some(harness::identity_file(authority));
            let behaviour = Behaviour { authority, ..over(transport) };
            let accepted = accepted(behaviour, "").await?;
            ensure!(accepted == expected, "{transport:?}: {accepted}");
        }
        // What is named counts alone: an authority makes good for no other certificate.
        let authority = Some(harness::identity_file("harness"));
        let other = Fingerprint([7; 32]).to_string();
        let behaviour = Behaviour { authority, ..over(transport) };
        ensure!(accepted(behaviour, &other).await? == 0, "{transport:?}");
    }
    Ok(())
}

/// Runs again in a process of its own, whose system has the authorities of `SSL_CERT_FILE`.
#[actix_web::test]
async fn an_agent_that_names_no_certificate_is_trusted_by_an_authority_of_the_system() -> Result<()>
{
    const NAME: &str =
        "an_agent_that_names_no_certificate_is_trusted_by_an_authority_of_the_system";
    const EXPECTED: &str = "STREAM_TEST_EXPECTED";
    if let Ok(expected) = std::env::var(EXPECTED) {
        let expected: usize = expected.parse()?;
        for transport in TRANSPORTS {
            let accepted = accepted(over(transport), "").await?;
            ensure!(accepted == expected, "{transport:?}: {accepted}");
        }
        return Ok(());
    }
    for (authority, expected) in [("harness", "3"), ("other", "0")] {
        let mut again = Command::new(std::env::current_exe()?);
        again.args([NAME, "--exact"]).env(EXPECTED, expected);
        again.env("SSL_CERT_FILE", harness::identity_file(authority)).env_remove("SSL_CERT_DIR");
        let output = again.output()?;
        ensure!(output.status.success(), "{authority}: {output:?}");
    }
    Ok(())
}

/// Completes a handshake and an upgrade, and returns the socket and its address.
async fn socket(
    listener: &TcpListener,
    acceptor: &TlsAcceptor,
) -> Result<(String, WebSocketStream<TlsStream<TcpStream>>)> {
    let (tcp, _) = listener.accept().await?;
    let tls = acceptor.accept(tcp).await?;
    let address = Arc::new(Mutex::new(String::new()));
    let seen = Arc::clone(&address);
    #[expect(clippy::result_large_err, reason = "the form of the callback is not ours")]
    let note = move |request: &Request, response: Response| {
        *seen.lock().expect("no test panics in here") = request.uri().to_string();
        Ok(response)
    };
    let socket = accept_hdr_async(tls, note).await?;
    let address = address.lock().expect("no test panics in here").clone();
    Ok((address, socket))
}

/// The certificate was once checked everywhere but here: CVE-2024-8287.
#[actix_web::test]
async fn the_signaling_socket_checks_the_certificate_as_the_control_socket_does() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("https://{}", listener.local_addr()?);
    let (named, other) = (acceptor("harness")?, acceptor("other")?);
    let (stop, stopped) = watch::channel(false);
    let agent = async {
        let (address, mut control) = socket(&listener, &named).await?;
        ensure!(address.ends_with("/sockets/control"), "{address:?}");
        let report = control.next().await.context("a report")??;
        ensure!(report.to_text()?.contains("running"), "{report:?}");
        ensure!(control.next().await.context("a ping")??.is_ping());
        let commands = json!({
            "revision": 1, "generation": 1, "signaling": "open", "client": null, "ice_renewal": 0,
            "desired": "running",
        });
        control.send(Message::text(commands.to_string())).await?;

        // ICE servers are asked for once, and signals again and again.
        for _ in 0..4 {
            let (tcp, _) = listener.accept().await?;
            ensure!(other.accept(tcp).await.is_err(), "the instance went on");
        }
        let (address, _signaling) = socket(&listener, &named).await?;
        ensure!(address.ends_with("/sockets/master?after="), "{address:?}");
        stop.send(true)?;
        Ok(())
    };
    let userdata = harness::userdata(&url, &harness::identity().fingerprint().to_string());
    let instance = instance::run(userdata, over(Transport::Socket), stopped);
    let (agent, instance) = timeout(SOON, async { tokio::join!(agent, instance) }).await?;
    agent?;
    Ok(instance?)
}
