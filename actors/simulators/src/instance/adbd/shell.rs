//! What the simulated device answers to shell commands. Pure.

/// What a command says, and how it ends.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Output {
    pub(super) text: String,
    /// Whether it is said as an error.
    pub(super) is_error: bool,
    pub(super) code: u8,
}

/// The code of a command that is not there.
const NOT_FOUND: u8 = 127;

/// The part of a command that is repeated to say that it is not there, in characters.
const MAX_NAME: usize = 256;

/// The frames of a shell of version 2: whose they are.
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const EXIT: u8 = 3;

/// Runs a command of the two words or so that there are: `echo`.
pub(super) fn run(command: &str) -> Output {
    let mut words = command.split_whitespace();
    match words.next() {
        Some("echo") => {
            let text = words.collect::<Vec<_>>().join(" ") + "\n";
            Output { text, is_error: false, code: 0 }
        }
        _ => {
            let name: String = command.chars().take(MAX_NAME).collect();
            let text = format!("not supported: {name}\n");
            Output { text, is_error: true, code: NOT_FOUND }
        }
    }
}

impl Output {
    /// The bytes of an old shell, which knows no errors and no codes.
    pub(super) fn plain(&self) -> Vec<u8> {
        self.text.as_bytes().to_vec()
    }

    /// The frames of a shell of version 2.
    pub(super) fn frames(&self) -> Vec<u8> {
        let kind = if self.is_error { STDERR } else { STDOUT };
        let mut frames = Vec::new();
        for (kind, data) in [(kind, self.text.as_bytes()), (EXIT, &[self.code])] {
            frames.push(kind);
            frames.extend_from_slice(&(data.len() as u32).to_le_bytes());
            frames.extend_from_slice(data);
        }
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echo_is_there_and_nothing_else() {
        assert_eq!(run("echo  hello   world").plain(), b"hello world\n");
        let missing = run("rm -rf /");
        assert_eq!((missing.text.as_str(), missing.code), ("not supported: rm -rf /\n", 127));
        assert!(run(&"x".repeat(10_000)).text.len() < 300);
        assert_eq!(run("").text, "not supported: \n");
    }

    #[test]
    fn a_shell_of_version_2_tells_errors_and_codes() {
        assert_eq!(run("echo a").frames(), b"\x01\x02\0\0\0a\n\x03\x01\0\0\0\0");
        let missing = run("ls").frames();
        assert_eq!(missing[0], STDERR);
        assert!(missing.ends_with(b"\x03\x01\0\0\0\x7f"));
    }
}
