//! Who reads what the instance of a session signals: through one gateway after the other, each time
//! from where it was read last.

use std::time::Duration;

use stream_protocol::{Cursor, Direction, LoggedSignal, SessionId};
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
        let mut reader = bridge.signals().reader(&session, Direction::ToClient, after, 0);
        while Instant::now() < until {
            match reader.next().await {
                Ok(page) => {
                    let mut world = shared.lock();
                    let (now, World { judge, history, .. }) = (world.now(), &mut *world);
                    for LoggedSignal { signal, .. } in &page.signals {
                        judge.on_signal(now, session.as_str(), signal.as_str(), history);
                    }
                    reached.set(Some(page.cursor));
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
