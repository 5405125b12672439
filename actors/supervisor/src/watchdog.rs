//! The supervisor's own thread: it carries out what the tree decides, feels every heartbeat, and
//! ends the process when nothing else is left.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::registry::Registry;
use crate::runner::Command;
use crate::tree::{Action, Node};

/// What actors tell the supervisor's thread.
pub(crate) enum Event {
    /// The actor has failed too often, the last time of this.
    Escalated(Node, String),
    /// The actor has done what it was received to.
    Done(Node, Command),
}

/// When a thread is taken for stuck, and what follows when nothing helps.
#[derive(Clone, Copy, Debug)]
pub struct WatchdogConfig {
    /// A thread of an actor that runs nothing for this long is stuck.
    pub heartbeat: Duration,
    /// The program has this long to stop in order after [`Supervisor::fatal`](crate::Supervisor).
    pub drain: Duration,
    /// Ends the process with an exit code, after that; something else only in tests.
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

/// A thread is stuck after this many beats missed: counted, so that a machine that slept does not
/// wake up to threads declared dead.
const MAX_MISSED: u32 = 4;

pub(crate) struct Watchdog {
    config: WatchdogConfig,
    heartbeats: BTreeMap<Node, Heartbeat>,
    /// What is to be done, one after the other.
    commands: VecDeque<(Node, Command)>,
    /// What the next one waits for, and until when.
    awaited: Option<(Node, Command, Instant)>,
    /// When the process ends, if it has come to that.
    end: Option<Instant>,
}

#[derive(Default)]
struct Heartbeat {
    beat: Arc<AtomicBool>,
    missed: u32,
}

impl Watchdog {
    /// Watches until the supervisor is gone.
    pub(crate) fn run(config: WatchdogConfig, registry: &Weak<Registry>, events: &Receiver<Event>) {
        let mut watchdog = Self {
            config,
            heartbeats: BTreeMap::new(),
            commands: VecDeque::new(),
            awaited: None,
            end: None,
        };
        let between = config.heartbeat / MAX_MISSED;
        let mut next_beat = Instant::now();
        loop {
            let event = events.recv_timeout(next_beat.saturating_duration_since(Instant::now()));
            let Some(registry) = registry.upgrade() else { return };
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
                // It may be in the middle of an earlier restart, which this one replaces.
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

    /// Gives one order after the other, each when the last one is carried out or takes too long.
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
            // Set at first, as if an earlier beat had been answered.
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

    /// Ends the process when the time to stop in order is over.
    fn enforce_exit(&mut self, registry: &Registry) {
        if !registry.has_given_up() {
            return;
        }
        let now = Instant::now();
        let end = *self.end.get_or_insert(now + self.config.drain);
        if now >= end {
            log::error!("the program did not stop within {:?}: ending it", self.config.drain);
            (self.config.exit)(EX_SOFTWARE);
            self.end = Some(now + self.config.drain);
        }
    }
}
