/// Returns `text` as it may be logged and shown on a terminal: at most `max_chars` characters,
/// without those that move the cursor, change the direction of writing or cannot be seen.
///
/// For what others say in their own words, where it comes in.
pub fn printable(text: &str, max_chars: usize) -> String {
    text.chars().filter(|c| !is_unprintable(*c)).take(max_chars).collect()
}

fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_that_a_terminal_obeys() {
        for (said, shown) in [
            ("no boot", "no boot"),
            ("\u{1b}[2J\u{1b}]0;title\u{7}gone", "[2J]0;titlegone"),
            ("\u{9b}31mred", "31mred"),
            ("one\r\ntwo\0\u{8}", "onetwo"),
            ("abc\u{202e}fed\u{2066}\u{200b}\u{feff}", "abcfed"),
            ("Gerät 東京", "Gerät 東京"),
        ] {
            assert_eq!(printable(said, 100), shown);
        }
        assert_eq!(printable("äöü", 2), "äö");
    }
}
