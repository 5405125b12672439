//! Reads the certificate files: our identity, and whom we trust.

use std::path::Path;

use stream_pki::{Fingerprint, Identity, PkiError, Trust};
use stream_protocol::error_chain;

use crate::Config;
use crate::error::AmsError;

/// No list of pins comes near it; what is larger is the wrong file. In bytes.
const MAX_PINS_BYTES: u64 = 64 * 1024;

/// Reads the certificates and pins.
///
/// # Errors
///
/// [`AmsError::Config`] with a sentence when a file cannot be used.
pub(crate) fn read(config: &Config) -> Result<(Identity, Trust), AmsError> {
    let unusable = |error: PkiError| refused(&error_chain(&error));
    let trust = match (&config.fingerprints[..], &config.pins, &config.ca) {
        ([], Some(path), None) => Trust::Pins(pins(path)?),
        ([], None, Some(ca)) => Trust::from_ca_file(ca).map_err(unusable)?,
        (fingerprints, None, None) => Trust::Pins(fingerprints.to_vec()),
        _ => return Err(refused("give one of fingerprints, pins and ca, not several")),
    };
    let identity = Identity::load(&config.certificate, &config.key).map_err(unusable)?;
    Ok((identity, trust))
}

fn pins(path: &Path) -> Result<Vec<Fingerprint>, AmsError> {
    let name = path.display();
    let unreadable = |error: std::io::Error| refused(&format!("{name}: {error}"));
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_PINS_BYTES {
        return Err(refused(&format!("{name}: no file of fingerprints is so large")));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let pins = listed(&text).map_err(|line| {
        refused(&format!("{name}:{line}: no SHA-256 fingerprint of 64 hexadecimal digits"))
    })?;
    if pins.is_empty() {
        return Err(refused(&format!("{name}: there is no fingerprint in it")));
    }
    Ok(pins)
}

/// Reads one fingerprint a line; what follows a `#` is a remark. Refuses with the number of the
/// line that is neither.
fn listed(text: &str) -> Result<Vec<Fingerprint>, usize> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let given = lines.zip(1..).filter(|(line, _)| !line.is_empty());
    given.map(|(line, number)| line.parse().map_err(|_| number)).collect()
}

fn refused(text: &str) -> AmsError {
    AmsError::Config(format!("ams: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_pins_holds_one_a_line_and_remarks() {
        let (one, two) = ("ab".repeat(32), "cd".repeat(32));
        let text = format!("# present\n{one}\n\n  {two}  # next\n");
        let pins = listed(&text).expect("two pins");
        assert_eq!(pins.iter().map(Fingerprint::to_string).collect::<Vec<_>>(), [one, two]);
        assert_eq!(listed("# none\n"), Ok(Vec::new()));
        assert_eq!(listed("\nabcd\n"), Err(2));
    }
}
