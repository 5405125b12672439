//! Who reads what the instance of a session signals: through one gateway after the other, each time
//! from where it was read last.

use std::time::Duration;

use stream_bridge::BridgeError;
use stream_protocol::{Cursor, Direction, SessionId};
use tokio::time::{Instant, sleep};

use crate::units::Units;
use crate::world::{Shared, World};

/// The pause after a read that failed.
const RETRY: Duration = Duration::from_secs(1);

/// Reads the signals of `session` until `until`, and has each of them judged.
pub(crate) async fn listen(world: Shared, units: Units, session: SessionId, until: Instant) {
    let mut after = None;
    while Instant::now() < until {
        let Some(gateway) = units.any_gateway() else {
            sleep(RETRY).await;
            continue;
        };
        let name = gateway.name.clone();
        if after.is_none() {
            world.lock().judge.begin_reading(session.as_str());
        }
        after = read(&world, &gateway, &session, (after, until)).await;
        world.lock().note(format_args!("{name} reads {session} no more"));
    }
    let mut world = world.lock();
    let (now, World { judge, history, .. }) = (world.now(), &mut *world);
    judge.on_silence(now, session.as_str(), history);
}

/// Reads through one gateway until it dies; returns the cursor then.
async fn read(
    world: &Shared,
    gateway: &crate::gateway::Gateway,
    session: &SessionId,
    (after, until): (Option<Cursor>, Instant),
) -> Option<Cursor> {
    let (cursor, shared) = (std::rc::Rc::new(std::cell::Cell::new(after)), world.clone());
    let (bridge, session, reached) = (gateway.bridge(), session.clone(), cursor.clone());
    let reading = async move {
        let signals = bridge.signals();
        let mut reader = signals.reader(&session, Direction::ToClient, after, 0);
        while Instant::now() < until {
            match reader.next().await {
                Ok(page) => {
                    let mut world = shared.lock();
                    let (now, World { judge, store, history, .. }) = (world.now(), &mut *world);
                    let read = (session.as_str(), page.signals.as_slice());
                    judge.on_page(now, read, store, history);
                    reached.set(Some(page.cursor));
                }
                // As a socket does.
                Err(BridgeError::HistoryGone { .. }) => {
                    let mut world = shared.lock();
                    world.note(format_args!("what {session} has signalled is dropped"));
                    let (now, World { judge, store, history, .. }) = (world.now(), &mut *world);
                    let of = (session.as_str(), reader.cursor());
                    judge.on_history_gone(now, of, store, history);
                    reader = signals.reader(&session, Direction::ToClient, None, 0);
                    reached.set(None);
                }
                Err(error) => {
                    shared.lock().note(format_args!("{session} is not read: {error}"));
                    sleep(RETRY).await;
                }
            }
        }
    };
    gateway.process.run(reading).await;
    cursor.get()
}
