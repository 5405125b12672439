//! A restart heals each part that it rebuilds, and keeps what the crate doc calls kept. NATS and
//! AMS are away: nothing listens on port 1.

use std::path::Path;
use std::time::Instant;

use actix::System;
use stream_ams::Ams;
use stream_bridge::Bridge;
use stream_pki::{Identity, Seal, ServerIdentity};
use stream_protocol::{AgentId, SignalQuota};
use stream_supervisor::Drain;
use stream_supervisor::{Limits, Mailbox, Mode, RestartPolicy, Supervisor};
use stream_tokens::{Service, Tokens};
use stream_turn::Turn;

use super::*;
use crate::arrivals::Arrivals;
use crate::endpoints::Endpoints;
use crate::{Config, Dependencies};

/// A part of the state that can go wrong.
#[derive(Clone, Copy, Debug)]
enum Part {
    SessionCache,
    Alerts,
    Sightings,
    FailureDetector,
    /// A subscription that is noted and was never made.
    Subscription,
    /// An instance that serves no session of ours.
    InstanceIndex,
}

impl Part {
    const ALL: [Self; 6] = [
        Self::SessionCache,
        Self::Alerts,
        Self::Sightings,
        Self::FailureDetector,
        Self::Subscription,
        Self::InstanceIndex,
    ];
}

/// Spoils a part.
#[derive(Message)]
#[rtype(result = "()")]
struct Corrupt(Part);

/// Asks whether a part is spoilt.
#[derive(Message)]
#[rtype(result = "bool")]
struct IsCorrupt(Part);

fn ghost() -> SessionId {
    "00000000000000000000".parse().unwrap()
}

fn ghost_agent() -> AgentId {
    "ghost".parse().unwrap()
}

fn ghost_document() -> SessionDocument {
    SessionDocument { id: ghost(), ..SessionDocument::sample() }
}

impl Handler<Corrupt> for Actor {
    fn handle(&mut self, Corrupt(part): &Corrupt, _: &Context<Self>) -> Reply<()> {
        match part {
            Part::SessionCache => {
                let cache = Rc::clone(&self.cache);
                return Reply::later(async move { cache.lock().await.insert(ghost_document()) });
            }
            Part::Alerts => {
                (0..9).for_each(|_| self.reconciler.deletion_failed("ghost", String::new()));
            }
            Part::Sightings => self.reconciler.pretend_sighting("ghost"),
            Part::FailureDetector => self.failure_detector.borrow_mut().add_owner(&ghost_agent()),
            Part::Subscription => self.shared.served.pretend_to_serve(&ghost()),
            Part::InstanceIndex => self.shared.served.add_instance("ghost".into(), ghost()),
        }
        ().into()
    }
}

impl Handler<IsCorrupt> for Actor {
    fn handle(&mut self, IsCorrupt(part): &IsCorrupt, _: &Context<Self>) -> Reply<bool> {
        match part {
            Part::SessionCache => {
                let cache = Rc::clone(&self.cache);
                Reply::later(async move { cache.lock().await.find(&ghost()).is_some() })
            }
            Part::Alerts => (!self.reconciler.alerts().is_empty()).into(),
            Part::Sightings => self.reconciler.has_sighting("ghost").into(),
            Part::FailureDetector => self.failure_detector.borrow().knows(&ghost_agent()).into(),
            Part::Subscription => self.shared.served.trusts_subscription(&ghost()).into(),
            Part::InstanceIndex => self.shared.served.session_of("ghost").is_some().into(),
        }
    }
}

/// An actor whose neighbours reach nobody.
struct Bench {
    supervisor: Supervisor,
    mailbox: Mailbox<Actor>,
    context: Arc<AgentContext>,
    shared: SharedState,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn start() -> Self {
        let (dir, supervisor) = (tempfile::tempdir().unwrap(), Supervisor::default());
        let (deps, served) = away(dir.path(), &supervisor);
        let config: Config =
            serde_json::from_str(r#"{"name":"a","url":"https://127.0.0.1:1"}"#).unwrap();
        let endpoints = Endpoints::new(&config, &served);
        let shared = SharedState::default();
        let (arrivals, drain) = (Arrivals::default(), Drain::default());
        let metrics = shared.metrics.clone();
        let context = Arc::new(AgentContext { config, deps, endpoints, arrivals, drain, metrics });
        let factory = {
            let (context, shared) = (Arc::clone(&context), shared.clone());
            move || Actor::new(Arc::clone(&context), shared.clone())
        };
        let (restart, limits) = (RestartPolicy::default(), Limits::default());
        let mailbox = supervisor.spawn("sessions", Mode::KeepInFlight, restart, limits, factory);
        Self { supervisor, mailbox, context, shared, _dir: dir }
    }

    /// Makes the actor fail; returns once its next state answers.
    async fn crash(&self) {
        let restarts = || {
            let status = self.supervisor.status();
            status.iter().find(|actor| actor.name == "sessions").unwrap().restarts
        };
        let before = restarts();
        assert!(self.supervisor.crash("sessions"));
        // Queued behind the failure, so that the next state answers it.
        self.mailbox.ask(CountServed).await.unwrap();
        assert_eq!(restarts(), before + 1);
    }
}

/// Neighbours whose NATS and AMS are away. One identity serves all that need a certificate.
fn away(dir: &Path, supervisor: &Supervisor) -> (Dependencies, ServerIdentity) {
    let file = |name: &str, text: &str| {
        let path = dir.join(name);
        stream_pki::write_new(&path, text.as_bytes(), 0o600).unwrap();
        path
    };
    let made = stream_pki::self_signed("test", &["localhost".to_owned()]).unwrap();
    let (certificate, key) = (file("test.crt", &made.certificate), file("test.key", &made.key));
    let identity = Identity::load(&certificate, &key).unwrap();
    let sealing_key = file("sealing.key", &"s".repeat(64));
    let nats = stream_bridge::Config {
        servers: vec!["tls://127.0.0.1:1".into()],
        ca: certificate.clone(),
        token: Some(file("nats.token", &"t".repeat(32))),
        credentials: None,
        nkey: None,
        certificate: None,
        key: None,
        replicas: 1,
    };
    let ams = stream_ams::Config {
        url: "https://127.0.0.1:1".into(),
        certificate,
        key,
        fingerprints: vec![identity.fingerprint()],
        pins: None,
        ca: None,
        timeout_s: 1,
        reload_s: 5,
    };
    let tokens = stream_tokens::Config {
        sealing_key: sealing_key.clone(),
        first_root_key: dir.join("root.key"),
        state: dir.join("state"),
    };
    let turn = stream_turn::Config {
        servers: Vec::new(),
        pools: Vec::new(),
        stun: Vec::new(),
        lifetime_s: 3600,
        lifetime_without_renewal_s: None,
        probe_s: 10,
        sealing_key,
        first_secret: dir.join("turn.secret"),
        state: dir.join("state"),
    };
    let seal = Arc::new(Seal::load(&tokens.sealing_key).unwrap());
    let bridge = Bridge::start(nats, "test", supervisor).unwrap();
    let deps = Dependencies {
        ams: Ams::start(ams, supervisor).unwrap(),
        tokens: Tokens::start(tokens, Service::Agent, bridge.clone(), supervisor).unwrap(),
        turn: Turn::start(turn, bridge.clone(), supervisor).unwrap(),
        bridge,
        seal,
    };
    (deps, ServerIdentity::new(identity))
}

#[test]
fn a_restart_heals_each_part_that_it_rebuilds() {
    System::new().block_on(async {
        let bench = Bench::start();
        for part in Part::ALL {
            bench.mailbox.ask(Corrupt(part)).await.unwrap();
            assert!(bench.mailbox.ask(IsCorrupt(part)).await.unwrap(), "{part:?} is not spoilt");
            bench.crash().await;
            assert!(!bench.mailbox.ask(IsCorrupt(part)).await.unwrap(), "{part:?} does not heal");
        }
        bench.supervisor.stop();
    });
}

#[test]
fn a_restart_keeps_the_launches_the_served_sessions_and_the_quota_of_signals() {
    System::new().block_on(async {
        let bench = Bench::start();
        let (served, id, now) = (&bench.shared.served, ghost(), Instant::now());
        let launch = served.begin_launch(&id, 1).expect("no launch is under way");
        bench.mailbox.ask(Corrupt(Part::Subscription)).await.unwrap();
        let quota = || bench.shared.writes.try_acquire(&id, SignalQuota::SIGNALS, 0, now);
        assert!(quota(), "the minute is unused");
        bench.crash().await;
        assert!(served.begin_launch(&id, 1).is_err(), "the launch runs on");
        assert!(!quota(), "no other minute is granted");
        assert_eq!(bench.mailbox.ask(CountServed).await.unwrap(), 1, "it counts for the capacity");

        // Its next look subscribes it again.
        let requests = bench.mailbox.recipient::<IncomingRequest>();
        served.serve(&id, &bench.context.deps.bridge, requests).await.unwrap();
        assert!(served.trusts_subscription(&id));
        drop(launch);
        assert!(served.begin_launch(&id, 1).is_ok());
        bench.supervisor.stop();
    });
}
