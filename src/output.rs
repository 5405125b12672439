//! What commands print. Whoever reads it may stop reading, as `head` does: that ends no command in
//! the middle of its work.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write, stdout};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Whether something could not be written, though somebody waits for it.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Prints a line, as `println!` does, which ends the process when nobody reads it.
macro_rules! say {
    ($($words:tt)*) => { $crate::output::line(format_args!($($words)*)) };
}
pub(crate) use say;

/// Writes a line to standard output.
pub(crate) fn line(words: Arguments<'_>) {
    write(&mut stdout().lock(), words);
}

fn write(to: &mut impl Write, words: Arguments<'_>) {
    let written = writeln!(to, "{words}").and_then(|()| to.flush());
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
        && !FAILED.swap(true, Relaxed)
    {
        eprintln!("error: the output cannot be written: {error}");
    }
}

/// Whether all that was printed has arrived, or is wanted by nobody.
pub(crate) fn is_complete() -> bool {
    !FAILED.load(Relaxed)
}
