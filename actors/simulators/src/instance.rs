//! A stand-in for the Android instance: boots from userdata, follows its agent's commands, and
//! streams real video and sound to the session's client. Whoever it is told of beside the client
//! reaches a shell by ADB.
//!
//! It asks its agent, over HTTPS or WebSockets, and nobody else; media goes straight to the client.
//! The agent may be away for as long as it likes: every call is tried again after a growing pause,
//! and media goes on meanwhile.

mod adb;
mod adbd;
mod agent;
mod agent_socket;
mod camera;
mod control_socket;
mod peer;
mod relay;
mod retry;
mod signaling_socket;
mod sockets;
mod sound;
mod stream;
mod transport;
mod trust;
mod video;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use stream_pki::PkiError;
use stream_protocol::{
    AdbPeer, Capabilities, Capability, Client, Commands, DesiredState, Report, ReportedStatus,
    Role, Screen, ShareId, Signaling, Userdata, error_chain,
};
use tokio::sync::watch;
use tokio::time::{self, Instant};

use crate::device::{Device, SharedDevice};
use crate::https::CallError;
pub use crate::media::Relaying;
use crate::media::SMALL_SCREEN;
pub(crate) use adb::{ADB, MAX_MESSAGE};
use agent::Agent;
pub use peer::{Peer, PeerOptions, PeerState};
use relay::Relay;
use retry::Retry;
pub use transport::Transport;
use trust::AgentTrust;

/// Commands that say nothing new are asked for at most once in this time, whatever the agent does.
const MIN_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Peers that use ADB at once. Each waits for signals, as the commands and the client do, and the
/// token of an instance has eight polls.
const MAX_ADB_PEERS: usize = 6;

/// Why an instance could not start. Once started, it ends only when it is told to.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    #[error("the userdata cannot be read")]
    Userdata(#[source] serde_json::Error),
    #[error("the userdata names no certificate of the agent, and there is no authority to trust")]
    NoAuthority,
    #[error("the authority cannot be used")]
    Authority(#[source] PkiError),
    #[error("{0:?} in the userdata is not a fingerprint")]
    Pin(String),
    #[error("the agent cannot be called")]
    Agent(#[source] CallError),
}

/// What an instance is, and how it plays its part.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// What it says of itself in its first report.
    pub capabilities: Capabilities,
    /// Whether its image is automotive: such a one has the properties of a vehicle.
    pub automotive: bool,
    /// How it exchanges commands and signals with its agent.
    pub transport: Transport,
    /// The file of the authorities, PEM, that vouch for an agent whose certificate is not named to
    /// the instance; without it those of the system, or of `SSL_CERT_FILE`, do.
    pub authority: Option<PathBuf>,
    /// How it treats its clients; the role is the one that each of them comes for.
    pub peers: PeerOptions,
}

impl Default for Behaviour {
    /// A phone that honours roles and serves ADB.
    fn default() -> Self {
        Self {
            capabilities: [Capability::Adb, Capability::Roles].into_iter().collect(),
            automotive: false,
            transport: Transport::default(),
            authority: None,
            peers: PeerOptions::default(),
        }
    }
}

/// Runs an instance until its session is over or `stop` turns true.
///
/// # Errors
///
/// Refuses userdata that is not understood, names no fingerprint of an agent when there is no
/// authority either, or holds an address that is not https.
///
/// # Cancel safety
///
/// Dropping the future ends the instance as a crash would: nobody is told.
pub async fn run(
    user_data: String,
    behaviour: Behaviour,
    mut stop: watch::Receiver<bool>,
) -> Result<(), InstanceError> {
    let userdata: Userdata = serde_json::from_str(&user_data).map_err(InstanceError::Userdata)?;
    let session = userdata.session_id.clone();
    let trust = AgentTrust::new(behaviour.authority.as_deref())?;
    let (agent, sockets) = Agent::new(&userdata, trust, behaviour.transport)?;
    let screen = Screen {
        width: userdata.display_width,
        height: userdata.display_height,
        fps: userdata.fps,
        density: userdata.display_density,
    };
    let device = SharedDevice::new(Device::new(screen, behaviour.automotive));
    log::info!(session:%; "instance started");
    let why = tokio::select! {
        () = live(Arc::new(agent), device, behaviour) => "its session is over",
        () = sockets.run() => "nobody carries its calls",
        // Whoever dropped the sender cannot stop it any more either.
        _ = stop.wait_for(|stop| *stop) => "it was stopped",
    };
    log::info!(session:%, cause = why; "instance ended");
    Ok(())
}

/// Lives until the session is over.
async fn live(agent: Arc<Agent>, device: SharedDevice, behaviour: Behaviour) {
    let Behaviour { capabilities, peers, .. } = behaviour;
    let running = Report {
        status: ReportedStatus::Running,
        message: String::new(),
        capabilities: Some(capabilities),
    };
    retry::until_answered("report", || agent.report(&running)).await;

    let (wanted, wants) = watch::channel(None);
    tokio::select! {
        () = ask(&agent, wanted) => {}
        () = serve(&agent, &device, peers, wants) => {}
    }
}

/// Keeps `wanted` up to date with what the agent says, until it says that the session is over.
async fn ask(agent: &Agent, wanted: watch::Sender<Option<Commands>>) {
    let mut after = None;
    let mut retry = Retry::default();
    loop {
        let asked = Instant::now();
        match agent.commands(after).await {
            Ok(commands) if commands.desired == DesiredState::Terminated => return,
            Ok(commands) => {
                retry.reset();
                if after == Some(commands.revision) {
                    time::sleep_until(asked + MIN_POLL_INTERVAL).await;
                }
                after = Some(commands.revision);
                wanted.send_replace(Some(commands));
            }
            Err(error) => retry.wait_after("commands", &error).await,
        }
    }
}

/// Serves the clients that the commands name, one after the other, and beside them all who use ADB,
/// as long as there are commands.
async fn serve(
    agent: &Arc<Agent>,
    device: &SharedDevice,
    peers: PeerOptions,
    mut wants: watch::Receiver<Option<Commands>>,
) {
    let mut relay: Option<Relay> = None;
    let mut adb = HashMap::new();
    let mut ice_renewal = 0;
    loop {
        tokio::select! {
            changed = wants.changed() => if changed.is_err() { return },
            () = relay::work(relay.iter_mut().chain(adb.values_mut())) => continue,
        }
        let Some(commands) = wants.borrow_and_update().clone() else { continue };
        let open = commands.signaling == Signaling::Open;
        let generation = commands.generation;
        match &relay {
            Some(relay) if relay.generation() >= generation => {
                relay.set_open(open && relay.generation() == generation);
                if commands.ice_renewal > ice_renewal {
                    relay.renew_ice(commands.ice_renewal);
                }
            }
            _ if open => {
                // The replaced client's stream ends before the next one begins.
                drop(relay.take());
                let role = commands.client.map_or(Role::Control, |client| client.role);
                if let Some(Client { screen, .. }) = commands.client {
                    device.lock().set_screen(screen);
                }
                let options = PeerOptions { role, ..peers };
                match Relay::start(Arc::clone(agent), None, generation, device.clone(), options) {
                    Ok(started) => relay = Some(started),
                    Err(error) => {
                        let error = error_chain(&error);
                        log::error!(generation, error:%; "the client gets no peer");
                    }
                }
            }
            _ => {}
        }
        serve_adb(&mut adb, agent, peers, &commands.adb);
        if commands.ice_renewal > ice_renewal {
            adb.values().for_each(|relay| relay.renew_ice(commands.ice_renewal));
        }
        ice_renewal = commands.ice_renewal;
    }
}

/// Cuts off who is not among `named` any more, or not as the same generation, and serves who is
/// new.
fn serve_adb(
    served: &mut HashMap<ShareId, Relay>,
    agent: &Arc<Agent>,
    peers: PeerOptions,
    named: &[AdbPeer],
) {
    served.retain(|share, relay| {
        let is_same =
            |peer: &AdbPeer| peer.share == *share && peer.generation == relay.generation();
        named.iter().any(is_same)
    });
    for AdbPeer { share, generation } in named {
        if served.contains_key(share) {
            continue;
        }
        if served.len() >= MAX_ADB_PEERS {
            log::warn!(share:%; "adb is not served: there are {MAX_ADB_PEERS} peers");
            continue;
        }
        // What such a peer would show of itself is shown on no device that others see.
        let device = SharedDevice::new(Device::new(SMALL_SCREEN, false));
        let options = PeerOptions { role: Role::Adb, ..peers };
        let peer = Some(share.clone());
        match Relay::start(Arc::clone(agent), peer, *generation, device, options) {
            Ok(started) => drop(served.insert(share.clone(), started)),
            Err(error) => {
                let error = error_chain(&error);
                log::error!(share:%, error:%; "adb gets no peer");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn userdata(agent_url: &str, fingerprints: &[&str]) -> String {
        serde_json::json!({
            "session_id": "abcdefghij0123456789", "agent_url": agent_url, "token": "t",
            "fingerprints": fingerprints, "display_width": 1280, "display_height": 720,
            "display_density": 240, "fps": 60, "extra_data": null,
        })
        .to_string()
    }

    async fn started(user_data: String) -> Result<(), InstanceError> {
        let (_stop, stopped) = watch::channel(true);
        run(user_data, Behaviour::default(), stopped).await
    }

    #[tokio::test]
    async fn userdata_that_cannot_be_used_is_refused() {
        let url = "https://127.0.0.1:1";
        assert!(matches!(started("{}".into()).await, Err(InstanceError::Userdata(_))));
        assert!(matches!(started(userdata(url, &["zz"])).await, Err(InstanceError::Pin(_))));
        let plain = userdata("http://127.0.0.1:1", &[&"00".repeat(32)]);
        assert!(matches!(started(plain).await, Err(InstanceError::Agent(_))));
    }

    #[tokio::test]
    async fn a_stop_ends_an_instance_whose_agent_is_away() {
        let user_data = userdata("https://127.0.0.1:1", &[&"00".repeat(32)]);
        let (stop, stopped) = watch::channel(false);
        let instance = run(user_data, Behaviour::default(), stopped);
        let (ended, ()) = tokio::join!(instance, async { stop.send(true).unwrap() });
        ended.unwrap();
    }
}
