//! The connection of a unit to the simulated NATS server: calls take their time, get lost, or are
//! the last that the unit makes.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stream_bridge::simulation::{
    Answer, Expected, LogReach, Published, ServerTime, SimulatedServer, Stored,
};
use stream_bridge::{BridgeError, Continuity, Entry, IncomingRequest};
use stream_protocol::subjects::Bucket;
use stream_supervisor::Recipient;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::chance::Loss;
use crate::world::{Shared, UnitId, World};

/// How long one answer of the server may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// The server as one unit reaches it.
#[derive(Clone)]
pub(crate) struct Server {
    world: Shared,
    unit: UnitId,
}

impl Server {
    pub(crate) fn new(world: &Shared, unit: UnitId) -> Self {
        Self { world: Arc::clone(world), unit }
    }

    /// Has the server do `effect`, unless the question or its answer is lost.
    fn call<T: 'static>(
        &self,
        effect: impl FnOnce(&mut World, &str) -> Result<T, BridgeError> + 'static,
    ) -> Answer<T> {
        self.call_within(REQUEST_TIMEOUT, effect)
    }

    fn call_within<T: 'static>(
        &self,
        limit: Duration,
        effect: impl FnOnce(&mut World, &str) -> Result<T, BridgeError> + 'static,
    ) -> Answer<T> {
        let (server, until) = (self.clone(), Instant::now() + limit);
        Box::pin(async move {
            let (fate, dies, mut connects) = {
                let mut world = server.world.lock();
                world.check_connected(server.unit)?;
                let noise = world.noise;
                let dies = world.count_call(server.unit);
                let connects = world.connects(server.unit);
                (world.chance.fate(noise), dies, connects)
            };
            let before = *connects.borrow_and_update();
            let work = async {
                sleep(fate.there).await;
                if fate.loss == Loss::There {
                    pending::<()>().await;
                }
                if dies == Some(false) {
                    server.die().await;
                }
                let done = server.act(before, effect);
                if dies == Some(true) {
                    server.die().await;
                }
                let Some(done) = done else { return pending().await };
                sleep(fate.back).await;
                if fate.loss == Loss::Back || !server.is_same_connection(before) {
                    pending::<()>().await;
                }
                done
            };
            tokio::select! {
                biased;
                done = work => return done,
                // The server does not answer then what it was asked before.
                Ok(()) = connects.changed() => {}
                () = sleep_until(until) => {}
            }
            server.note_unanswered();
            Err(BridgeError::TimedOut)
        })
    }

    fn note_unanswered(&self) {
        let mut world = self.world.lock();
        let (now, unit) = (world.now(), world.links[self.unit].unit.clone());
        world.judge.note_unanswered(&unit, now);
        world.disturb(&unit);
    }

    /// Does `effect` if the question has arrived; there is no answer otherwise.
    fn act<T>(
        &self,
        connects: u64,
        effect: impl FnOnce(&mut World, &str) -> Result<T, BridgeError>,
    ) -> Option<Result<T, BridgeError>> {
        if !self.is_same_connection(connects) {
            return None;
        }
        let mut world = self.world.lock();
        if world.now() < world.leaderless_until {
            return None;
        }
        world.advance();
        let unit = world.links[self.unit].unit.clone();
        Some(effect(&mut world, &unit))
    }

    fn is_same_connection(&self, connects: u64) -> bool {
        let world = self.world.lock();
        let link = &world.links[self.unit];
        link.is_connected && link.connects == connects
    }

    /// Ends the unit, at this very await.
    async fn die(&self) {
        self.world.lock().kill(self.unit);
        pending().await
    }
}

impl SimulatedServer for Server {
    fn is_replicated(&self) -> bool {
        self.world.lock().is_replicated
    }

    fn read(&self, bucket: Bucket, key: String) -> Answer<Option<Entry<Bytes>>> {
        self.call(move |world, _| Ok(world.store.read(bucket, &key)))
    }

    fn write(
        &self,
        bucket: Bucket,
        key: String,
        value: Bytes,
        expected: Expected,
        ttl: Option<Duration>,
    ) -> Answer<u64> {
        self.call(move |world, unit| {
            let goes_at = ttl.map(|ttl| world.now() + ttl);
            let change = world.store.write(bucket, &key, value, expected, goes_at)?;
            let revision = change.revision;
            world.on_change(unit, change);
            Ok(revision)
        })
    }

    fn remove(&self, bucket: Bucket, key: String, revision: Option<u64>) -> Answer<()> {
        self.call(move |world, unit| {
            let now = world.now();
            let change = world.store.remove(bucket, &key, revision, now)?;
            world.on_change(unit, change);
            Ok(())
        })
    }

    fn written(&self, bucket: Bucket, after: u64) -> Answer<(Vec<Stored>, bool)> {
        self.call(move |world, _| {
            let lag = world.lag();
            Ok(world.store.written(bucket, after, lag))
        })
    }

    fn next_written(&self, bucket: Bucket, after: u64) -> Answer<Option<Stored>> {
        self.call(move |world, _| Ok(world.store.next_written(bucket, after)))
    }

    fn look(&self, bucket: Bucket) -> Answer<(Continuity, u64)> {
        let id = self.unit;
        self.call(move |world, _| {
            let (created, last) = world.store.look(bucket);
            let created = created.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            let connected_since = world.links[id].connected_since;
            Ok((Continuity { created_at: created.as_secs(), connected_since }, last))
        })
    }

    fn request(&self, subject: String, body: Bytes, deadline: Duration) -> Answer<Bytes> {
        let (server, until) = (self.clone(), Instant::now() + deadline);
        Box::pin(async move {
            let (sender, mut answers) = mpsc::unbounded_channel();
            let (asked, shared) = (subject.clone(), Arc::clone(&server.world));
            let delivered = server.call_within(deadline, move |world, unit| {
                world.note(format_args!("{unit} asks {asked}"));
                let repeats = world.chance.happens(world.noise.repetition);
                let responders = world.responders(&asked);
                let count = responders.len();
                for (id, to) in responders {
                    for _ in 0..=u8::from(repeats) {
                        deliver(&shared, world, (id, &to), (&asked, &body), &sender);
                    }
                }
                Ok(count)
            });
            if delivered.await? == 0 {
                return Err(BridgeError::NoResponder);
            }
            let answer = async {
                let Some(answer) = answers.recv().await else { return pending().await };
                let (fate, connected) = {
                    let mut world = server.world.lock();
                    let noise = world.noise;
                    (world.chance.fate(noise), world.check_connected(server.unit).is_ok())
                };
                sleep(fate.back).await;
                if !connected || fate.loss == Loss::Back {
                    pending::<()>().await;
                }
                Ok(answer)
            };
            tokio::select! {
                biased;
                answer = answer => answer,
                () = sleep_until(until) => Err(BridgeError::TimedOut),
            }
        })
    }

    fn serve(&self, subject: String, group: Option<&'static str>, to: Recipient<IncomingRequest>) {
        self.world.lock().serve(self.unit, subject, group, to);
    }

    fn stop_serving(&self, subject: &str) {
        self.world.lock().stop_serving(self.unit, subject);
    }

    fn follow(&self, subject: String) -> Answer<mpsc::UnboundedReceiver<Published>> {
        let id = self.unit;
        self.call(move |world, _| Ok(world.follow(id, subject)))
    }

    fn append(
        &self,
        subject: String,
        id: String,
        payload: Bytes,
        expected: Option<u64>,
    ) -> Answer<u64> {
        self.call(move |world, unit| {
            let now = world.now();
            let stored = world.store.append(&subject, &id, &payload, expected, now);
            let (sequence, published) = stored?;
            world.note(format_args!("{unit} signals on {subject}: {sequence}"));
            if let Some(published) = published {
                let subject = format!("{}.{subject}", stream_protocol::subjects::LIVE);
                world.publish(&Published { subject, ..published });
            }
            Ok(sequence)
        })
    }

    fn signals(&self, subject: String, from: u64) -> Answer<(Vec<(u64, Bytes)>, bool)> {
        self.call(move |world, _| {
            let lag = world.lag();
            Ok(world.store.signals(&subject, from, lag))
        })
    }

    fn last_signals(&self, subjects: Vec<String>, from: u64) -> Answer<Vec<(String, u64)>> {
        self.call(move |world, _| {
            let last = subjects.into_iter().map(|subject| {
                let last = world.store.last_of(&subject);
                (subject, last)
            });
            Ok(last.filter(|(_, last)| *last >= from.max(1)).collect())
        })
    }

    fn first_signal(&self, subject: String, from: u64) -> Answer<Option<(u64, Bytes)>> {
        self.call(move |world, _| {
            let (signals, _) = world.store.signals(&subject, from, Duration::ZERO);
            Ok(signals.into_iter().next())
        })
    }

    fn last_signal(&self, subject: String) -> Answer<Option<u64>> {
        self.call(move |world, _| Ok(Some(world.store.last_of(&subject)).filter(|last| *last > 0)))
    }

    fn reach(&self) -> Answer<LogReach> {
        self.call(|world, _| Ok(world.store.reach()))
    }

    fn copies(&self) -> Answer<(u64, u64)> {
        self.call(|world, _| Ok(world.store.copies()))
    }

    fn last_copied(&self, subject: String) -> Answer<Option<u64>> {
        self.call(move |world, _| Ok(world.store.last_copied(&subject)))
    }

    fn copied(&self, copy: u64) -> Answer<Option<u64>> {
        self.call(move |world, _| Ok(world.store.copied(copy)))
    }

    fn connects(&self) -> watch::Receiver<u64> {
        self.world.lock().connects(self.unit)
    }

    fn is_connected(&self) -> bool {
        self.world.lock().links[self.unit].is_connected
    }

    fn time(&self) -> ServerTime {
        let world = self.world.lock();
        ServerTime { created: world.store.created(), now: world.server_time() }
    }
}

/// Tells a request to whoever serves it; only the first answer counts.
fn deliver(
    shared: &Shared,
    world: &mut World,
    (responder, to): (UnitId, &Recipient<IncomingRequest>),
    (subject, body): (&str, &Bytes),
    answers: &mpsc::UnboundedSender<Bytes>,
) {
    let (answers, about, shared) = (answers.clone(), subject.to_owned(), Arc::clone(shared));
    let question = body.clone();
    let take = move |answer: Vec<u8>| {
        let mut world = shared.lock();
        let world = &mut *world;
        let unit = world.links[responder].unit.clone();
        if world.check_connected(responder).is_err() {
            return world.note(format_args!("{unit} answers in vain on {about}"));
        }
        let now = world.now();
        let World { judge, store, history, .. } = world;
        judge.on_answer(now, (&unit, &about), (&question, answer.as_slice()), store, history);
        // The asker may have gone.
        let _ = answers.send(answer.into());
    };
    if !IncomingRequest::tell(subject.to_owned(), body.clone(), take, to) {
        let unit = world.links[responder].unit.clone();
        world.note(format_args!("{unit} takes no request on {subject}"));
    }
}
