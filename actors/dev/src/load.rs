//! `stream-dev load`: many clients at once, against any deployment.

mod figures;
mod html;
mod options;
mod outcome;
mod plot;
mod progress;
mod record;
mod run;
mod scrape;
mod search;
mod session;
mod table;

pub use options::{HELP, Options};
pub use run::run;
