//! A client with a place in a session: it has a socket at one gateway after the other, until its
//! stream is connected, it is told to go, or it leaves in one way or another.

use std::time::Duration;

use serde_json::{Value, json};
use stream_gateway::simulation::{ClientSocket, Heard};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::units::Units;
use crate::world::{Shared, World};

/// How long a client waits for its socket.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);

/// The pause before it tries again.
const RETRY: Duration = Duration::from_secs(2);

/// How long a frozen client keeps its connection.
const FREEZE: Duration = Duration::from_secs(60);

/// How long the gateway may take to close its end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How a client gives its socket up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Parting {
    /// It keeps it as long as it stays.
    Keeps,
    /// It closes it once its stream is connected.
    Closes,
    /// Its connection breaks with a signal on its way, and it comes back at another gateway or not.
    Breaks { returns: bool },
    /// It reads nothing any more, and answers no ping.
    Freezes,
}

/// One client, by the generation that it is in its session.
pub(crate) struct Guest<'a> {
    pub(crate) world: &'a Shared,
    pub(crate) units: &'a Units,
    pub(crate) session: &'a str,
    pub(crate) generation: u64,
    /// Where it opens its socket.
    pub(crate) url: &'a str,
    pub(crate) parting: (Parting, Instant),
}

/// What a client does when it has no socket any more.
enum Next {
    Returns,
    /// It goes on with its stream alone.
    Streams,
    Goes,
}

impl Guest<'_> {
    /// Is the client until the time is over, or until it has no place any more.
    pub(crate) async fn stay(&self, until: Instant) {
        let Some(at) = self.url.find("/1.0/") else { return };
        let (mut cursor, mut said, mut parts) = (String::new(), 0, true);
        while Instant::now() < until {
            let path = format!("{}&after={cursor}", &self.url[at..]);
            let opened = match self.units.any_gateway() {
                Some(gateway) => {
                    let opened = timeout(OPEN_TIMEOUT, gateway.open(path)).await;
                    opened.ok().flatten().map(|opened| (gateway.name, opened))
                }
                None => None,
            };
            let mut socket = match opened {
                Some((unit, Ok(socket))) => {
                    self.enter(&unit);
                    socket
                }
                Some((unit, Err(status))) if status < 500 => {
                    let (session, generation) = (self.session, self.generation);
                    let mut world = self.world.lock();
                    world.note(format_args!("{unit} has no socket for {generation} of {session}"));
                    return;
                }
                _ => {
                    sleep(RETRY).await;
                    continue;
                }
            };
            let next = self.converse(&mut socket, (&mut cursor, &mut said), (parts, until)).await;
            drop(socket);
            self.leave();
            match next {
                Next::Returns => parts = false,
                Next::Streams => sleep_until(until).await,
                Next::Goes => return,
            }
            sleep(RETRY).await;
        }
    }

    fn enter(&self, unit: &str) {
        let mut world = self.world.lock();
        let (now, of) = (world.now(), (self.session, self.generation));
        world.note(format_args!("client {} of {} is at {unit}", self.generation, self.session));
        world.seats.on_opened(now, of, unit);
        world.clients.insert(self.session.to_owned(), self.generation);
    }

    /// It has no socket any more, or hears nothing there.
    fn leave(&self) {
        let mut world = self.world.lock();
        let now = world.now();
        world.note(format_args!("client {} of {} has no socket", self.generation, self.session));
        world.seats.on_left(now, (self.session, self.generation));
    }

    /// Hears and speaks, until the socket is closed or the client gives it up.
    async fn converse(
        &self,
        socket: &mut ClientSocket,
        (cursor, said): (&mut String, &mut u32),
        (parts, until): (bool, Instant),
    ) -> Next {
        let mut has_place = true;
        loop {
            let pause = self.world.lock().chance.millis(500, 5000);
            let pause = (Instant::now() + pause).min(until);
            tokio::select! {
                biased;
                heard = socket.recv() => match heard {
                    Heard::Text(text) => has_place &= self.hear(&text, cursor),
                    Heard::Closed => return if has_place { Next::Returns } else { Next::Goes },
                },
                () = sleep_until(pause) => {
                    if Instant::now() >= until {
                        return Next::Goes;
                    }
                    *said += 1;
                    if let Some(next) = self.act(socket, *said, parts).await {
                        return next;
                    }
                }
            }
        }
    }

    /// Takes what the gateway says; returns whether the client still has a place, for all it knows.
    fn hear(&self, text: &str, cursor: &mut String) -> bool {
        let Ok(frame) = serde_json::from_str::<Value>(text) else { return true };
        let is_of_reader = frame["type"] != "stored";
        if let Some(told) = frame["cursor"].as_str().filter(|_| is_of_reader) {
            *cursor = told.to_owned();
        }
        if frame["type"] != "error" {
            return true;
        }
        let why = frame["message"].as_str().unwrap_or_default();
        let mut world = self.world.lock();
        let of = (self.session, self.generation);
        world.note(format_args!("client {} of {} is told: {why}", of.1, of.0));
        let (now, World { seats, history, .. }) = (world.now(), &mut *world);
        seats.on_dismissed(now, of, why, history);
        frame["retry_after_ms"].is_number()
    }

    /// Does what the client does now and then; returns what comes next when it gives its socket up.
    async fn act(&self, socket: &mut ClientSocket, said: u32, parts: bool) -> Option<Next> {
        let (now, is_streaming) = {
            let mut world = self.world.lock();
            let (now, World { judge, seats, history, .. }) = (world.now(), &mut *world);
            seats.on_served(now, (self.session, self.generation), history);
            (Instant::now(), judge.connected(self.session) == Some(self.generation))
        };
        let (parting, at) = self.parting;
        let signal = json!({
            "id": format!("c{}-{said}", self.generation),
            "signal": {"type": "candidate", "n": said},
        });
        let is_time = parts && now >= at;
        match parting {
            Parting::Closes if is_streaming => {
                self.leave();
                socket.close();
                let closed = async { while socket.recv().await != Heard::Closed {} };
                // Its gateway may stand still.
                let _ = timeout(CLOSE_TIMEOUT, closed).await;
                return Some(Next::Streams);
            }
            Parting::Breaks { returns } if is_time => {
                socket.send(&signal.to_string());
                return Some(if returns { Next::Returns } else { Next::Goes });
            }
            Parting::Freezes if is_time => {
                self.leave();
                sleep(FREEZE).await;
                return Some(Next::Goes);
            }
            _ => socket.send(&signal.to_string()),
        }
        None
    }
}
