//! Both services are restarted while clients hold sockets and ask all the time: nobody is refused,
//! nobody is cut off in a request, and every socket comes back.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures_util::future::try_join_all;
use reqwest::StatusCode;
use rustls::ClientConfig;
use serde_json::{Value, json};
use stream_dev::in_process::Options;
use stream_pki::{Fingerprint, Trust, client_config};
use tokio::sync::watch;
use tokio::time::{interval, sleep};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use toml::toml;

use super::{SLOWEST, agent, gateway};
use crate::support::socket::Socket;
use crate::support::systemd::Systemd;
use crate::support::{ScriptedStack, eventually, run_flow};

const SOCKETS: usize = 200;

/// Half of them keep their connections, and half connect anew for each request.
const CLIENTS: usize = 10;

/// Between two requests of a client: all together make a hundred a second.
const REQUEST_INTERVAL: Duration = Duration::from_millis(100);

/// Before a client tries again that was answered and not let in.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What the clients of one service see.
struct Load {
    tls: Arc<ClientConfig>,
    open: Cell<usize>,
    reopened: Cell<usize>,
    asked: Cell<u64>,
    slowest: Cell<Duration>,
    /// The service has been restarted: each socket says a last word, and ends when it is stored.
    restarted: watch::Sender<bool>,
    done: Cell<bool>,
}

impl Load {
    fn new(pin: Fingerprint) -> anyhow::Result<Self> {
        Ok(Self {
            tls: Arc::new(client_config(&Trust::Pins(vec![pin]), None)?),
            open: Cell::default(),
            reopened: Cell::default(),
            asked: Cell::default(),
            slowest: Cell::default(),
            restarted: watch::Sender::new(false),
            done: Cell::default(),
        })
    }

    /// Opens the socket at `url`, however often the service answers that it cannot now.
    async fn open(&self, url: &str, token: Option<&str>) -> anyhow::Result<Socket> {
        loop {
            let error = match Socket::open_as(url, &self.tls, token).await {
                Ok(socket) => return Ok(socket),
                Err(error) => error,
            };
            match error.downcast_ref::<Error>() {
                Some(Error::Http(answer)) if answer.status() == 503 => sleep(TRY_AGAIN).await,
                _ => return Err(error.context("a socket is not opened")),
            }
        }
    }

    /// Holds the socket at `url`, which a cursor belongs behind, and goes on from there when the
    /// service says that it restarts, until its last word is stored.
    async fn hold(&self, url: &str, token: Option<&str>) -> anyhow::Result<()> {
        let mut restarted = self.restarted.subscribe();
        let mut word = json!({ "id": "last", "signal": { "type": "candidate" } });
        // Only an instance says for which client a signal is.
        if token.is_some() {
            word["generation"] = json!(0);
        }
        let mut cursor = String::new();
        loop {
            let mut socket = self.open(&format!("{url}{cursor}"), token).await?;
            self.open.set(self.open.get() + 1);
            let (mut said, mut pause) = (false, 0);
            loop {
                let frame = tokio::select! {
                    frame = socket.next_frame() => frame?,
                    word_is_due = restarted.wait_for(|is| *is), if !said => {
                        drop(word_is_due?);
                        said = true;
                        socket.send(&word).await?;
                        continue;
                    }
                };
                match frame {
                    Some(Message::Text(text)) => {
                        let told: Value = serde_json::from_str(&text)?;
                        if let Some(after) = told["cursor"].as_str() {
                            after.clone_into(&mut cursor);
                        }
                        if told["type"] == "stored" {
                            return socket.close().await;
                        }
                        pause = told["retry_after_ms"].as_u64().unwrap_or(pause);
                    }
                    Some(Message::Close(Some(close))) if close.code == CloseCode::Restart => break,
                    other => bail!("a socket is cut: {other:?}"),
                }
            }
            self.open.set(self.open.get() - 1);
            self.reopened.set(self.reopened.get() + 1);
            sleep(Duration::from_millis(pause)).await;
        }
    }

    /// Asks again and again; each request is answered.
    async fn ask(&self, url: &str, keeps_connections: bool) -> anyhow::Result<()> {
        let tls = ClientConfig::clone(&self.tls);
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy();
        let idle = if keeps_connections { usize::MAX } else { 0 };
        let client = client.pool_max_idle_per_host(idle).timeout(SLOWEST).build()?;
        let mut ticks = interval(REQUEST_INTERVAL);
        while !self.done.get() {
            ticks.tick().await;
            let begun = Instant::now();
            let status = client.get(url).send().await?.status();
            ensure!(status == StatusCode::OK, "{status}");
            self.asked.set(self.asked.get() + 1);
            self.slowest.set(self.slowest.get().max(begun.elapsed()));
        }
        Ok(())
    }
}

/// Restarts the service twice under its sockets, each with its token, and requests.
async fn restart_twice(
    unit: &mut Systemd,
    load: &Load,
    sockets: &[(String, Option<String>)],
) -> anyhow::Result<()> {
    let live = format!("{}/1.0/health/live", unit.url()?);
    let hold = async {
        try_join_all(sockets.iter().map(|(url, token)| load.hold(url, token.as_deref()))).await?;
        load.done.set(true);
        anyhow::Ok(())
    };
    let ask = try_join_all((0..CLIENTS).map(|client| load.ask(&live, client % 2 == 0)));
    let restarts = async {
        let all_open = async |reopened: usize| {
            let is_open = load.open.get() == sockets.len() && load.reopened.get() >= reopened;
            Ok(is_open.then_some(()))
        };
        eventually("all sockets are open", async || all_open(0).await).await?;
        for restart in 1..=2 {
            let (begun, before) = (Instant::now(), load.asked.get());
            unit.restart().await?;
            println!("restarted in {:?}", begun.elapsed());
            let reopened = restart * sockets.len();
            eventually("all sockets are back", async || all_open(reopened).await).await?;
            println!("all sockets are back after {:?}", begun.elapsed());
            eventually("asked", async || Ok((load.asked.get() > before).then_some(()))).await?;
        }
        load.restarted.send_replace(true);
        anyhow::Ok(())
    };
    tokio::try_join!(restarts, hold, ask)?;
    println!("{} requests, the slowest {:?}", load.asked.get(), load.slowest.get());
    Ok(())
}

#[test]
fn a_restart_under_load_cuts_no_request_and_every_socket_comes_back() {
    run_flow(async || {
        // All clients have one address here.
        let mut keys = toml! {
            http.connections_per_address = 10_000
            http.handshakes_per_address = 10_000
            http.full_handshakes_per_second = 10_000
            http.requests_per_address = 10_000
        };
        let gateway_keys = keys.clone();
        keys.insert("agent".to_owned(), toml! { capacity = 1_000 }.into());
        let options = Options { agent: keys, gateway: gateway_keys, ..Options::default() };
        let mut scripted = ScriptedStack::start_with(options).await?;
        let mut sessions = Vec::new();
        for _ in 0..SOCKETS {
            sessions.push(scripted.create().await?);
        }

        let (mut unit, nodes) = gateway(&scripted.stack)?;
        unit.start().await?;
        let host = unit.url()?.replace("https://", "wss://");
        let of_client = |url: &str| {
            let (_, path) = url.split_once("/1.0/").context("a path")?;
            anyhow::Ok((format!("{host}/1.0/{path}&after="), None))
        };
        let sockets = sessions.iter().map(|(created, _)| of_client(&created.url));
        let sockets = sockets.collect::<anyhow::Result<Vec<_>>>()?;
        println!("gateway:");
        restart_twice(&mut unit, &Load::new(nodes.gateway_pin()?)?, &sockets).await?;

        let (mut unit, nodes) = agent(&scripted.stack)?;
        unit.start().await?;
        let host = unit.url()?.replace("https://", "wss://");
        let of_instance = |(_, instance): &(_, crate::support::Instance)| {
            let path = instance.path("/sockets/master?after=");
            (format!("{host}{path}"), Some(instance.userdata.token.clone()))
        };
        let sockets: Vec<_> = sessions.iter().map(of_instance).collect();
        println!("agent:");
        restart_twice(&mut unit, &Load::new(nodes.agent_pin()?)?, &sockets).await
    });
}
