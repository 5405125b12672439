//! Binary format 2: sections of fields, each field a kind, a length and that many bytes.
//!
//! A header section, one section for each caveat, an empty section, and the signature.

use zeroize::Zeroizing;

use crate::{MAX_CAVEATS, Macaroon, MacaroonError, Signature};

const VERSION: u8 = 2;

/// The kinds of field; within a section they come in growing order, each at most once.
const END_OF_SECTION: usize = 0;
const LOCATION: usize = 1;
const IDENTIFIER: usize = 2;
const VERIFICATION: usize = 4;
const SIGNATURE: usize = 6;

pub(crate) fn encode(macaroon: &Macaroon) -> Zeroizing<Vec<u8>> {
    // Each field adds two bytes of frame, or a few more when it is long.
    let text = macaroon.location.len() + macaroon.identifier.len();
    let caveats: usize = macaroon.caveats.iter().map(|caveat| caveat.len() + 8).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(64 + text + caveats));

    out.push(VERSION);
    if !macaroon.location.is_empty() {
        put(&mut out, LOCATION, macaroon.location.as_bytes());
    }
    put(&mut out, IDENTIFIER, macaroon.identifier.as_bytes());
    put_varint(&mut out, END_OF_SECTION);
    for caveat in &macaroon.caveats {
        put(&mut out, IDENTIFIER, caveat.as_bytes());
        put_varint(&mut out, END_OF_SECTION);
    }
    put_varint(&mut out, END_OF_SECTION);
    put(&mut out, SIGNATURE, &*macaroon.signature);
    out
}

/// Accepts exactly what [`encode`] writes, so that a macaroon has one form in bytes.
pub(crate) fn decode(bytes: &[u8]) -> Result<Macaroon, MacaroonError> {
    let Some((&VERSION, rest)) = bytes.split_first() else {
        return Err(MacaroonError::Malformed);
    };
    let mut reader = Reader { rest };

    let header = reader.section()?;
    let (Some(identifier), None) = (header.identifier, header.verification) else {
        return Err(MacaroonError::Malformed);
    };
    let location = match header.location {
        // The Go library writes no field for an empty location.
        Some([]) => return Err(MacaroonError::Malformed),
        Some(location) => text(location)?,
        None => String::new(),
    };
    Ok(Macaroon {
        location,
        identifier: text(identifier)?,
        caveats: reader.caveats()?,
        signature: reader.signature()?,
    })
}

/// What is left to read.
struct Reader<'a> {
    rest: &'a [u8],
}

#[derive(Default)]
struct Section<'a> {
    location: Option<&'a [u8]>,
    identifier: Option<&'a [u8]>,
    verification: Option<&'a [u8]>,
}

impl<'a> Reader<'a> {
    fn caveats(&mut self) -> Result<Vec<String>, MacaroonError> {
        let mut caveats = Vec::new();
        loop {
            match self.section()? {
                Section { location: None, identifier: None, verification: None } => {
                    return Ok(caveats);
                }
                Section { verification: Some(_), .. } => return Err(MacaroonError::ThirdParty),
                Section { location: None, identifier: Some(caveat), .. } => {
                    if caveats.len() == MAX_CAVEATS {
                        return Err(MacaroonError::TooManyCaveats);
                    }
                    caveats.push(text(caveat)?);
                }
                _ => return Err(MacaroonError::Malformed),
            }
        }
    }

    /// The last field, and nothing behind it.
    fn signature(&mut self) -> Result<Signature, MacaroonError> {
        match self.field()? {
            Some((SIGNATURE, signature)) if self.rest.is_empty() => {
                signature.try_into().map(Zeroizing::new).map_err(|_| MacaroonError::Malformed)
            }
            _ => Err(MacaroonError::Malformed),
        }
    }

    fn section(&mut self) -> Result<Section<'a>, MacaroonError> {
        let mut section = Section::default();
        let mut last = END_OF_SECTION;
        while let Some((kind, data)) = self.field()? {
            if kind <= last {
                return Err(MacaroonError::Malformed);
            }
            last = kind;
            match kind {
                LOCATION => section.location = Some(data),
                IDENTIFIER => section.identifier = Some(data),
                VERIFICATION => section.verification = Some(data),
                _ => return Err(MacaroonError::Malformed),
            }
        }
        Ok(section)
    }

    /// The next field, or `None` at the end of a section.
    fn field(&mut self) -> Result<Option<(usize, &'a [u8])>, MacaroonError> {
        let kind = self.varint()?;
        if kind == END_OF_SECTION {
            return Ok(None);
        }
        let length = self.varint()?;
        let (data, rest) = self.rest.split_at_checked(length).ok_or(MacaroonError::Malformed)?;
        self.rest = rest;
        Ok(Some((kind, data)))
    }

    /// A number below 2^28, in as few bytes as it can be written.
    fn varint(&mut self) -> Result<usize, MacaroonError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let (&byte, rest) = self.rest.split_first().ok_or(MacaroonError::Malformed)?;
            self.rest = rest;
            value |= usize::from(byte & 0x7f) << shift;
            match byte {
                0 if shift > 0 => return Err(MacaroonError::Malformed),
                0..0x80 => return Ok(value),
                0x80.. => {}
            }
        }
        Err(MacaroonError::Malformed)
    }
}

fn put(out: &mut Vec<u8>, kind: usize, data: &[u8]) {
    put_varint(out, kind);
    put_varint(out, data.len());
    out.extend_from_slice(data);
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn text(bytes: &[u8]) -> Result<String, MacaroonError> {
    str::from_utf8(bytes).map(str::to_owned).map_err(|_| MacaroonError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNED: [u8; 34] = {
        let mut field = [7; 34];
        field[0] = 6;
        field[1] = 32;
        field
    };

    fn refusal(parts: &[&[u8]]) -> Option<MacaroonError> {
        decode(&parts.concat()).err()
    }

    #[test]
    fn the_smallest_macaroon_is_read() {
        assert_eq!(refusal(&[b"\x02\x02\x01i\0\0", &SIGNED]), None);
        assert_eq!(refusal(&[b"\x02\x01\x01l\x02\x01i\0\x02\x01c\0\0", &SIGNED]), None);
    }

    #[test]
    fn fields_missing_doubled_misordered_or_unknown_are_refused() {
        for header in [
            &b"\0"[..],
            b"\x01\x01l\0",
            b"\x01\0\x02\x01i\0",
            b"\x02\x01i\x01\x01l\0",
            b"\x02\x01i\x02\x01i\0",
            b"\x02\x01i\x03\x01x\0",
            b"\x02\x01i\x04\x01v\0",
            b"\x02\x01i",
            b"\x02\x01\xff\0",
        ] {
            let refused = refusal(&[b"\x02", header, b"\0", &SIGNED]);
            assert_eq!(refused, Some(MacaroonError::Malformed), "{header:x?}");
        }
        for caveat in [&b"\x01\x01l\0"[..], b"\x01\x01l\x02\x01c\0", b"\x02\x01c\x02\x01c\0"] {
            let refused = refusal(&[b"\x02\x02\x01i\0", caveat, b"\0", &SIGNED]);
            assert_eq!(refused, Some(MacaroonError::Malformed), "{caveat:x?}");
        }
    }

    #[test]
    fn a_third_party_caveat_is_told_apart() {
        for caveat in [&b"\x02\x01c\x04\x01v\0"[..], b"\x01\x01l\x02\x01c\x04\x01v\0"] {
            let refused = refusal(&[b"\x02\x02\x01i\0", caveat, b"\0", &SIGNED]);
            assert_eq!(refused, Some(MacaroonError::ThirdParty), "{caveat:x?}");
        }
    }

    #[test]
    fn nothing_may_follow_the_signature_and_it_has_32_bytes() {
        let signed = SIGNED.as_slice();
        for end in [
            &[signed, b"\0"].concat(),
            &signed[..33],
            b"",
            b"\0",
            &[b"\x06\x1f", &signed[3..]].concat(),
        ] {
            let refused = refusal(&[b"\x02\x02\x01i\0\0", end]);
            assert_eq!(refused, Some(MacaroonError::Malformed), "{end:x?}");
        }
    }

    #[test]
    fn a_length_has_one_spelling_and_no_overflow() {
        for length in [
            &b"\x81\0"[..],
            b"\x81\x80\0",
            b"\x80\x80\x80\x80\x01",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\xff\xff\xff\x7f",
        ] {
            let refused = refusal(&[b"\x02\x02", length, b"i\0\0", &SIGNED]);
            assert_eq!(refused, Some(MacaroonError::Malformed), "{length:x?}");
        }
    }

    #[test]
    fn other_versions_are_refused() {
        for version in [&b""[..], b"\x01", b"\x03", b"{", b"0"] {
            let refused = refusal(&[version, b"\x02\x01i\0\0", &SIGNED]);
            assert_eq!(refused, Some(MacaroonError::Malformed), "{version:x?}");
        }
    }
}
