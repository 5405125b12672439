//! Panics of supervised threads are told once: by the log line of the restart.

use std::cell::{Cell, RefCell};
use std::panic::{set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static SUPERVISED: Cell<bool> = const { Cell::new(false) };
    static LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Marks this thread as one whose panics are caught and logged, each with its location. Until a
/// logger takes errors they are printed as everywhere else, so that none goes unseen.
pub(crate) fn install_on_this_thread() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if SUPERVISED.get() {
                LOCATION.set(info.location().map(|at| format!("{}:{}", at.file(), at.line())));
            }
            if !SUPERVISED.get() || !log::log_enabled!(log::Level::Error) {
                before(info);
            }
        }));
    });
    SUPERVISED.set(true);
}

/// Returns where this thread panicked last, once.
pub(crate) fn take_last_panic_location() -> Option<String> {
    LOCATION.take()
}
