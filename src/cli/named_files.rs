//! The files that the configurations of both programs name alike.

use stream_pki::PairStore;

use crate::certificates::CertificateUse;
use crate::doctor::files::SecretFile;

/// The certificates of a server, which `pinned_by` know by their fingerprints.
pub(super) fn of_server(tls: &stream_tls::Config, pinned_by: &'static str) -> Vec<CertificateUse> {
    let server = CertificateUse::own("server", "tls.certificate", &tls.certificate, &tls.key);
    let mut uses = vec![server.pinned_by(pinned_by).renewed(tls.renew)];
    if let (Some(certificate), Some(key)) = (&tls.next_certificate, &tls.next_key) {
        let next = CertificateUse::own("next server", "tls.next_certificate", certificate, key);
        uses.push(next.pinned_by(pinned_by));
    }
    if PairStore::behind(&tls.certificate).is_some() {
        let authority = tls.certificate.with_file_name("ca.crt");
        let authority = CertificateUse::trusted("authority", "tls.certificate", &authority);
        uses.push(authority.optional());
    }
    uses
}

pub(super) fn of_nats(nats: &stream_bridge::Config) -> Vec<CertificateUse> {
    let mut uses = vec![CertificateUse::trusted("nats ca", "nats.ca", &nats.ca)];
    if let (Some(certificate), Some(key)) = (&nats.certificate, &nats.key) {
        uses.push(CertificateUse::own("nats client", "nats.certificate", certificate, key));
    }
    uses
}

pub(super) fn secrets_of_nats(nats: &stream_bridge::Config) -> Vec<SecretFile> {
    let named = [
        ("nats.token", &nats.token),
        ("nats.credentials", &nats.credentials),
        ("nats.nkey", &nats.nkey),
        ("nats.key", &nats.key),
    ];
    let there = named.into_iter().filter_map(|(name, file)| Some((name, file.as_ref()?)));
    there.map(|(name, file)| SecretFile::kept(name, file)).collect()
}
