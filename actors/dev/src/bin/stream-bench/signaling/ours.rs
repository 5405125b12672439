//! Sessions whose instances say again whatever they hear.

use std::time::Duration;

use anyhow::Context;
use stream_dev::ams::APPLICATION;
use stream_dev::in_process::{Options, Stack};
use stream_protocol::Userdata;
use stream_simulators::ams::scripted_instances;
use stream_supervisor::spawn_detached;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::socket::{Path, Socket};

const BOOT_WITHIN: Duration = Duration::from_secs(30);

pub(super) struct Ours {
    pub(super) stack: Stack,
    pub(super) paths: Vec<Path>,
}

impl Ours {
    pub(super) async fn start(sessions: usize) -> anyhow::Result<Self> {
        let (told, mut boots) = mpsc::unbounded_channel();
        let agent = format!("agent.capacity = {sessions}").parse()?;
        let options = Options { launcher: scripted_instances(told), agent, ..Options::default() };
        let stack = Stack::start(options).await?;
        let client = stack.client()?;
        let mut paths = Vec::with_capacity(sessions);
        for _ in 0..sessions {
            let created = client.create(APPLICATION, Default::default()).await?;
            let boot = timeout(BOOT_WITHIN, boots.recv()).await?.context("AMS is gone")?;
            let userdata: Userdata = serde_json::from_str(&boot.user_data)?;
            let Userdata { agent_url, session_id, token, .. } = userdata;
            let agent = agent_url.replacen("https", "wss", 1);
            let socket = |which| format!("{agent}/1.0/sessions/{session_id}/sockets/{which}");
            let agent_pin = stack.nodes.agent_pin()?;
            let mut control = Socket::open(&socket("control"), agent_pin, Some(&token)).await?;
            control.recv().await?;
            control.send(r#"{"status":"running"}"#.to_owned()).await?;
            // What it says changes the session, which is a command once more.
            control.recv().await?;
            let instance = Socket::open(&socket("master"), agent_pin, Some(&token)).await?;
            spawn_detached("an instance of the bench", say_again(instance));
            let pin = stack.nodes.gateway_pin()?;
            paths.push(Path::Ours(Socket::open(&created.url, pin, None).await?));
        }
        Ok(Self { stack, paths })
    }
}

/// Ends with the socket.
async fn say_again(mut socket: Socket) {
    while let Ok(text) = socket.recv().await {
        if socket.send(text).await.is_err() {
            return;
        }
    }
}
