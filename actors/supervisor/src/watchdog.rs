//! The supervisor's own thread: it carries out what the tree decides, checks the heartbeat of every
//! actor's thread, and ends the process when nothing else is left.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::command::{Command, Event};
use crate::registry::Registry;
use crate::tree::{Action, Node};

/// When the thread of an actor counts as stuck, and when the process is ended.
#[derive(Clone, Copy, Debug)]
pub struct WatchdogConfig {
    /// The thread of an actor that runs nothing for this long is stuck. Default 10 s.
    pub heartbeat: Duration,
    /// How long the program has to stop in order after
    /// [`Supervisor::fatal`](crate::Supervisor::fatal). Default 30 s.
    pub drain: Duration,
    /// Ends the process with an exit code when that time is over; replaced only in tests.
    pub exit: fn(i32),
}

impl Default for WatchdogConfig {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(10),
            drain: Duration::from_secs(30),
            exit: |code| std::process::exit(code),
        }
    }
}

/// The exit code of a program whose supervisor gave up (`EX_SOFTWARE` of sysexits.h).
pub const EX_SOFTWARE: i32 = 70;

/// A thread is stuck after so many missed heartbeats. They are counted, not timed, so that a
/// machine that was suspended does not find all its threads stuck when it resumes.
const MAX_MISSED: u32 = 4;

pub(crate) struct Watchdog {
    config: WatchdogConfig,
    heartbeats: BTreeMap<Node, Heartbeat>,
    /// The commands to be issued, one after the other.
    commands: VecDeque<(Node, Command)>,
    /// The command that was issued last and is not carried out, and until when that is awaited.
    awaited: Option<(Node, Command, Instant)>,
    /// When the process is ended; set when the supervisor has given up.
    exit_at: Option<Instant>,
}

#[derive(Default)]
struct Heartbeat {
    /// Set by the actor's thread.
    beat: Arc<AtomicBool>,
    missed: u32,
}

impl Watchdog {
    /// Starts the supervisor's thread, which ends when all handles of the supervisor are gone.
    pub(crate) fn start(config: WatchdogConfig, registry: Weak<Registry>, events: Receiver<Event>) {
        let thread = std::thread::Builder::new().name("supervisor".to_owned());
        thread
            .spawn(move || Self::run(config, &registry, &events))
            .expect("the system has a thread for the supervisor when the program starts");
    }

    fn run(config: WatchdogConfig, registry: &Weak<Registry>, events: &Receiver<Event>) {
        let mut watchdog = Self {
            config,
            heartbeats: BTreeMap::new(),
            commands: VecDeque::new(),
            awaited: None,
            exit_at: None,
        };
        let between = config.heartbeat / MAX_MISSED;
        let mut next_beat = Instant::now();
        loop {
            let event = events.recv_timeout(next_beat.saturating_duration_since(Instant::now()));
            let Some(registry) = registry.upgrade() else { return };
            registry.note_turn();
            let turn = catch_unwind(AssertUnwindSafe(|| {
                match event {
                    Ok(event) => watchdog.on_event(event, &registry),
                    Err(RecvTimeoutError::Timeout) => {
                        next_beat = Instant::now() + between;
                        watchdog.check_heartbeats(&registry);
                    }
                    Err(RecvTimeoutError::Disconnected) => {}
                }
                watchdog.issue_next(&registry);
            }));
            if turn.is_err() {
                registry.give_up("the supervisor itself panicked");
            }
            watchdog.enforce_exit(&registry);
        }
    }

    fn on_event(&mut self, event: Event, registry: &Registry) {
        match event {
            Event::Escalated(node, cause) => {
                for action in registry.escalated(node) {
                    self.apply(action, &cause, registry);
                }
            }
            Event::Done(node, command) => {
                if self.awaited.is_some_and(|(who, what, _)| (who, what) == (node, command)) {
                    self.awaited = None;
                }
            }
        }
    }

    fn apply(&mut self, action: Action, cause: &str, registry: &Registry) {
        match action {
            Action::Suspend(node) => {
                // An earlier restart of this actor may be under way: this one replaces it.
                self.commands.retain(|(waiting, _)| *waiting != node);
                if self.awaited.is_some_and(|(awaited, ..)| awaited == node) {
                    self.awaited = None;
                }
                self.commands.push_back((node, Command::Suspend));
            }
            Action::Restart(node) => self.commands.push_back((node, Command::Restart)),
            Action::GiveUp => registry.give_up(cause),
        }
    }

    /// Issues one command after the other, each when the last one is carried out or is overdue.
    fn issue_next(&mut self, registry: &Registry) {
        let now = Instant::now();
        if self.awaited.is_some_and(|(.., until)| now >= until) {
            self.awaited = None;
        }
        while self.awaited.is_none()
            && let Some((node, command)) = self.commands.pop_front()
        {
            if registry.command(node, command) {
                self.awaited = Some((node, command, now + self.config.heartbeat));
            }
        }
    }

    fn check_heartbeats(&mut self, registry: &Registry) {
        for (node, arbiter) in registry.arbiters() {
            let heartbeat = self.heartbeats.entry(node).or_default();
            // At first there is no beat to miss.
            if heartbeat.missed == 0 || heartbeat.beat.swap(false, Relaxed) {
                heartbeat.missed = 1;
                let beat = Arc::clone(&heartbeat.beat);
                arbiter.spawn(async move { beat.store(true, Relaxed) });
                continue;
            }
            heartbeat.missed = heartbeat.missed.saturating_add(1);
            if heartbeat.missed == MAX_MISSED + 1 {
                registry.wedged(node, self.config.heartbeat);
            }
        }
    }

    /// Ends the process when the program had its time to stop in order.
    fn enforce_exit(&mut self, registry: &Registry) {
        if !registry.has_given_up() {
            return;
        }
        let now = Instant::now();
        let exit_at = *self.exit_at.get_or_insert(now + self.config.drain);
        if now >= exit_at {
            log::error!("the program did not stop within {:?}: ending it", self.config.drain);
            (self.config.exit)(EX_SOFTWARE);
            self.exit_at = Some(now + self.config.drain);
        }
    }
}
