//! PEM as it is found in the world: what is read, and the line of what is not.

use std::path::PathBuf;

use stream_pki::{Identity, Trust};

use crate::keys::{ALICE, AUTHORIZED, BOB};

struct File {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn file(text: impl AsRef<[u8]>) -> File {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file.pem");
    stream_pki::write_new(&path, text.as_ref(), 0o600).unwrap();
    File { _directory: directory, path }
}

/// How many certificates of an authority file are trusted.
fn trusted(text: impl AsRef<[u8]>) -> usize {
    let file = file(text);
    let Trust::Authority(certificates) = Trust::from_ca_file(&file.path).unwrap() else {
        panic!("no authority")
    };
    certificates.len()
}

/// The sentence of the refusal of a text, with FILE for the name of its file.
fn refusal(text: &str) -> String {
    let file = file(text);
    let sentence = Trust::from_ca_file(&file.path).unwrap_err().to_string();
    sentence.replace(&file.path.display().to_string(), "FILE")
}

fn chain(text: &str, key: &str) -> Identity {
    let (certificate, key) = (file(text), file(key));
    Identity::load(&certificate.path, &key.path).unwrap()
}

fn two() -> [&'static str; 2] {
    [ALICE.certificate.trim_end(), BOB.certificate.trim_end()]
}

#[test]
fn no_way_of_writing_two_certificates_loses_one() {
    let [one, other] = two();
    let indented = |text: &str| text.lines().map(|line| format!("\t  {line} \n")).collect();
    let (indented_one, indented_other): (String, String) = (indented(one), indented(other));
    for (what, text) in [
        ("as it should be", format!("{one}\n{other}\n")),
        ("glued", format!("{one}{other}")),
        ("a byte order mark first", format!("\u{feff}{one}\n{other}\n")),
        ("two marked files in a row", format!("\u{feff}{one}\n\u{feff}{other}\n")),
        ("indented", format!("{indented_one}{indented_other}")),
        ("ends of lines of Windows", format!("{one}\n{other}\n").replace('\n', "\r\n")),
        ("ends of lines of old", format!("{one}\n{other}\n").replace('\n', "\r")),
        ("on one line", format!("{one} {other}").replace('\n', " ")),
        ("with remarks", format!("subject=CN = a\n{one}\n\n# other - b\n{other}\n-----\n")),
        ("the old label", format!("{one}\n{}", other.replace("CERTIFICATE", "X509 CERTIFICATE"))),
    ] {
        assert_eq!(trusted(&text), 2, "{what}");
        let identity = chain(&text, &ALICE.key);
        assert_eq!(identity.chain().len(), 2, "{what}");
    }
}

#[test]
fn what_is_not_read_is_refused_with_its_line() {
    let [one, other] = two();
    let lines = one.lines().count();
    let second = lines + 1;
    let trusted = other.replace("CERTIFICATE", "TRUSTED CERTIFICATE");
    let list = other.replace("CERTIFICATE", "X509 CRL");
    let (head, _) = other.split_at(500);
    let (_, tail) = other.split_once('\n').unwrap();
    for (what, text, line, says) in [
        ("trusted", format!("{one}\n{trusted}\n"), second, "TRUSTED CERTIFICATE is not read"),
        ("trusted first", format!("{trusted}\n{one}\n"), 1, "TRUSTED CERTIFICATE is not read"),
        ("a revocation list", format!("{one}\n{list}\n"), second, "X509 CRL is not read"),
        ("without an end", format!("{one}\n{head}"), second, "does not end"),
        ("an end missing between", format!("{head}\n{one}\n"), 1, "does not end"),
        ("without a beginning", format!("{one}\n{tail}\n"), lines * 2 - 1, "does not begin"),
        ("what a terminal obeys", one.replace("CERTIFICATE", "\u{1b}[2J"), 1, "the label"),
        ("an end that it obeys", one.replace("END C", "END \u{1b}[2JC"), 1, "ends as"),
        ("another end", format!("{one}\n{other}\n").replace("END C", "END X509 C"), 1, "ends as"),
        (
            "no base64",
            format!("{one}\n{}\n", other.replacen("MII", "M*I", 1)),
            second + 1,
            "base64",
        ),
    ] {
        let sentence = refusal(&text);
        assert!(sentence.starts_with(&format!("FILE:{line}: ")), "{what}: {sentence}");
        assert!(sentence.contains(says), "{what}: {sentence}");
        assert!(!sentence.contains(char::is_control), "{what}: {sentence:?}");
    }
}

#[test]
fn a_key_is_read_however_it_is_written_and_never_chosen_from_two() {
    let key = ALICE.key.trim_end();
    let marked = format!("\u{feff}{key}");
    let beside = format!("{}{key}{}", ALICE.certificate, ALICE.certificate);
    for text in [&marked, &beside, &key.replace('\n', "\r\n"), &key.replace('\n', "\n  ")] {
        chain(&ALICE.certificate, text);
    }
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let header = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x,y\n\nAAAA\n\
                  -----END RSA PRIVATE KEY-----\n";
    let of_ssh = key.replace("PRIVATE KEY", "OPENSSH PRIVATE KEY");
    let two = format!("{key}\n{}", *BOB.key);
    let line = key.lines().count() + 1;
    for (text, says) in [
        (encrypted.as_str(), ":1: not well-formed PEM: the key is encrypted".to_owned()),
        (header, ":1: not well-formed PEM: the key is encrypted".to_owned()),
        (&of_ssh, ":1: not well-formed PEM: OPENSSH PRIVATE KEY is not read".to_owned()),
        (&two, format!(":{line}: not well-formed PEM: there is a second private key")),
    ] {
        let (certificate, key) = (file(&ALICE.certificate), file(text));
        let sentence = Identity::load(&certificate.path, &key.path).unwrap_err().to_string();
        assert!(sentence.contains(&says), "{sentence}");
        assert!(sentence.starts_with(&key.path.display().to_string()), "{sentence}");
    }
}

#[test]
fn a_certificate_that_is_none_is_refused_with_its_file_wherever_it_stands() {
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let text = format!("{}{garbage}", AUTHORIZED.server.certificate);
    let (certificate, key) = (file(text), file(AUTHORIZED.server.key.as_bytes()));
    let sentence = Identity::load(&certificate.path, &key.path).unwrap_err().to_string();
    assert!(sentence.contains("file.pem holds a certificate that cannot be used"), "{sentence}");
}
