//! Faults between the launch and the first word of the instance.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::FutureExt;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use stream_dev::in_process::Options;
use stream_simulators::ams::Faults;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use toml::toml;

use super::{Row, Stage, play, row};
use crate::support::{APP, Http, Instance};
use stream_protocol::Screen;

pub(super) const ROWS: &[Row] = &[
    row("instance never came", "boot", "instance_never_came", |stage| {
        never_came(stage).boxed_local()
    }),
    row("wrong pin", "boot", "wrong_pin", |stage| wrong_pin(stage).boxed_local()),
    row("certificate expired", "boot", "certificate_expired", |stage| expired(stage).boxed_local()),
    row("instance died in boot", "boot", "instance_died", |stage| died(stage).boxed_local()),
];

pub(super) const SLOW: &[Row] =
    &[row("boot too slow", "boot", "boot_too_slow", |stage| slow(stage).boxed_local())];

fn impatient() -> Options {
    let agent = toml! {
        agent.boot_timeout_s = 2
        agent.sweep_s = 1
    };
    Options { agent, ..Options::default() }
}

#[test]
fn what_becomes_of_an_instance_that_does_not_come_is_named() {
    play(impatient(), ROWS);
}

#[test]
fn a_boot_that_takes_too_long_is_named() {
    play(Options { boot: Duration::from_secs(60), ..impatient() }, SLOW);
}

async fn never_came(stage: &mut Stage) -> anyhow::Result<String> {
    let (session, instance) = stage.scripted.create().await?;
    stage.kept.push(Box::new(instance));
    Ok(session.id)
}

/// The instance trusts another certificate than the one that the agent shows.
async fn wrong_pin(stage: &mut Stage) -> anyhow::Result<String> {
    let (session, instance) = stage.scripted.create().await?;
    let Instance { userdata, .. } = &instance;
    let other = stage.scripted.stack.nodes.gateway_pin()?;
    let mistaken = Http::new(&userdata.agent_url, Some(&userdata.token), other)?;
    ensure!(mistaken.get(&instance.path("/commands?after=0&wait=0")).await.is_err());
    stage.kept.push(Box::new(instance));
    Ok(session.id)
}

/// For the instance, by its clock, the certificate of the agent has expired.
async fn expired(stage: &mut Stage) -> anyhow::Result<String> {
    let (session, instance) = stage.scripted.create().await?;
    let host = instance.userdata.agent_url.strip_prefix("https://").context("https")?;
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(FindsExpired))
        .with_no_client_auth();
    let tcp = TcpStream::connect(host).await?;
    let name = ServerName::try_from("localhost")?;
    ensure!(TlsConnector::from(Arc::new(config)).connect(name, tcp).await.is_err());
    stage.kept.push(Box::new(instance));
    Ok(session.id)
}

async fn died(stage: &mut Stage) -> anyhow::Result<String> {
    stage.scripted.stack.ams.set_faults(Faults { broken_boot_every: 1, ..Faults::default() });
    let session = stage.scripted.client.create(APP, Screen::default()).await?;
    Ok(session.id)
}

async fn slow(stage: &mut Stage) -> anyhow::Result<String> {
    Ok(stage.scripted.client.create(APP, Screen::default()).await?.id)
}

/// Whoever looks at a certificate with a clock of years to come.
#[derive(Debug)]
struct FindsExpired;

impl ServerCertVerifier for FindsExpired {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Err(CertificateError::Expired.into())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PSS_SHA512]
    }
}
