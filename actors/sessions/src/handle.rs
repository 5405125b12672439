//! The handle of the actor.

use std::sync::Arc;
use std::time::Duration;

use stream_bridge::{Bridge, BridgeError, SignalConnection, SignalReader};
use stream_metrics::{Collect, Exposition};
use stream_pki::ServerIdentity;
use stream_protocol::subjects::Bucket;
use stream_protocol::{
    AgentId, AmsInstance, ClientReport, Commands, Cursor, Direction, IceServer, NewSignal, Report,
    SessionDocument, SessionId, SignalPage, SignalPeer,
};
use stream_socket::{FrameFormat, SignalRelay, SocketMetrics, WriteLimiter};
use stream_supervisor::Drain;
use stream_supervisor::{Limits, Mailbox, Mode, RestartPolicy, Supervisor, retry_while};
use tokio::time::{Instant, sleep, timeout_at};

use crate::actor::{self, Actor};
use crate::arrivals::Arrivals;
use crate::context::AgentContext;
use crate::endpoints::{self, Endpoints};
use crate::metrics::SessionMetrics;
use crate::shared::SharedState;
use crate::{Alert, Config, Dependencies, SessionsError, signals};

/// How often an agent that drains looks what others have taken.
const DRAIN_POLL: Duration = Duration::from_millis(200);

/// What an instance says that it knows of its commands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KnownCommands {
    /// The revision of the last ones; 0 before the first.
    pub revision: u64,
    /// The version of the agents that they named. An instance that does not say it is not told when
    /// there are others.
    pub agents: Option<String>,
}

impl KnownCommands {
    /// Whether `commands` say nothing else. A revision below the known one is another one: the
    /// store was restored from an earlier time.
    pub fn are(&self, commands: &Commands) -> bool {
        let agents = self.agents.as_ref();
        commands.revision == self.revision
            && agents.is_none_or(|agents| *agents == commands.agents_version)
    }
}

/// The address of the registry of sessions.
#[derive(Clone)]
pub struct Sessions {
    mailbox: Mailbox<Actor>,
    bridge: Bridge,
    writes: WriteLimiter,
    endpoints: Endpoints,
    arrivals: Arrivals,
    drain: Drain,
    metrics: SessionMetrics,
    agent: AgentId,
    capacity: u32,
}

impl Sessions {
    /// Starts the actor. It takes up what this unit owns as soon as NATS is reached, and leaves it
    /// to others when an order is given to `drain`.
    pub fn start(
        config: Config,
        served: ServerIdentity,
        dependencies: Dependencies,
        drain: &Drain,
        supervisor: &Supervisor,
    ) -> Self {
        let (bridge, shared) = (dependencies.bridge.clone(), SharedState::default());
        let (writes, metrics) = (shared.writes.clone(), shared.metrics.clone());
        let (agent, capacity) = (config.name.clone(), config.capacity);
        let endpoints = Endpoints::new(&config, &served);
        let arrivals = Arrivals::default();
        let context = Arc::new(AgentContext {
            config,
            deps: dependencies,
            endpoints: endpoints.clone(),
            arrivals: arrivals.clone(),
            drain: drain.clone(),
            metrics: metrics.clone(),
        });
        let limits = Limits { mailbox_capacity: 8192, max_concurrent: 1024, ..Limits::default() };
        let factory = move || Actor::new(Arc::clone(&context), shared.clone());
        let mailbox = supervisor.spawn(
            "sessions",
            Mode::KeepInFlight,
            RestartPolicy::default(),
            limits,
            factory,
        );
        let drain = drain.clone();
        Self { mailbox, bridge, writes, endpoints, arrivals, drain, metrics, agent, capacity }
    }

    /// Returns where to note which instances come, and whom this agent does not understand.
    pub fn arrivals(&self) -> Arrivals {
        self.arrivals.clone()
    }

    /// Returns when this agent, which drains, has left all its sessions to others, or nobody is
    /// there to take them. Without others they wait for the agent to return.
    pub async fn drained(&self) {
        loop {
            match self.hand_over().await {
                Ok(0) => return,
                Ok(left) => self.drain.set_remaining(left),
                Err(error) => log::debug!(error:%; "what is left to others is not known"),
            }
            sleep(DRAIN_POLL).await;
        }
    }

    async fn hand_over(&self) -> Result<usize, SessionsError> {
        self.mailbox.ask(actor::HandOver).await?
    }

    /// Says that this agent is gone, so that nobody has to wait until it is missed.
    pub async fn withdraw_presence(&self) {
        if let Err(error) = self.mailbox.ask(actor::WithdrawPresence).await {
            log::debug!(error:%; "others notice by themselves that this agent is gone");
        }
    }

    /// Returns the session of an instance that AMS launched by itself, and what the instance is to
    /// be told; for one instance always the same session. Refuses when it has ended.
    pub async fn initiate(
        &self,
        instance: AmsInstance,
    ) -> Result<(SessionId, String), SessionsError> {
        self.mailbox.ask(actor::InitiateSession(instance)).await?
    }

    /// Returns the document of a session.
    pub async fn read(&self, id: &SessionId) -> Result<SessionDocument, SessionsError> {
        Ok(self.mailbox.ask(actor::Read(id.clone())).await??.value)
    }

    /// Ends a session: its instance is deleted. One that has ended already is fine.
    pub async fn end(&self, id: &SessionId, cause: &str) -> Result<(), SessionsError> {
        self.mailbox.ask(actor::End { id: id.clone(), cause: cause.to_owned() }).await?
    }

    /// Takes what an instance says of itself.
    pub async fn report(&self, id: &SessionId, report: Report) -> Result<(), SessionsError> {
        self.mailbox.ask(actor::TakeReport { id: id.clone(), report }).await?
    }

    /// Takes what an instance says of its client.
    pub async fn report_client(
        &self,
        id: &SessionId,
        report: ClientReport,
    ) -> Result<(), SessionsError> {
        self.mailbox.ask(actor::TakeClientReport { id: id.clone(), report }).await?
    }

    /// Returns what the session wants of its instance, as soon as its revision is not `known` any
    /// more, otherwise after `wait`. While NATS is away it waits as well, and refuses only then.
    pub async fn commands(
        &self,
        id: &SessionId,
        known: &KnownCommands,
        wait: Duration,
    ) -> Result<Commands, SessionsError> {
        let until = Instant::now() + wait;
        let mut hints = self.bridge.change_hints(Bucket::Sessions, id.as_str());
        let mut endpoints = self.endpoints.watch();
        loop {
            endpoints.mark_unchanged();
            let read = async || self.mailbox.ask(actor::Read(id.clone())).await?;
            let entry = retry_while(left(until), SessionsError::is_transient, read).await?;
            let agents = self.endpoints.list();
            let agents_version = endpoints::version(&agents);
            let of_document = Commands::of(&entry.value, entry.revision);
            let commands = Commands { agents, agents_version, ..of_document };
            if !known.are(&commands) || Instant::now() >= until {
                return Ok(commands);
            }
            tokio::select! {
                biased;
                () = hints.changed(left(until)) => {}
                _ = endpoints.changed(), if known.agents.is_some() => {}
            }
        }
    }

    /// Stores signals of the instance for `peer`, in order, and returns their cursors. Refuses what
    /// exceeds the limit of writes of the session, and a peer that it does not have.
    pub async fn write_signals(
        &self,
        peer: &SignalPeer,
        signals: Vec<NewSignal>,
    ) -> Result<Vec<Cursor>, SessionsError> {
        self.mailbox.ask(signals::Write { peer: peer.clone(), signals }).await?
    }

    /// Returns the signals of `peer` for the instance after `after`, as soon as there are any,
    /// otherwise none after `wait`. Without a cursor, those of its present generation from the
    /// beginning. While NATS is away it waits as well, and refuses only then.
    pub async fn read_signals(
        &self,
        peer: &SignalPeer,
        after: Option<Cursor>,
        wait: Duration,
    ) -> Result<SignalPage, SessionsError> {
        let until = Instant::now() + wait;
        let begin = async || self.tail_signals(peer, after).await;
        let mut reader = retry_while(left(until), SessionsError::is_transient, begin).await?;
        let mut page =
            retry_while(left(until), BridgeError::is_transient, async || reader.next().await)
                .await?;
        while page.signals.is_empty() {
            let next =
                retry_while(left(until), BridgeError::is_transient, async || reader.next().await);
            match timeout_at(until, next).await {
                Ok(next) => page = next?,
                Err(_) => break,
            }
        }
        Ok(page)
    }

    /// Has the calling thread carry signals over a connection of its own.
    pub fn signal_connection(&self) -> SignalConnection {
        SignalConnection::start(&self.bridge)
    }

    /// Returns what carries signals between the log and a socket of the instance: those of the
    /// present generation of `peer`, or, in envelopes, those of all. Refuses a session that has
    /// ended, and a peer that it does not have.
    pub async fn signal_relay(
        &self,
        peer: &SignalPeer,
        frames: FrameFormat,
        signal_connection: &SignalConnection,
    ) -> Result<SignalRelay, SessionsError> {
        let document = self.read(&peer.session).await?;
        if document.status.is_final() {
            return Err(SessionsError::Conflict(format!("session is {}", document.status)));
        }
        Ok(SignalRelay {
            signal_connection: signal_connection.clone(),
            peer: peer.clone(),
            direction: Direction::ToClient,
            frames,
            generation: signals::generation(&document, peer)?,
            own_generation_only: frames == FrameFormat::Bare,
            metrics: self.metrics.sockets.clone(),
        })
    }

    /// Counts a signal that a socket of the instance brings, and returns whether the session may
    /// write it.
    pub fn try_acquire_signal(&self, id: &SessionId, bytes: usize) -> bool {
        self.writes.try_acquire(id, 1, bytes, Instant::now().into_std())
    }

    /// Returns a reader of the signals of `peer` for the instance after `after`; without a cursor,
    /// of those of its present generation from the beginning.
    async fn tail_signals(
        &self,
        peer: &SignalPeer,
        after: Option<Cursor>,
    ) -> Result<SignalReader, SessionsError> {
        let generation = match after {
            // The reader tells the generations apart itself. A share is no name of its own, so
            // whether the peer is there is looked up with a cursor, too.
            Some(_) if peer.share.is_none() => 0,
            _ => signals::generation(&self.read(&peer.session).await?, peer)?,
        };
        Ok(self.bridge.signals().reader(peer, Direction::ToInstance, after, generation))
    }

    /// Returns fresh ICE servers for the instance of a session.
    pub async fn instance_ice(&self, id: &SessionId) -> Result<Vec<IceServer>, SessionsError> {
        self.mailbox.ask(actor::MintInstanceIce { id: id.clone(), renew: false }).await?
    }

    /// Returns fresh ICE servers for the instance, which has lost its client, and has the client
    /// get fresh ones too.
    pub async fn renew_ice(&self, id: &SessionId) -> Result<Vec<IceServer>, SessionsError> {
        self.mailbox.ask(actor::MintInstanceIce { id: id.clone(), renew: true }).await?
    }

    /// Returns the name of the agent.
    pub fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// Returns where the sockets of instances are counted.
    pub fn socket_metrics(&self) -> &SocketMetrics {
        &self.metrics.sockets
    }

    /// Returns how many sessions this unit serves.
    pub async fn served_count(&self) -> Result<usize, SessionsError> {
        Ok(self.mailbox.ask(actor::CountServed).await?)
    }

    /// Returns what only an operator can settle.
    pub async fn alerts(&self) -> Result<Vec<Alert>, SessionsError> {
        Ok(self.mailbox.ask(actor::ReadAlerts).await?)
    }

    /// Returns, for everything this unit depends on, whether it is there, and if not, why.
    pub async fn readiness(&self) -> Vec<(&'static str, Result<(), String>)> {
        match self.mailbox.ask(actor::AskReadiness).await {
            Ok(dependencies) => dependencies,
            Err(error) => vec![("sessions", Err(error.to_string()))],
        }
    }
}

impl Collect for Sessions {
    fn collect(&self, exposition: &mut Exposition) {
        self.metrics.collect(exposition);
        self.metrics.sockets.collect(exposition);
        let help = "Sessions that this agent takes at most";
        exposition.count("sessions_capacity", help, self.capacity.into());
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}
