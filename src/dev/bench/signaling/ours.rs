//! Sessions whose instances say again whatever they hear.

use std::time::Duration;

use anyhow::Context;
use stream_protocol::Userdata;
use stream_simulators::ams::played_instances;
use stream_supervisor::spawn_detached;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::line::{Line, Socket};
use crate::dev::ams::APPLICATION;
use crate::dev::stack::{Options, Stack};

const BOOT_WITHIN: Duration = Duration::from_secs(30);

pub(super) struct Ours {
    pub(super) stack: Stack,
    pub(super) lines: Vec<Line>,
}

impl Ours {
    pub(super) async fn start(sessions: usize) -> anyhow::Result<Self> {
        let (told, mut boots) = mpsc::unbounded_channel();
        let capacity = u32::try_from(sessions)?;
        let options = Options { launcher: played_instances(told), capacity, ..Options::default() };
        let stack = Stack::start(options).await?;
        let client = stack.client()?;
        let mut lines = Vec::with_capacity(sessions);
        for _ in 0..sessions {
            let created = client.create(APPLICATION, Default::default()).await?;
            let boot = timeout(BOOT_WITHIN, boots.recv()).await?.context("AMS is gone")?;
            let userdata: Userdata = serde_json::from_str(&boot.user_data)?;
            let Userdata { agent_url, session_id, token, .. } = userdata;
            let agent = agent_url.replacen("https", "wss", 1);
            let socket = |which| format!("{agent}/1.0/sessions/{session_id}/sockets/{which}");
            let agent_pin = stack.site.agent_pin()?;
            let mut control = Socket::open(&socket("control"), agent_pin, Some(&token)).await?;
            control.hear().await?;
            control.say(r#"{"status":"running"}"#.to_owned()).await?;
            // What it says changes the session, which is a command once more.
            control.hear().await?;
            let instance = Socket::open(&socket("master"), agent_pin, Some(&token)).await?;
            spawn_detached("an instance of the bench", say_again(instance));
            let pin = stack.site.gateway_pin()?;
            lines.push(Line::Ours(Socket::open(&created.url, pin, None).await?));
        }
        Ok(Self { stack, lines })
    }
}

/// Ends with the socket.
async fn say_again(mut socket: Socket) {
    while let Ok(text) = socket.hear().await {
        if socket.say(text).await.is_err() {
            return;
        }
    }
}
