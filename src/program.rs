//! What both programs do alike: exit codes, running until told to stop.

use std::convert::Infallible;
use std::future::pending;
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use stream_supervisor::{Backoff, Drain, Supervisor};
use tokio::time::{sleep, timeout};

use crate::config::ConfigError;
use crate::doctor::Severity;
use crate::init::File;
use crate::notify::{Notice, ServiceManager};
use crate::output::{self, say};
use crate::service_status::{Away, status_line};
use crate::signals::{Order, Signals};

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

/// The pauses between two looks at how the service is, which the service manager is told when it
/// has changed. After a start, one thing after the other is reached.
const STATUS_PAUSES: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));

/// How long the service may take to say what is away.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// What the end of a service takes beyond its drain, at most.
const STOP_TIME: Duration = Duration::from_secs(15);

/// Has the process leave no core, and lets no other process of its user read its memory: the keys
/// are there. Also where no service manager sees to it.
///
/// # Errors
///
/// The system refuses one of both.
pub fn keep_memory_private() -> rustix::io::Result<()> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let limited = setrlimit(Resource::Core, none);
    limited.and(set_dumpable_behavior(DumpableBehavior::NotDumpable))
}

/// Turns the result of a command into its exit code, with one sentence on standard error.
pub fn exit(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else {
        return if output::is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    };
    eprintln!("error: {error:#}");
    ExitCode::from(code(&error))
}

/// Turns what a command found into its exit code: 1 for warnings, 2 for errors.
pub fn exit_by(found: anyhow::Result<Severity>) -> ExitCode {
    match found {
        Ok(Severity::Good) => exit(Ok(())),
        Ok(severity) => ExitCode::from(severity.exit_code()),
        Err(error) => exit(Err(error)),
    }
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

    /// What supervises its actors.
    fn supervisor(&self) -> Supervisor;

    /// What the service depends on and does not reach.
    fn away(&self) -> impl Future<Output = Away>;

    /// The order to end.
    fn drain(&self) -> &Drain;

    /// How long carrying that out may take when the order does not say.
    fn drain_timeout(&self) -> Duration;

    /// Returns when nothing is left that others could take over, or that ends by itself.
    fn drained(&self) -> impl Future<Output = ()>;

    /// Reads the files again: presents other certificates from the next handshake on, and takes up
    /// what else can change while it runs. The service manager hears of it.
    fn reload(&self) -> impl Future<Output = ()>;

    /// Ends the service, whatever is left.
    fn stop(self) -> impl Future<Output = ()>;
}

/// Starts a service in an actix system of its own, runs it until it is told to end, by SIGTERM,
/// SIGINT, SIGQUIT or an operator, lets it drain, and stops it. A second such signal stops it at
/// once. SIGHUP has it [read its files again](Service::reload). Other signals that people send are
/// logged, and end nothing.
///
/// The service manager is told that the service is ready as soon as it accepts clients, whatever
/// is away, and what is. It hears that the service stops from a signal on, which nobody takes back;
/// of a drain that an operator may take back it hears at its end.
///
/// # Errors
///
/// The service does not start, or cannot recover from a failure.
pub fn run<S: Service>(
    manager: &ServiceManager,
    start: impl FnOnce() -> anyhow::Result<S>,
) -> anyhow::Result<()> {
    actix::System::new().block_on(async {
        // Before anything else: a signal that nobody listens for ends the process.
        let signals = Signals::listen()?;
        let service = start()?;
        manager.tell(&[Notice::Ready]);
        let supervisor = service.supervisor();
        tokio::select! {
            biased;
            never = feed_watchdog(manager, &supervisor) => match never {},
            result = serve(service, signals, manager) => result,
        }
    })
}

/// Serves until the end.
async fn serve<S: Service>(
    service: S,
    signals: Signals,
    manager: &ServiceManager,
) -> anyhow::Result<()> {
    let given_up = tokio::select! {
        signal = follow(signals, &service, manager) => {
            log::info!(signal; "stopping at once on another signal");
            service.drain().begin(Duration::ZERO);
            None
        }
        () = service.drain().completed(async || service.drained().await) => None,
        cause = service.fatal() => {
            log::error!(cause:%; "stopping");
            Some(GaveUp(cause))
        }
        never = tell_status(&service, manager) => match never {},
    };
    let words = given_up.as_ref().map_or("stopping".to_owned(), GaveUp::to_string);
    manager.tell(&[Notice::Stopping, Notice::Status(&words)]);
    service.stop().await;
    given_up.map_or(Ok(()), |gave_up| Err(gave_up.into()))
}

/// Feeds the watchdog of the service manager while the supervisor is at work, which ends the
/// process by itself when an actor is stuck. So a process in which neither this thread nor that of
/// the supervisor goes on is ended from outside.
async fn feed_watchdog(manager: &ServiceManager, supervisor: &Supervisor) -> Infallible {
    let Some(interval) = manager.feed_interval() else { return pending().await };
    loop {
        if supervisor.is_at_work() {
            manager.tell(&[Notice::Watchdog]);
        } else {
            log::error!("the supervisor's own thread is stuck, and the watchdog is not fed");
        }
        sleep(interval).await;
    }
}

/// Tells the service manager how the service is, whenever that has changed.
async fn tell_status<S: Service>(service: &S, manager: &ServiceManager) -> Infallible {
    if !manager.listens() {
        return pending().await;
    }
    let (mut told, mut looks) = (String::new(), 0u32);
    loop {
        let away = timeout(STATUS_TIMEOUT, service.away()).await;
        let away = away.unwrap_or_else(|_| vec![("the actors", "no answer in time".to_owned())]);
        let line = status_line(service.drain(), &away);
        if told != line {
            manager.tell(&[Notice::Status(&line)]);
            told = line;
        }
        looks = looks.saturating_add(1);
        sleep(STATUS_PAUSES.after(looks)).await;
    }
}

/// Carries out what signals ask for. Returns on one to end that comes while an earlier one is
/// carried out.
async fn follow<S: Service>(
    mut signals: Signals,
    service: &S,
    manager: &ServiceManager,
) -> &'static str {
    loop {
        let (name, order) = signals.next().await;
        match order {
            Order::End if service.drain().is_ending() => return name,
            Order::End => {
                log::info!(signal = name; "stopping on a signal");
                let drain_timeout = service.drain_timeout();
                let longest = drain_timeout.saturating_add(STOP_TIME);
                manager.tell(&[Notice::Stopping, Notice::ExtendTimeout(longest)]);
                service.drain().begin(drain_timeout);
            }
            Order::Reload => {
                log::info!(signal = name; "reading the files again");
                service.reload().await;
            }
            Order::Nothing => log::info!(signal = name; "a signal asks for nothing here"),
        }
    }
}

/// Prints what `init` made and what it found.
pub fn print_files(files: &[File]) {
    for File { path, what, made } in files {
        let done = if *made { "made" } else { "kept" };
        say!("{done}  {}  {what}", path.display());
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
        supervisor: Supervisor,
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

        fn supervisor(&self) -> Supervisor {
            self.supervisor.clone()
        }

        async fn away(&self) -> Away {
            vec![("nats", "connection refused".to_owned())]
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
            let sample = Sample { signals, reloads, stopped, ..Sample::default() };
            run(&ServiceManager::default(), || Ok(sample)).expect("a good end");
        }
        assert_eq!((reloads.get(), stopped.get()), (6, true));
    }

    #[test]
    fn a_service_whose_supervisor_gives_up_is_stopped_and_ends_with_70() {
        let stopped = Rc::new(Cell::new(false));
        let sample = Sample { breaks: true, stopped: Rc::clone(&stopped), ..Sample::default() };
        let error = run(&ServiceManager::default(), || Ok(sample)).expect_err("given up");
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
        run(&ServiceManager::default(), || Ok(sample)).expect("a good end");
        assert!(drained.get() && stopped.get());
    }

    #[test]
    fn a_service_that_does_not_start_ends_with_1() {
        let start = || anyhow::bail!("the port is taken");
        let error = run::<Sample>(&ServiceManager::default(), start).expect_err("not started");
        assert_eq!(code(&error), 1);
    }
}
