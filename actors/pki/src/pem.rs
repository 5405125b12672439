//! PEM files: the one place where certificates and keys are read. An error names file and line.
//!
//! What people do to such files does no harm: glued blocks, byte order marks, indentation, ends of
//! lines of any system, remarks between the blocks. A block that is not read is an error, never
//! skipped: a certificate that is silently left out shows only when somebody needs it.

use std::path::Path;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::parse_x509_certificate;
use zeroize::Zeroizing;

use crate::error::PkiError;
use crate::private_file::{self, ReadError};

/// Enough for a bundle of public authorities.
const MAX_FILE_BYTES: usize = 1 << 20;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Reads the file `path` of certificates, refusing more than a mebibyte.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    private_file::read_public(path, MAX_FILE_BYTES).map_err(|source| unreadable(path, source))
}

/// Reads the file `path` of a private key, refusing more than a mebibyte and what is open to
/// others.
pub(crate) fn read_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    private_file::read(path, MAX_FILE_BYTES).map_err(|error| match error {
        ReadError::Io(source) => unreadable(path, source),
        ReadError::NotPrivate(why) => PkiError::NotPrivate(why),
    })
}

fn unreadable(path: &Path, source: std::io::Error) -> PkiError {
    PkiError::Unreadable { origin: path.display().to_string(), source }
}

/// Returns the certificates in `text`, at least one, and every one. Keys beside them are no fault.
pub(crate) fn certificates(
    text: &[u8],
    origin: &str,
) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let mut certificates = Vec::new();
    for block in blocks(text, origin)? {
        match block.label.as_str() {
            // The second is what OpenSSL wrote long ago.
            "CERTIFICATE" | "X509 CERTIFICATE" => {
                let der = CertificateDer::from_pem_slice(block.plain("CERTIFICATE").as_bytes());
                let der = der.map_err(|_| refused(origin, block.line, "is not base64"))?;
                if !parse_x509_certificate(&der).is_ok_and(|(rest, _)| rest.is_empty()) {
                    let source = rustls::CertificateError::BadEncoding.into();
                    return Err(PkiError::BadCertificate { origin: origin.to_owned(), source });
                }
                certificates.push(der);
            }
            _ if block.is_key_or_parameters() => {}
            _ => return Err(block.unknown(origin, "openssl x509")),
        }
    }
    if certificates.is_empty() {
        return Err(PkiError::NoCertificate { origin: origin.to_owned() });
    }
    Ok(certificates)
}

/// Returns the only private key in `text`. Certificates beside it are no fault.
pub(crate) fn key(text: &[u8], origin: &str) -> Result<PrivateKeyDer<'static>, PkiError> {
    let mut key = None;
    for block in blocks(text, origin)? {
        match block.label.as_str() {
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" if !block.is_encrypted => {
                let der = PrivateKeyDer::from_pem_slice(block.plain(&block.label).as_bytes());
                let der = der.map_err(|_| refused(origin, block.line, "is not base64"))?;
                if key.replace(der).is_some() {
                    let text = "there is a second private key: leave only the one to use";
                    return Err(refused(origin, block.line, text));
                }
            }
            label if block.is_encrypted || label == "ENCRYPTED PRIVATE KEY" => {
                let text = "the key is encrypted: write it without a password, `openssl pkey` does";
                return Err(refused(origin, block.line, text));
            }
            label if label.ends_with("CERTIFICATE") => {}
            "OPENSSH PRIVATE KEY" => return Err(block.unknown(origin, "ssh-keygen -p -m PKCS8")),
            _ if block.is_key_or_parameters() => {}
            _ => return Err(block.unknown(origin, "openssl pkey")),
        }
    }
    key.ok_or_else(|| PkiError::NoKey { origin: origin.to_owned() })
}

/// What stands between a BEGIN and its END.
struct Block {
    /// The line of the BEGIN, counted from 1.
    line: usize,
    label: String,
    /// The base64 text, without white space.
    body: Zeroizing<String>,
    /// Whether a header (RFC 1421) says so.
    is_encrypted: bool,
}

impl Block {
    /// Writes the block as every reader takes it.
    fn plain(&self, label: &str) -> Zeroizing<String> {
        let body = self.body.as_str();
        Zeroizing::new(format!("{BEGIN}{label}{DASHES}\n{body}\n{END}{label}{DASHES}\n"))
    }

    /// Whether it is what stands beside certificates and keys in many files, and holds neither a
    /// certificate nor the private key of one.
    fn is_key_or_parameters(&self) -> bool {
        ["PRIVATE KEY", "PUBLIC KEY", " PARAMETERS"].iter().any(|end| self.label.ends_with(end))
    }

    fn unknown(&self, origin: &str, tool: &str) -> PkiError {
        let text = format!("{} is not read here: remove it, or convert it by `{tool}`", self.label);
        refused(origin, self.line, &text)
    }

    /// Takes a part of the block's text; refuses what is neither base64 nor a header.
    fn take(&mut self, text: &str) -> Result<(), &'static str> {
        let text = text.trim();
        if text.contains(':') {
            self.is_encrypted |= text.contains("ENCRYPTED");
            return Ok(());
        }
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
        let characters = || text.chars().filter(|c| !c.is_whitespace());
        if !characters().all(is_base64) {
            return Err("this is not base64");
        }
        self.body.extend(characters());
        Ok(())
    }
}

/// Returns all blocks of `text`.
fn blocks(text: &[u8], origin: &str) -> Result<Vec<Block>, PkiError> {
    let text = Zeroizing::new(String::from_utf8_lossy(text).replace("\r\n", "\n"));
    let (mut blocks, mut open) = (Vec::new(), None::<Block>);
    for (line, text) in (1..).zip(text.split(['\n', '\r'])) {
        let mut rest = text;
        // A line may end one block and begin the next.
        loop {
            let at = rest.find(DASHES);
            let Some(mut block) = open.take() else {
                match begin(rest, line).map_err(|problem| refused(origin, line, problem))? {
                    None => break,
                    Some((block, after)) => (open, rest) = (Some(block), after),
                }
                continue;
            };
            let body = &rest[..at.unwrap_or(rest.len())];
            block.take(body).map_err(|problem| refused(origin, line, problem))?;
            let Some(at) = at else {
                open = Some(block);
                break;
            };
            let ended = rest[at..].strip_prefix(END).and_then(|end| end.split_once(DASHES));
            let Some((label, after)) = ended else { return Err(unended(origin, &block)) };
            if label != block.label {
                let text = format!("{} ends as {}", block.label, label.escape_debug());
                return Err(refused(origin, block.line, &text));
            }
            blocks.push(block);
            rest = after;
        }
    }
    match open {
        Some(block) => Err(unended(origin, &block)),
        None => Ok(blocks),
    }
}

/// Looks for the beginning of a block in a text outside of any. Returns the block and what follows.
fn begin(text: &str, line: usize) -> Result<Option<(Block, &str)>, &'static str> {
    let Some(at) = text.find(BEGIN) else {
        return match text.contains(END) {
            true => Err("what ends here does not begin"),
            false => Ok(None),
        };
    };
    let label = text[at + BEGIN.len()..].split_once(DASHES);
    let (label, after) = label.ok_or("the line that begins a block is cut")?;
    // It is told again, on a terminal perhaps.
    if !label.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err("the label of the block is none");
    }
    let (label, body) = (label.to_owned(), Zeroizing::default());
    Ok(Some((Block { line, label, body, is_encrypted: false }, after)))
}

fn unended(origin: &str, block: &Block) -> PkiError {
    refused(origin, block.line, &format!("{} begins and does not end", block.label))
}

fn refused(origin: &str, line: usize, problem: &str) -> PkiError {
    PkiError::Malformed { origin: origin.to_owned(), line, problem: problem.to_owned() }
}
