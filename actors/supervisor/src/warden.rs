//! The supervisor's own thread: it carries out what the tree decides, feels every pulse, and ends
//! the process when nothing else is left.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::core::Core;
use crate::guard::Order;
use crate::tree::{Action, Node};

/// What actors tell the supervisor's thread.
pub(crate) enum Event {
    /// The actor has failed too often, the last time of this.
    Escalated(Node, String),
    /// The actor has done what it was ordered to.
    Done(Node, Order),
}

/// When a thread is taken for stuck, and what follows when nothing helps.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    /// A thread of an actor that runs nothing for this long is stuck.
    pub heartbeat: Duration,
    /// The program has this long to stop in order after [`Supervisor::fatal`](crate::Supervisor).
    pub drain: Duration,
    /// Ends the process with an exit code, after that; something else only in tests.
    pub exit: fn(i32),
}

impl Default for Watch {
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
const MISSED: u32 = 4;

pub(crate) struct Warden {
    watch: Watch,
    pulses: BTreeMap<Node, Pulse>,
    /// What is to be done, one after the other.
    orders: VecDeque<(Node, Order)>,
    /// What the next one waits for, and until when.
    awaited: Option<(Node, Order, Instant)>,
    /// When the process ends, if it has come to that.
    end: Option<Instant>,
}

#[derive(Default)]
struct Pulse {
    beat: Arc<AtomicBool>,
    missed: u32,
}

impl Warden {
    /// Watches until the supervisor is gone.
    pub(crate) fn watch(watch: Watch, core: &Weak<Core>, events: &Receiver<Event>) {
        let mut warden = Self {
            watch,
            pulses: BTreeMap::new(),
            orders: VecDeque::new(),
            awaited: None,
            end: None,
        };
        let between = watch.heartbeat / MISSED;
        let mut next_beat = Instant::now();
        loop {
            let event = events.recv_timeout(next_beat.saturating_duration_since(Instant::now()));
            let Some(core) = core.upgrade() else { return };
            let turn = catch_unwind(AssertUnwindSafe(|| {
                match event {
                    Ok(event) => warden.hear(event, &core),
                    Err(RecvTimeoutError::Timeout) => {
                        next_beat = Instant::now() + between;
                        warden.feel_pulses(&core);
                    }
                    Err(RecvTimeoutError::Disconnected) => {}
                }
                warden.carry_on(&core);
            }));
            if turn.is_err() {
                core.give_up("the supervisor itself panicked");
            }
            warden.end_in_time(&core);
        }
    }

    fn hear(&mut self, event: Event, core: &Core) {
        match event {
            Event::Escalated(node, cause) => {
                for action in core.escalated(node) {
                    self.act(action, &cause, core);
                }
            }
            Event::Done(node, order) => {
                if self.awaited.is_some_and(|(who, what, _)| (who, what) == (node, order)) {
                    self.awaited = None;
                }
            }
        }
    }

    fn act(&mut self, action: Action, cause: &str, core: &Core) {
        match action {
            Action::Park(node) => {
                // It may be in the middle of an earlier restart, which this one replaces.
                self.orders.retain(|(waiting, _)| *waiting != node);
                if self.awaited.is_some_and(|(awaited, ..)| awaited == node) {
                    self.awaited = None;
                }
                self.orders.push_back((node, Order::Park));
            }
            Action::Rebuild(node) => self.orders.push_back((node, Order::Rebuild)),
            Action::GiveUp => core.give_up(cause),
        }
    }

    /// Gives one order after the other, each when the last one is carried out or takes too long.
    fn carry_on(&mut self, core: &Core) {
        let now = Instant::now();
        if self.awaited.is_some_and(|(.., until)| now >= until) {
            self.awaited = None;
        }
        while self.awaited.is_none()
            && let Some((node, order)) = self.orders.pop_front()
        {
            if core.order(node, order) {
                self.awaited = Some((node, order, now + self.watch.heartbeat));
            }
        }
    }

    fn feel_pulses(&mut self, core: &Core) {
        for (node, arbiter) in core.arbiters() {
            let pulse = self.pulses.entry(node).or_default();
            // Set at first, as if an earlier beat had been answered.
            if pulse.missed == 0 || pulse.beat.swap(false, Relaxed) {
                pulse.missed = 1;
                let beat = Arc::clone(&pulse.beat);
                arbiter.spawn(async move { beat.store(true, Relaxed) });
                continue;
            }
            pulse.missed = pulse.missed.saturating_add(1);
            if pulse.missed == MISSED + 1 {
                core.wedged(node, self.watch.heartbeat);
            }
        }
    }

    /// Ends the process when the time to stop in order is over.
    fn end_in_time(&mut self, core: &Core) {
        if !core.has_given_up() {
            return;
        }
        let now = Instant::now();
        let end = *self.end.get_or_insert(now + self.watch.drain);
        if now >= end {
            log::error!("the program did not stop within {:?}: ending it", self.watch.drain);
            (self.watch.exit)(EX_SOFTWARE);
            self.end = Some(now + self.watch.drain);
        }
    }
}
