//! The [codes of keys](stream_protocol::manual::wire#control-channel) that clients send: those of
//! USB HID, and some of their own.

pub(super) const BACKSPACE: u32 = 42;
pub(super) const SHIFT: u32 = 84;
pub(super) const BACK: u32 = 92;

/// The last code there is.
pub(super) const LAST: u32 = BACK;

/// The names of those from Control on, in order.
const NAMES: [&str; 10] = [
    "Control",
    "Shift",
    "Alt",
    "Meta",
    "AltGraph",
    "NumLock",
    "Volume down",
    "Volume up",
    "Power",
    "Back",
];

/// Returns what a key writes, if anything.
pub(super) fn character(code: u32, shift: bool) -> Option<char> {
    const LETTERS: &[u8; 26] = b"abcdefghijklmnopqrstuvwxyz";
    const DIGITS: &[u8; 10] = b"1234567890";
    let at = |from: u32| code.checked_sub(from).map(|n| n as usize);
    let byte = match code {
        4..=29 => *LETTERS.get(at(4)?)?,
        30..=39 => *DIGITS.get(at(30)?)?,
        44 => b' ',
        _ => return None,
    };
    let written = char::from(byte);
    Some(if shift { written.to_ascii_uppercase() } else { written })
}

/// Returns what a key is called.
pub(super) fn name(code: u32) -> String {
    match code {
        40 => "Enter".to_owned(),
        41 => "Esc".to_owned(),
        BACKSPACE => "Backspace".to_owned(),
        43 => "Tab".to_owned(),
        44 => "Space".to_owned(),
        79 => "Right".to_owned(),
        80 => "Left".to_owned(),
        81 => "Down".to_owned(),
        82 => "Up".to_owned(),
        83..=LAST => NAMES[(code - 83) as usize].to_owned(),
        _ => character(code, true).map_or_else(|| format!("key {code}"), String::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_write_and_are_called_what_is_on_them() {
        assert_eq!(character(4, false), Some('a'));
        assert_eq!(character(29, true), Some('Z'));
        assert_eq!(character(39, false), Some('0'));
        assert_eq!(character(SHIFT, false), None);
        assert_eq!(name(SHIFT), "Shift");
        assert_eq!(name(BACK), "Back");
        assert_eq!(name(30), "1");
        assert_eq!(name(70), "key 70");
        assert_eq!(name(u32::MAX), "key 4294967295");
    }
}
