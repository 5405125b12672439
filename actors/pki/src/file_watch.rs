//! Looks at files again and again, beside the threads that serve.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// A thread that looks at files every so often, one look after the other, until this is dropped. A
/// disk that hangs stops it and nobody else.
pub struct FileWatch {
    /// Never used: its end is what the thread hears.
    _end: Sender<()>,
}

impl FileWatch {
    /// Starts the thread, whose first look is `every` from now. A look that panics is not the last.
    ///
    /// # Errors
    ///
    /// The system has no room for another thread.
    pub fn start(every: Duration, look: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        let (_end, ended) = channel();
        let thread = thread::Builder::new().name("file-watch".to_owned());
        thread.spawn(move || {
            while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                // What the panic says is in the log already.
                let _ = catch_unwind(AssertUnwindSafe(&look));
            }
        })?;
        Ok(Self { _end })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::RecvError;

    use super::*;

    #[test]
    fn it_looks_on_after_a_panic_and_ends_with_its_owner() {
        let (looked, looks) = channel();
        let watch = FileWatch::start(Duration::from_millis(1), move || {
            looked.send(()).unwrap();
            panic!("a look that fails");
        });
        let watch = watch.unwrap();
        for _ in 0..3 {
            looks.recv().unwrap();
        }
        drop(watch);
        // What the look owns goes with its thread.
        while looks.recv() != Err(RecvError) {}
    }
}
