//! What the readers of the signal log in this process find out together: where the log ends, and
//! for which of them there may be something in it. Readers that wait cost questions to NATS by the
//! hundred, not one by one.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::BridgeError;
use crate::log_bounds::Bounds;

/// How long a question waits for others that can be asked with it.
const GATHER: Duration = Duration::from_millis(250);

/// How many readers one question is about. The server answers for 1,024 subjects at most.
const MAX_POSITIONS: usize = 512;

/// Shared by all readers of the process; clones share it.
#[derive(Clone, Default)]
pub(crate) struct LogWatch(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Held by the one who looks.
    seen: tokio::sync::Mutex<Seen>,
    waiting: Mutex<Vec<Waiting>>,
    /// Held by the one who asks for all that wait.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Seen {
    /// The last look, and when it began.
    bounds: Option<(Instant, Bounds)>,
    /// The last look that failed: when it began, and why.
    failed: Option<(Instant, String)>,
}

/// Up to where a reader has read its subject.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Position {
    pub(crate) subject: String,
    pub(crate) after: u64,
}

struct Waiting {
    position: Position,
    answer: oneshot::Sender<Result<bool, String>>,
}

impl LogWatch {
    /// Returns the bounds of the log as they were at `since` or later. Those who call at the same
    /// time share one `look`.
    ///
    /// # Cancel safety
    ///
    /// Whoever waits for a look that is dropped takes one itself.
    pub(crate) async fn bounds(
        &self,
        since: Instant,
        look: impl AsyncFnOnce() -> Result<Bounds, BridgeError>,
    ) -> Result<Bounds, BridgeError> {
        let asked = Instant::now();
        let mut seen = self.0.seen.lock().await;
        if let Some((begun, bounds)) = seen.bounds
            && begun >= since
        {
            return Ok(bounds);
        }
        if let Some((begun, why)) = &seen.failed
            && *begun >= asked
        {
            return Err(BridgeError::Disconnected(why.clone()));
        }
        let begun = Instant::now();
        let bounds = look().await;
        match &bounds {
            Ok(bounds) => *seen = Seen { bounds: Some((begun, *bounds)), failed: None },
            Err(error) => seen.failed = Some((begun, error.to_string())),
        }
        bounds
    }

    /// Returns whether there may be something behind `position`. `ask` is called by one reader for
    /// all that wait, and returns those positions behind which there may be something.
    ///
    /// # Cancel safety
    ///
    /// Whoever waits for a question that is dropped asks again.
    pub(crate) async fn has_more(
        &self,
        position: &Position,
        ask: impl AsyncFn(&[Position]) -> Result<HashSet<Position>, BridgeError>,
    ) -> Result<bool, BridgeError> {
        loop {
            let (answer, mut answered) = oneshot::channel();
            self.0.waiting.lock().push(Waiting { position: position.clone(), answer });
            loop {
                tokio::select! {
                    biased;
                    said = &mut answered => match said {
                        Ok(said) => return said.map_err(BridgeError::Disconnected),
                        Err(_) => break,
                    },
                    _turn = self.0.turn.lock() => self.ask_for_all(&ask).await,
                }
            }
        }
    }

    async fn ask_for_all(
        &self,
        ask: impl AsyncFn(&[Position]) -> Result<HashSet<Position>, BridgeError>,
    ) {
        sleep(GATHER).await;
        let waiting: Vec<_> = {
            let mut waiting = self.0.waiting.lock();
            waiting.retain(|one| !one.answer.is_closed());
            let count = waiting.len().min(MAX_POSITIONS);
            waiting.drain(..count).collect()
        };
        let positions: Vec<_> = waiting.iter().map(|one| one.position.clone()).collect();
        let found = ask(&positions).await;
        for Waiting { position, answer } in waiting {
            let said = match &found {
                Ok(found) => Ok(found.contains(&position)),
                Err(error) => Err(error.to_string()),
            };
            // Its reader may have gone meanwhile.
            let _ = answer.send(said);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use futures_util::future::{join_all, poll_immediate};

    use super::*;

    const BOUNDS: Bounds = Bounds { epoch: 7, first: 1, last: 9, is_replicated: false };

    fn position(n: u64) -> Position {
        Position { subject: format!("s.{n}"), after: n }
    }

    #[tokio::test]
    async fn readers_that_look_at_the_same_time_share_a_look() {
        let (watch, looks) = (LogWatch::default(), Cell::new(0));
        let look = async || {
            looks.set(looks.get() + 1);
            tokio::task::yield_now().await;
            Ok(BOUNDS)
        };
        let before = Instant::now();
        let all = join_all((0..100).map(|_| watch.bounds(before, look))).await;
        assert!(all.into_iter().all(|bounds| bounds.is_ok_and(|bounds| bounds == BOUNDS)));
        assert_eq!(looks.get(), 1);
        assert!(watch.bounds(Instant::now(), look).await.is_ok());
        assert_eq!(looks.get(), 2, "the one before is too old");
    }

    #[tokio::test]
    async fn a_look_that_fails_fails_for_all_who_waited_for_it() {
        let (watch, looks) = (LogWatch::default(), Cell::new(0));
        let look = async || {
            looks.set(looks.get() + 1);
            tokio::task::yield_now().await;
            Err(BridgeError::TimedOut)
        };
        let all = join_all((0..100).map(|_| watch.bounds(Instant::now(), look))).await;
        assert!(all.into_iter().all(|bounds| bounds.is_err()));
        assert_eq!(looks.get(), 2, "the first began before the others asked");
    }

    #[tokio::test(start_paused = true)]
    async fn one_question_is_about_hundreds_of_readers() {
        let (watch, asked) = (LogWatch::default(), RefCell::new(Vec::new()));
        let ask = async |positions: &[Position]| {
            asked.borrow_mut().push(positions.len());
            Ok(positions.iter().filter(|one| one.after % 2 == 0).cloned().collect())
        };
        let positions: Vec<_> = (0..600).map(position).collect();
        let all = join_all(positions.iter().map(|one| watch.has_more(one, ask))).await;
        let more: Vec<_> = all.into_iter().map(|more| more.is_ok_and(|more| more)).collect();
        assert!((0..600).all(|n| more[n] == (n % 2 == 0)));
        assert_eq!(*asked.borrow(), [512, 88]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_goes_takes_no_answer_from_the_others() {
        let watch = LogWatch::default();
        let (one, other) = (position(1), position(2));
        let hangs = async |_: &[Position]| std::future::pending().await;
        let mut asking = Box::pin(watch.has_more(&one, hangs));
        assert!(poll_immediate(&mut asking).await.is_none());
        let answers = async |positions: &[Position]| {
            assert_eq!(positions, [position(2)], "nobody waits for the other answer");
            Ok(HashSet::from([position(2)]))
        };
        let mut waiting = Box::pin(watch.has_more(&other, answers));
        assert!(poll_immediate(&mut waiting).await.is_none());
        // By now it has taken the question of both with it.
        assert!(tokio::time::timeout(GATHER * 2, &mut asking).await.is_err());
        drop(asking);
        assert!(waiting.await.is_ok_and(|more| more));
    }
}
