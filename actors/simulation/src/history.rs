//! What has happened, in order: kept for whoever replays a seed, and as a sum of it otherwise.

use std::fmt::{Arguments, Write};
use std::time::Duration;

/// The offset basis and the prime of the 64-bit FNV-1a hash.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

pub(crate) struct History {
    sum: u64,
    lines: Option<Vec<String>>,
    line: String,
    /// What broke a promise, the first first.
    violations: Vec<String>,
}

impl History {
    /// Keeps every line if `verbose`.
    pub(crate) fn new(verbose: bool) -> Self {
        let lines = verbose.then(Vec::new);
        Self { sum: BASIS, lines, line: String::new(), violations: Vec::new() }
    }

    pub(crate) fn note(&mut self, now: Duration, what: Arguments<'_>) {
        self.line.clear();
        let _ = write!(self.line, "{:>9.3} {what}", now.as_secs_f64());
        let bytes = self.line.bytes();
        self.sum = bytes.fold(self.sum, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(PRIME));
        if let Some(lines) = &mut self.lines {
            lines.push(self.line.clone());
        }
    }

    /// Notes that a promise is broken: which one, and how.
    pub(crate) fn violated(&mut self, now: Duration, promise: &str, how: Arguments<'_>) {
        self.note(now, format_args!("BROKEN {promise}: {how}"));
        self.violations.push(format!("{promise}: {how}"));
    }

    pub(crate) fn into_parts(self) -> (u64, Vec<String>, Vec<String>) {
        (self.sum, self.lines.unwrap_or_default(), self.violations)
    }
}
