//! What both programs do alike: logging, exit codes, running until told to stop.

use std::future::poll_fn;
use std::process::ExitCode;
use std::task::Poll;
use std::time::Duration;

use log::LevelFilter;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use stream_supervisor::Drain;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::ConfigError;
use crate::init::File;

/// The configuration, or a file it names, cannot be used (`EX_CONFIG` of sysexits.h). A service
/// manager need not try again.
pub const EX_CONFIG: u8 = 78;

/// The service cannot go on and another process may. The supervisor uses the same code when it has
/// to end the process itself.
const EX_SOFTWARE: u8 = stream_supervisor::EX_SOFTWARE as u8;

/// The supervisor can do no more: all that helps is another process.
#[derive(Debug, thiserror::Error)]
#[error("the supervisor gave up: {0}")]
struct GaveUp(String);

/// The finest level that is ever logged: below it, the client of NATS tells all that passes, the
/// credentials of clients included.
pub const FINEST: LevelFilter = LevelFilter::Debug;

/// Logs to standard error, `info` and above unless `RUST_LOG` says otherwise, which it can down to
/// [`FINEST`].
pub fn start_logging() {
    let default = env_logger::Env::default().default_filter_or("info,async_nats=warn");
    env_logger::Builder::from_env(default).format_target(false).init();
    log::set_max_level(log::max_level().min(FINEST));
}

/// Has the process leave no core, and lets no other process of its user read its memory: the keys
/// are there. Also where no service manager sees to it.
pub fn keep_memory_private() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let limited = setrlimit(Resource::Core, none);
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    if let Err(error) = limited.and(hidden) {
        log::warn!(cause:% = error; "a core of this process would hold its keys");
    }
}

/// Turns the result of a command into its exit code, with one sentence on standard error.
pub fn exit(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("error: {error:#}");
    ExitCode::from(code(&error))
}

fn code(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<ConfigError>().is_some() {
        EX_CONFIG
    } else if error.downcast_ref::<GaveUp>().is_some() {
        EX_SOFTWARE
    } else {
        1
    }
}

/// A service, as [`run`] runs it.
pub trait Service {
    /// Ends when the service cannot go on, with the reason.
    fn fatal(&self) -> impl Future<Output = String>;

    /// The order to end.
    fn drain(&self) -> &Drain;

    /// How long carrying that out may take when the order does not say.
    fn drain_timeout(&self) -> Duration;

    /// Returns when nothing is left that others could take over, or that ends by itself.
    fn drained(&self) -> impl Future<Output = ()>;

    /// Reads the certificates again, and presents the new ones from the next handshake on; takes up
    /// what else of its files can change while it runs.
    fn reload(&self) -> impl Future<Output = ()>;

    /// Ends the service, whatever is left.
    fn stop(self) -> impl Future<Output = ()>;
}

/// Starts a service in an actix system of its own, runs it until it is told to end, by SIGTERM,
/// SIGINT, SIGQUIT or an operator, lets it drain, and stops it. A second such signal stops it at
/// once. SIGHUP has it [read its files again](Service::reload). Other signals that people send are
/// logged, and end nothing.
///
/// # Errors
///
/// The service does not start, or cannot recover from a failure.
pub fn run<S: Service>(start: impl FnOnce() -> anyhow::Result<S>) -> anyhow::Result<()> {
    actix::System::new().block_on(async {
        // Before anything else: a signal that nobody listens for ends the process.
        let signals = Signals::listen()?;
        let service = start()?;
        let given_up = tokio::select! {
            signal = signals.follow(&service) => {
                log::info!(signal; "stopping at once on another signal");
                service.drain().begin(Duration::ZERO);
                None
            }
            () = service.drain().completed(async || service.drained().await) => None,
            cause = service.fatal() => {
                log::error!(cause:%; "stopping");
                Some(GaveUp(cause))
            }
        };
        service.stop().await;
        given_up.map_or(Ok(()), |gave_up| Err(gave_up.into()))
    })
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Order {
    End,
    Reload,
    /// Nothing: its default would end the process all the same.
    Nothing,
}

/// The signals that people and programs send to a service.
struct Signals(Vec<(&'static str, Order, Signal)>);

impl Signals {
    /// Listens from here on. Needs a runtime.
    fn listen() -> std::io::Result<Self> {
        let all = [
            ("SIGTERM", SignalKind::terminate(), Order::End),
            ("SIGINT", SignalKind::interrupt(), Order::End),
            ("SIGQUIT", SignalKind::quit(), Order::End),
            ("SIGHUP", SignalKind::hangup(), Order::Reload),
            ("SIGUSR1", SignalKind::user_defined1(), Order::Nothing),
            ("SIGUSR2", SignalKind::user_defined2(), Order::Nothing),
            ("SIGALRM", SignalKind::alarm(), Order::Nothing),
            ("SIGIO", SignalKind::io(), Order::Nothing),
        ];
        let listen = |(name, kind, order)| Ok((name, order, signal(kind)?));
        all.into_iter().map(listen).collect::<std::io::Result<_>>().map(Self)
    }

    /// Carries out what signals ask for. Returns on one to end that comes while an earlier one is
    /// carried out.
    async fn follow<S: Service>(mut self, service: &S) -> &'static str {
        loop {
            let (name, order) = self.next().await;
            match order {
                Order::End if service.drain().is_ending() => return name,
                Order::End => {
                    log::info!(signal = name; "stopping on a signal");
                    service.drain().begin(service.drain_timeout());
                }
                Order::Reload => {
                    log::info!(signal = name; "reading the files again");
                    service.reload().await;
                }
                Order::Nothing => log::info!(signal = name; "a signal asks for nothing here"),
            }
        }
    }

    async fn next(&mut self) -> (&'static str, Order) {
        poll_fn(|cx| {
            let came = self.0.iter_mut().find_map(|(name, order, signal)| {
                signal.poll_recv(cx).is_ready().then_some((*name, *order))
            });
            came.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// Prints what `init` made and what it found.
pub fn print_files(files: &[File]) {
    for File { path, what, made } in files {
        let done = if *made { "made" } else { "kept" };
        println!("{done}  {}  {what}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, ready};
    use std::rc::Rc;

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    /// Notes that it was stopped, and when it was drained before.
    #[derive(Default)]
    struct Sample {
        breaks: bool,
        drain: Drain,
        drained: Rc<Cell<bool>>,
        stopped: Rc<Cell<bool>>,
        /// The signals that this process sends to itself, one after the other.
        signals: Vec<Signal>,
        reloads: Rc<Cell<u32>>,
    }

    impl Service for Sample {
        async fn fatal(&self) -> String {
            for signal in &self.signals {
                let before = self.reloads.get();
                kill_process(getpid(), *signal).expect("sent");
                while *signal == Signal::HUP && self.reloads.get() == before {
                    tokio::task::yield_now().await;
                }
            }
            match self.breaks {
                true => "turn failed too often".to_owned(),
                false => pending().await,
            }
        }

        fn drain(&self) -> &Drain {
            &self.drain
        }

        fn drain_timeout(&self) -> Duration {
            Duration::from_secs(60)
        }

        fn drained(&self) -> impl Future<Output = ()> {
            self.drained.set(true);
            ready(())
        }

        async fn reload(&self) {
            self.reloads.set(self.reloads.get() + 1);
        }

        async fn stop(self) {
            self.stopped.set(true);
        }
    }

    #[test]
    fn signals_that_do_not_ask_for_an_end_bring_none_and_sighup_reloads() {
        let (reloads, stopped) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
        let others = [Signal::USR1, Signal::USR2, Signal::ALARM, Signal::IO];
        for ends in [Signal::TERM, Signal::INT, Signal::QUIT] {
            let signals = [&others[..], &[Signal::HUP, Signal::HUP, ends]].concat();
            let (reloads, stopped) = (Rc::clone(&reloads), Rc::clone(&stopped));
            run(|| Ok(Sample { signals, reloads, stopped, ..Sample::default() }))
                .expect("a good end");
        }
        assert_eq!((reloads.get(), stopped.get()), (6, true));
    }

    #[test]
    fn a_service_whose_supervisor_gives_up_is_stopped_and_ends_with_70() {
        let stopped = Rc::new(Cell::new(false));
        let sample = Sample { breaks: true, stopped: Rc::clone(&stopped), ..Sample::default() };
        let error = run(|| Ok(sample)).expect_err("given up");
        assert!(stopped.get());
        assert_eq!(code(&error), 70);
        assert_eq!(error.to_string(), "the supervisor gave up: turn failed too often");
    }

    #[test]
    fn a_service_that_is_told_to_drain_does_and_ends_well() {
        let (drained, stopped) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
        let sample = Sample {
            drained: Rc::clone(&drained),
            stopped: Rc::clone(&stopped),
            ..Sample::default()
        };
        sample.drain.begin(Duration::from_secs(60));
        run(|| Ok(sample)).expect("a good end");
        assert!(drained.get() && stopped.get());
    }

    #[test]
    fn a_service_that_does_not_start_ends_with_1() {
        let start = || anyhow::bail!("the port is taken");
        let error = run::<Sample>(start).expect_err("not started");
        assert_eq!(code(&error), 1);
    }
}
