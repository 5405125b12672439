//! The log: on standard error, one line for each thing that happens, as text or as JSON.
//!
//! Every line that a request causes has the field `request`. A field `client` is an address, which
//! is shortened to its network unless the configuration says otherwise. What is said again and
//! again is said once a minute, with how often.

mod fields;
mod json;
mod repeats;

use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

use env_logger::{Builder, Env, Logger};
use log::{Level, LevelFilter, Log, Metadata, Record};
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use stream_http::ACCESS_LOG;
use stream_supervisor::RequestId;

use fields::Fields;
use repeats::{Repeated, Repeats, Said};

/// The finest level that is ever logged: below it, the client of NATS tells all that passes, the
/// credentials of clients included.
pub const FINEST: LevelFilter = LevelFilter::Debug;

/// What is logged when `RUST_LOG` does not say.
const DEFAULT_FILTER: &str = "info,async_nats=warn";

/// The section `[log]`. How much is logged, the variable `RUST_LOG` of the environment says.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// How a line is written. Default `text`.
    pub format: Format,
    /// Whether each request and each socket gets a line at its end. Default false.
    pub access: bool,
    /// How much of the addresses of clients is written. Default `network`.
    pub addresses: Addresses,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Time, level and sentence, and behind them the fields as `name=value`.
    #[default]
    Text,
    /// An object with `time` (RFC 3339), `level`, `target`, `message` and the fields.
    Json,
}

/// How much of a client's address is written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Addresses {
    /// The /24 of an address of IPv4, the /48 of one of IPv6.
    #[default]
    Network,
    Full,
}

/// The logger of this process.
static LOGGER: OnceLock<Arc<StreamLogger>> = OnceLock::new();

/// Logs to standard error as `config` says, `info` and above unless `RUST_LOG` says otherwise,
/// which it can down to [`FINEST`]. To be called once.
pub fn start_logging(config: &LogConfig) {
    let mut builder = Builder::from_env(Env::default().default_filter_or(DEFAULT_FILTER));
    let access = if config.access { LevelFilter::Info } else { LevelFilter::Off };
    builder.filter_module(ACCESS_LOG, access).format_target(false);
    if config.format == Format::Json {
        builder.format(json::write);
    }
    let logger = Arc::new(StreamLogger {
        inner: builder.build(),
        addresses: config.addresses,
        repeats: Mutex::default(),
        first_repeat: Condvar::new(),
    });
    let most = logger.inner.filter().min(FINEST);
    if log::set_boxed_logger(Box::new(Handle(Arc::clone(&logger)))).is_err() {
        return;
    }
    log::set_max_level(most);
    let _ = LOGGER.set(Arc::clone(&logger));
    let told = thread::Builder::new().name("log".to_owned()).spawn(move || logger.tell_repeats());
    if let Err(cause) = told {
        log::warn!(cause:%; "what is said again and again is told late");
    }
}

/// Writes how often what was said is repeated since, whatever the time: the process is to end.
pub fn finish_logging() {
    log::logger().flush();
}

struct StreamLogger {
    inner: Logger,
    addresses: Addresses,
    repeats: Mutex<Repeats>,
    /// Something is repeated that was said once.
    first_repeat: Condvar,
}

struct Handle(Arc<StreamLogger>);

impl Log for Handle {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.inner.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        self.0.log(record);
    }

    fn flush(&self) {
        self.0.write_repeated(Repeats::take_all);
    }
}

impl StreamLogger {
    fn log(&self, record: &Record<'_>) {
        if !self.inner.matches(record) {
            return;
        }
        let fields = Fields::new(record.key_values(), RequestId::current(), self.addresses);
        if is_folded(record) {
            let said = Said::of(record);
            let mut repeats = self.repeats.lock();
            let was_empty = repeats.next_due().is_none();
            let (is_first, gave_way) = repeats.admit(said, Instant::now());
            if was_empty && repeats.next_due().is_some() {
                self.first_repeat.notify_one();
            }
            drop(repeats);
            gave_way.iter().for_each(|repeated| self.write(repeated));
            if !is_first {
                return;
            }
        }
        self.inner.log(&record.to_builder().key_values(&fields).build());
    }

    /// Writes what was repeated, when it is due; never returns.
    fn tell_repeats(&self) {
        loop {
            let mut repeats = self.repeats.lock();
            match repeats.next_due() {
                Some(at) => drop(self.first_repeat.wait_until(&mut repeats, at)),
                None => self.first_repeat.wait(&mut repeats),
            }
            drop(repeats);
            self.write_repeated(Repeats::take_due);
        }
    }

    fn write_repeated(&self, take: impl FnOnce(&mut Repeats, Instant) -> Vec<Repeated>) {
        // Written without the lock: who logs meanwhile does not wait for whoever reads the log.
        let repeated = take(&mut self.repeats.lock(), Instant::now());
        repeated.iter().for_each(|repeated| self.write(repeated));
    }

    fn write(&self, repeated: &Repeated) {
        let Said { level, target, message, words } = &repeated.said;
        let fields = words.as_slice();
        self.inner.log(
            &Record::builder()
                .level(*level)
                .target(target)
                .key_values(&fields)
                .args(format_args!("{message}: {repeated}"))
                .build(),
        );
    }
}

/// Whether a line is told once a minute when it is the same again. An error is always told at once,
/// and who asks for details gets all of them. So does who gives an order: what the program itself
/// says, it says at a signal, a reload, its start or its end.
fn is_folded(record: &Record<'_>) -> bool {
    let program = record.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"));
    let is_folded = matches!(record.level(), Level::Warn | Level::Info);
    is_folded && !program && record.target() != ACCESS_LOG
}
