//! What runs in an instance: it tells an agent how it is, follows its commands, and has a client
//! while one is there.

use std::time::Duration;

use serde::Deserialize;
use stream_protocol::{
    Capabilities, ClientReport, ClientState, Commands, DesiredState, NewSignal, Op, Report,
    ReportedStatus, SessionId, Signal, SignalId, SignalPeer, Signaling,
};
use stream_sessions::{KnownCommands, Sessions, SessionsError};
use tokio::time::{sleep, timeout};

use crate::ams::{CREATED, ERROR, RUNNING};
use crate::judge::{REVOKED_WITHIN, signal_of};
use crate::units::Units;
use crate::world::{Shared, World};

/// How long one request to an agent may take.
const REQUEST: Duration = Duration::from_secs(20);

/// How long an instance waits for news of its commands.
const POLL: Duration = Duration::from_secs(5);

/// The pause after a request that failed.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct Userdata {
    session_id: SessionId,
    token: String,
}

/// The program of one instance.
pub(crate) struct Program {
    world: Shared,
    units: Units,
    instance: String,
    session: SessionId,
    token: String,
    known: KnownCommands,
    /// The generation whose client is connected.
    connected: Option<u64>,
    /// The one whose client was, when the instance went down.
    lost: Option<u64>,
    is_told: bool,
}

impl Program {
    /// Boots the instance `instance`; there is no program if it does not come so far.
    pub(crate) async fn boot(world: &Shared, units: &Units, instance: &str) -> Option<Self> {
        let (boot, fails) = {
            let mut world = world.lock();
            let noise = world.noise.ams;
            (world.chance.millis(500, 15_000), world.chance.happens(noise / 2))
        };
        sleep(boot).await;
        let userdata = {
            let mut world = world.lock();
            let now = world.now();
            let one = world.ams.instances.get(instance).filter(|one| one.status == CREATED)?;
            let userdata = one.userdata.clone();
            let status = if fails { ERROR } else { RUNNING };
            world.note(format_args!("{instance} boots: {status}"));
            world.ams.set_status(instance, status, now);
            userdata
        };
        let Userdata { session_id: session, token } = serde_json::from_str(&userdata).ok()?;
        Some(Self {
            world: Shared::clone(world),
            units: units.clone(),
            instance: instance.to_owned(),
            session,
            token,
            known: KnownCommands::default(),
            connected: None,
            lost: None,
            is_told: false,
        })
    }

    pub(crate) async fn run(mut self) {
        loop {
            match self.status() {
                Some(RUNNING) if !self.is_told => self.tell_running().await,
                Some(RUNNING) => {
                    self.follow().await;
                    self.signal().await;
                }
                Some(_) => {
                    self.lost = self.connected.or(self.lost);
                    self.disconnect();
                    self.is_told = false;
                    sleep(RETRY).await;
                }
                None => break,
            }
        }
        self.disconnect();
        self.haunt().await;
    }

    /// Goes on asking after the end: whoever has copied the token might.
    async fn haunt(&self) {
        for _ in 0..3 {
            sleep(REVOKED_WITHIN / 2).await;
            let allowed = self.ask(Op::CommandRead, async |_, _| Ok(())).await;
            if allowed.is_none() {
                return;
            }
        }
    }

    fn status(&self) -> Option<i64> {
        self.world.lock().ams.instances.get(&self.instance).map(|one| one.status)
    }

    fn disconnect(&mut self) {
        if self.connected.take().is_some() {
            self.world.lock().judge.set_connected(self.session.as_str(), None);
        }
    }

    async fn tell_running(&mut self) {
        let report = Report {
            status: ReportedStatus::Running,
            message: String::new(),
            capabilities: Some(Capabilities::default()),
        };
        self.world.lock().judge.set_down(self.session.as_str(), false);
        let told = self
            .ask(Op::SessionReport, async move |sessions, id| sessions.report(&id, report).await);
        match told.await {
            Some(()) => {
                self.is_told = true;
                // Agents do not know that it was away, if AMS has not told them.
                if let Some(generation) = self.lost.take() {
                    self.tell_client(ClientState::Disconnected, generation).await;
                }
            }
            None => sleep(RETRY).await,
        }
    }

    /// Follows the commands once.
    async fn follow(&mut self) {
        let known = self.known.clone();
        let commands = self.ask(Op::CommandRead, async move |sessions, id| {
            sessions.commands(&id, &known, POLL).await
        });
        match commands.await {
            Some(commands) => self.obey(&commands).await,
            None => sleep(RETRY).await,
        }
    }

    /// Signals something; what was not acknowledged is signalled again.
    async fn signal(&mut self) {
        let number = self.world.lock().judge.next_signal(self.session.as_str());
        let id: SignalId = format!("n{number}").parse().expect("an id");
        let signal = Signal::parse(signal_of(number));
        let posted = NewSignal { id, generation: 0, signal: signal.expect("a signal") };
        let stored = self.ask(Op::SignalWrite, async move |sessions, id| {
            sessions.write_signals(&SignalPeer::from(&id), vec![posted]).await
        });
        if stored.await.is_some() {
            self.world.lock().judge.signal_stored(self.session.as_str(), number);
        }
    }

    async fn obey(&mut self, commands: &Commands) {
        self.known.revision = commands.revision;
        let generation = commands.generation;
        if commands.desired == DesiredState::Terminated
            || self.connected.is_some_and(|own| own != generation)
        {
            self.disconnect();
        }
        let is_there = |world: &World, session: &SessionId| {
            world.clients.get(session.as_str()) == Some(&generation)
        };
        if self.connected.is_some() && !is_there(&self.world.lock(), &self.session) {
            self.disconnect();
            self.tell_client(ClientState::Disconnected, generation).await;
        }
        let is_open = commands.signaling == Signaling::Open;
        if is_open && self.connected.is_none() && is_there(&self.world.lock(), &self.session) {
            let pause = self.world.lock().chance.millis(100, 2000);
            sleep(pause).await;
            let stays = is_there(&self.world.lock(), &self.session);
            if stays && self.tell_client(ClientState::Connected, generation).await {
                self.connected = Some(generation);
                let mut world = self.world.lock();
                world.judge.set_connected(self.session.as_str(), Some(generation));
            }
        }
    }

    /// Tells of the client until that is taken, or refused for good; returns whether it was taken.
    async fn tell_client(&self, client: ClientState, generation: u64) -> bool {
        for _ in 0..30 {
            let report = ClientReport { client, generation };
            let told = self.ask(Op::SessionReport, async move |sessions, id| {
                sessions.report_client(&id, report).await
            });
            if told.await.is_some() {
                let mut world = self.world.lock();
                let session = self.session.as_str();
                world.note(format_args!("{session} has told of {generation}: {client:?}"));
                return true;
            }
            if self.status() != Some(RUNNING) {
                return false;
            }
            sleep(RETRY).await;
        }
        false
    }

    /// Has an agent answer a request that comes with the token of this instance.
    async fn ask<T: 'static>(
        &self,
        op: Op,
        request: impl AsyncFnOnce(Sessions, SessionId) -> Result<T, SessionsError> + 'static,
    ) -> Option<T> {
        let (name, agent) = self.units.any_agent()?;
        if self.world.lock().links.get(agent.process.id()).is_none_or(|link| !link.is_alive) {
            return None;
        }
        let (token, id, world) = (self.token.clone(), self.session.clone(), self.world.clone());
        let (tokens, sessions) = (agent.tokens.clone(), agent.sessions.clone());
        let answered = agent.process.run(async move {
            if tokens.verify(&token, op, Some(&id)).await.is_err() {
                return None;
            }
            {
                let mut world = world.lock();
                let (now, World { judge, store, history, .. }) = (world.now(), &mut *world);
                judge.on_accepted(now, (&name, id.as_str()), store, history);
            }
            request(sessions, id).await.ok()
        });
        timeout(REQUEST, answered).await.ok()??
    }
}
