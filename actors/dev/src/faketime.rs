//! Processes whose clock is wrong, by libfaketime of Debian.

use std::path::Path;

/// The loader puts in the directory of the architecture of this machine.
const PRELOAD: &str = "LD_PRELOAD=/usr/$LIB/faketime/libfaketime.so.1";

/// Only the time of day is wrong; what measures pauses goes on as it does on a machine whose clock
/// is wrong.
const ONLY_TIME_OF_DAY: &str = "FAKETIME_DONT_FAKE_MONOTONIC=1";

/// Variables for `env` under which a program's time of day is `ahead`, such as `+120s`.
pub fn ahead(ahead: &str) -> Vec<String> {
    [PRELOAD, &format!("FAKETIME={ahead}"), ONLY_TIME_OF_DAY].map(str::to_owned).into()
}

/// Variables for `env` under which all clocks of a program are `ahead`, also the one that measures
/// pauses.
pub fn all_ahead(ahead: &str) -> Vec<String> {
    [PRELOAD, &format!("FAKETIME={ahead}")].map(str::to_owned).into()
}

/// Variables for `env` under which a program's time of day is as far ahead as `file` says at any
/// time, such as `+3600`.
pub fn from_file(file: &Path) -> Vec<String> {
    let file = format!("FAKETIME_TIMESTAMP_FILE={}", file.display());
    [PRELOAD, &file, "FAKETIME_NO_CACHE=1", ONLY_TIME_OF_DAY].map(str::to_owned).into()
}
