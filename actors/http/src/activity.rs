//! What a connection is doing, and how long it may go on with it.
//!
//! actix bounds the head of the first request and the pause between two, and nothing else: a
//! connection that has begun its second request, or that does not read its answer, would stay for
//! ever. So each connection notes what it does, and one task per thread ends those that take too
//! long.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

use crate::limits::Limits;

/// Between two looks at all connections of a thread.
const TICK: Duration = Duration::from_millis(500);

/// What the other end is to do next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// Nothing has come since the handshake.
    Silent,
    /// A request has begun, and its head is not complete.
    Head,
    /// A request is being answered: its handler has deadlines of its own for what it reads.
    Request,
    /// The last request is answered.
    Idle,
}

/// Why a connection is ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Overdue {
    FirstByte,
    Head,
    /// The answer is not read.
    Answer,
    Idle,
}

/// What one connection is doing.
pub(crate) struct Activity {
    phase: Cell<(Phase, Instant)>,
    /// Since when nothing could be sent that is to be sent.
    blocked: Cell<Option<Instant>>,
    overdue: Cell<Option<Overdue>>,
    end: Notify,
    /// Called when the head of a request is complete.
    on_request: Box<dyn Fn()>,
}

impl Activity {
    pub(crate) fn new(on_request: impl Fn() + 'static) -> Rc<Self> {
        Rc::new(Self {
            phase: Cell::new((Phase::Silent, Instant::now())),
            blocked: Cell::new(None),
            overdue: Cell::new(None),
            end: Notify::new(),
            on_request: Box::new(on_request),
        })
    }

    /// The handshake is over.
    pub(crate) fn on_handshake(&self) {
        self.enter(Phase::Silent);
    }

    /// Something has come.
    pub(crate) fn on_read(&self) {
        if matches!(self.phase.get().0, Phase::Silent | Phase::Idle) {
            self.enter(Phase::Head);
        }
    }

    /// What is to be sent was taken, or was not.
    pub(crate) fn on_write(&self, taken: bool) {
        match (taken, self.blocked.get()) {
            (true, _) => self.blocked.set(None),
            (false, None) => self.blocked.set(Some(Instant::now())),
            (false, Some(_)) => {}
        }
    }

    /// The head of a request is complete. Its answer is under way until what is returned is
    /// dropped.
    pub(crate) fn begin_request(self: &Rc<Self>) -> RequestInHand {
        self.enter(Phase::Request);
        (self.on_request)();
        RequestInHand(Rc::clone(self))
    }

    /// Returns when the connection takes too long, with what.
    pub(crate) async fn overdue(&self) -> Overdue {
        loop {
            if let Some(overdue) = self.overdue.get() {
                return overdue;
            }
            self.end.notified().await;
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.set((phase, Instant::now()));
    }

    fn look(&self, limits: &Limits, now: Instant) {
        let (phase, since) = self.phase.get();
        let bound = match phase {
            Phase::Silent => Some((limits.first_byte_timeout, Overdue::FirstByte)),
            Phase::Head => Some((limits.head_timeout, Overdue::Head)),
            Phase::Request => None,
            Phase::Idle => Some((limits.keep_alive, Overdue::Idle)),
        };
        let is_over =
            |since: Instant, bound: Duration| now.saturating_duration_since(since) >= bound;
        let phase = bound.filter(|(bound, _)| is_over(since, *bound)).map(|(_, overdue)| overdue);
        let blocked = self.blocked.get().filter(|since| is_over(*since, limits.answer_timeout));
        if let Some(overdue) = blocked.map(|_| Overdue::Answer).or(phase) {
            self.overdue.set(Some(overdue));
            self.end.notify_one();
        }
    }
}

/// A request that is being answered.
pub(crate) struct RequestInHand(Rc<Activity>);

impl Drop for RequestInHand {
    fn drop(&mut self) {
        self.0.enter(Phase::Idle);
    }
}

/// The connections of one thread.
#[derive(Default)]
pub(crate) struct Watched(RefCell<Vec<Weak<Activity>>>);

impl Watched {
    pub(crate) fn add(&self, activity: &Rc<Activity>) {
        self.0.borrow_mut().push(Rc::downgrade(activity));
    }

    fn look(&self, limits: &Limits, now: Instant) {
        self.0.borrow_mut().retain(|activity| {
            let Some(activity) = activity.upgrade() else { return false };
            activity.look(limits, now);
            true
        });
    }
}

/// Looks at the connections again and again, until their thread serves none any more.
pub(crate) async fn keep_looking(watched: Weak<Watched>, limits: Limits) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(watched) = watched.upgrade() else { return };
        watched.look(&limits, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn look(activity: &Rc<Activity>, after: Duration) -> Option<Overdue> {
        let watched = Watched::default();
        watched.add(activity);
        watched.look(&Limits::default(), Instant::now() + after);
        activity.overdue().now_or_never()
    }

    fn new() -> Rc<Activity> {
        Activity::new(|| {})
    }

    /// That it may take nearly `bound`, and no longer.
    fn bounded(activity: &Rc<Activity>, bound: Duration, overdue: Overdue) {
        assert_eq!(look(activity, bound - Duration::from_secs(1)), None);
        assert_eq!(look(activity, bound), Some(overdue));
    }

    #[test]
    fn each_step_of_a_connection_has_a_deadline() {
        let limits = Limits::default();
        bounded(&new(), limits.first_byte_timeout, Overdue::FirstByte);
        let begun = new();
        begun.on_read();
        bounded(&begun, limits.head_timeout, Overdue::Head);
        let idle = new();
        drop(idle.begin_request());
        bounded(&idle, limits.keep_alive, Overdue::Idle);
        let second = new();
        drop(second.begin_request());
        second.on_read();
        bounded(&second, limits.head_timeout, Overdue::Head);
    }

    #[test]
    fn a_request_has_the_time_of_its_handler_unless_its_answer_is_not_read() {
        let activity = new();
        let _in_hand = activity.begin_request();
        activity.on_read();
        assert_eq!(look(&activity, Duration::from_secs(3600)), None);
        activity.on_write(false);
        activity.on_write(true);
        assert_eq!(look(&activity, Duration::from_secs(3600)), None);
        activity.on_write(false);
        bounded(&activity, Limits::default().answer_timeout, Overdue::Answer);
    }

    #[test]
    fn whoever_counts_hears_of_each_request_and_who_has_gone_is_forgotten() {
        let count = Rc::new(Cell::new(0));
        let counted = Rc::clone(&count);
        let activity = Activity::new(move || counted.set(counted.get() + 1));
        assert_eq!(count.get(), 0);
        let in_hand = activity.begin_request();
        assert_eq!(count.get(), 1, "it is answered, however long that takes");
        drop(in_hand);
        let watched = Watched::default();
        watched.add(&activity);
        drop(activity);
        watched.look(&Limits::default(), Instant::now());
        assert!(watched.0.borrow().is_empty());
    }
}
