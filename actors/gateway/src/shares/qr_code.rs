//! The link of a share as a QR code, which a phone reads off a screen. Pure.

use std::fmt::Write;

use qrcodegen::{DataTooLong, QrCode, QrCodeEcc};

/// Modules of white around the code, as ISO/IEC 18004 asks for.
const QUIET_ZONE: i32 = 4;

/// Draws `text` as an SVG document, black on white, as large as whoever shows it wants.
///
/// # Errors
///
/// Refuses more than 2,331 bytes.
pub(crate) fn to_svg(text: &str) -> Result<String, DataTooLong> {
    let code = QrCode::encode_text(text, QrCodeEcc::Medium)?;
    let side = code.size() + 2 * QUIET_ZONE;
    let mut path = String::new();
    for y in 0..code.size() {
        let mut x = 0;
        while x < code.size() {
            let dark = (x..code.size()).take_while(|x| code.get_module(*x, y)).count();
            let run = i32::try_from(dark).unwrap_or(i32::MAX);
            if run > 0 {
                // Writing to a text cannot fail.
                let _ = write!(path, "M{} {}h{run}v1h-{run}z", x + QUIET_ZONE, y + QUIET_ZONE);
            }
            x += run + 1;
        }
    }
    Ok(format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {side} {side}' \
         shape-rendering='crispEdges'><path fill='#fff' d='M0 0h{side}v{side}H0z'/>\
         <path d='{path}'/></svg>"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_its_marks_in_three_corners_and_white_around_it() {
        let svg = to_svg("https://gateway.example.com/#session=a&share=b").unwrap();
        // Version 4 of the code has 33 modules a side.
        assert!(svg.contains("viewBox='0 0 41 41'"), "{svg}");
        for corner in ["M4 4h7v1h-7z", "M30 4h7v1h-7z", "M4 30h7v1h-7z"] {
            assert!(svg.contains(corner), "{corner}: {svg}");
        }
        assert!(!svg.contains("M30 30h7v1h-7z"), "{svg}");
    }

    #[test]
    fn what_is_too_long_for_a_code_is_refused() {
        assert!(to_svg(&"a".repeat(2_331)).is_ok());
        assert!(to_svg(&"a".repeat(2_332)).is_err());
    }
}
