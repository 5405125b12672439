//! The token authority on several units that share one store: rotation, revocation, old records.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::socket::Socket;
use crate::support::{STEP_TIMEOUT, ScriptedStack, eventually, run_flow};
use anyhow::Context;
use serde_json::{Map, Value, json};
use stream_agent::agent::AgentConfig;
use stream_agent::gateway::GatewayConfig;
use stream_bridge::Bridge;
use stream_dev::in_process::Options;
use stream_dev::keys::KeyStore;
use stream_dev::nats::Nats;
use stream_macaroon::Macaroon;
use stream_protocol::subjects::{Bucket, NatsUser};
use stream_protocol::{Op, SessionId, Timestamp, TokenKind};
use stream_supervisor::Supervisor;
use stream_tokens::{
    Claims, Config, KeyState, Mint, Minted, Revocation, Service, Tokens, TokensError, attenuate,
};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use toml::toml;

const AGENT: &str = env!("CARGO_BIN_EXE_stream-agent");
const GATEWAY: &str = env!("CARGO_BIN_EXE_stream-gateway");

/// A store, and the secrets that the units share.
struct Units {
    nats: Nats,
    dir: tempfile::TempDir,
}

impl Units {
    fn new() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        stream_dev::keys::write_secret(dir.path().join("sealing.key"), "s".repeat(43))?;
        stream_dev::keys::write_secret(dir.path().join("root.key"), "r".repeat(64))?;
        Ok(Self { nats: Nats::start(&dir.path().join("nats"), &KeyStore::shared()?)?, dir })
    }

    /// Starts the unit `name`, which remembers what the one of that name before it has seen.
    fn start(&self, name: &str) -> anyhow::Result<Unit> {
        let nats = stream_bridge::Config {
            servers: vec![self.nats.url()],
            ca: self.nats.ca(),
            token: Some(self.nats.token()),
            credentials: None,
            nkey: None,
            certificate: None,
            key: None,
            replicas: 1,
        };
        let path = |name: &str| self.dir.path().join(name);
        let config = Config {
            sealing_key: path("sealing.key"),
            first_root_key: path("root.key"),
            state: path(name),
        };
        Unit::start(nats, config, Service::Agent)
    }

    /// Starts the unit `name` and returns once it has the keys.
    async fn unit(&self, name: &str) -> anyhow::Result<Unit> {
        let unit = self.start(name)?;
        unit.ready().await?;
        Ok(unit)
    }
}

struct Unit {
    tokens: Tokens,
    bridge: Bridge,
    supervisor: Supervisor,
}

impl Unit {
    fn start(
        nats: stream_bridge::Config,
        config: Config,
        service: Service,
    ) -> anyhow::Result<Self> {
        let supervisor = Supervisor::default();
        let user = match service {
            Service::Agent => NatsUser::Agent,
            Service::Gateway => NatsUser::Gateway,
        };
        let bridge = Bridge::start_as(user, nats, "test", &supervisor)?;
        let tokens = Tokens::start(config, service, bridge.clone(), &supervisor)?;
        Ok(Self { tokens, bridge, supervisor })
    }

    async fn ready(&self) -> anyhow::Result<()> {
        eventually("ready", async || Ok(self.tokens.ready().await.ok())).await
    }

    async fn mint(&self) -> Result<Minted, TokensError> {
        self.tokens.mint(Mint::new(TokenKind::Account, "my-client")).await
    }

    async fn verify(&self, token: &str) -> Result<Claims, TokensError> {
        self.tokens.verify(token, Op::SessionRead, None).await
    }

    /// Returns how long it takes until `token` is invalid here.
    async fn refuses(&self, token: &str) -> anyhow::Result<Duration> {
        let started = Instant::now();
        eventually("refused", async || match self.verify(token).await {
            Ok(_) => Ok(None),
            Err(TokensError::Invalid) => Ok(Some(())),
            Err(other) => Err(other.into()),
        })
        .await?;
        Ok(started.elapsed())
    }

    async fn kid(&self, token: &str) -> anyhow::Result<Option<String>> {
        Ok(self.tokens.inspect(token).await?.kid)
    }
}

#[test]
fn the_file_of_the_first_root_key_goes_once_the_store_has_the_key() {
    run_flow(async || {
        let mut units = Units::new()?;
        let file = units.dir.path().join("root.key");
        let gone = async || eventually("gone", async || Ok((!file.exists()).then_some(()))).await;
        units.nats.kill();
        let waiting = units.start("one")?;
        anyhow::ensure!(waiting.tokens.ready().await.is_err() && file.exists());
        units.nats.restart()?;
        waiting.ready().await?;
        gone().await?;
        let minted = waiting.mint().await?;

        // Another node has another key in its file, which may be the only copy.
        stream_dev::keys::write_secret(&file, "x".repeat(64))?;
        let other = units.unit("two").await?;
        other.verify(&minted.token).await?;
        anyhow::ensure!(file.exists());
        // The same key is put back, and none is there at all.
        stream_dev::keys::write_secret(&file, "r".repeat(64))?;
        units.unit("three").await?.verify(&minted.token).await?;
        gone().await?;
        units.unit("four").await?.verify(&minted.token).await?;
        Ok(())
    });
}

#[test]
fn no_valid_token_is_refused_while_keys_change() {
    run_flow(async || {
        let units = Units::new()?;
        let (one, two) = (units.unit("one").await?, units.unit("two").await?);
        let old = one.mint().await?;
        let added = one.tokens.rotate(Duration::from_secs(2)).await?;
        assert_eq!(added.state, KeyState::Pending);
        let again = two.tokens.rotate(Duration::from_secs(2)).await;
        assert!(matches!(again, Err(TokensError::Refused(_))), "{again:?}");

        eventually("signed with the new key by both", async || {
            let (mine, theirs) = (one.mint().await?, two.mint().await?);
            for unit in [&one, &two] {
                for token in [&old, &mine, &theirs] {
                    unit.verify(&token.token).await?;
                }
            }
            let new = Some(added.kid.clone());
            let both = one.kid(&mine.token).await? == new && one.kid(&theirs.token).await? == new;
            Ok(both.then_some(()))
        })
        .await?;

        let active = one.tokens.retire(&added.kid).await;
        assert!(matches!(active, Err(TokensError::Refused(_))), "{active:?}");
        let keys = two.tokens.keys().await?;
        assert_eq!(
            keys.iter().map(|key| key.state).collect::<Vec<_>>(),
            [KeyState::Old, KeyState::Active]
        );
        let new = two.mint().await?;
        one.tokens.retire(&keys[0].kid).await?;
        for unit in [&one, &two] {
            assert!(unit.refuses(&old.token).await? < Duration::from_secs(1));
            unit.verify(&new.token).await?;
        }
        let flaw = one.tokens.inspect(&old.token).await?.flaw.unwrap_or_default();
        assert!(flaw.contains("retired"), "{flaw}");
        Ok(())
    });
}

#[test]
fn a_revoked_token_is_refused_by_every_unit_within_a_second_and_after_restarts() {
    run_flow(async || {
        let mut units = Units::new()?;
        let (one, two) = (units.unit("one").await?, units.unit("two").await?);
        let (good, bad) = (one.mint().await?, one.mint().await?);
        let derived = attenuate(&bad.token, &["allow session.read"])?;
        let claims = two.verify(&derived).await?;
        let told = async { two.tokens.revoked(&claims).await };

        one.tokens.revoke(Revocation::Token(bad.id.clone()), None).await?;
        tokio::time::timeout(Duration::from_secs(1), told).await?;
        for unit in [&one, &two] {
            for token in [bad.token.as_str(), &derived] {
                assert!(unit.refuses(token).await? < Duration::from_secs(1));
            }
            unit.verify(&good.token).await?;
        }
        assert_eq!(one.tokens.inspect(&bad.token).await?.flaw.as_deref(), Some("it is revoked"));
        let nonsense = one.tokens.revoke(Revocation::Token("short".into()), None).await;
        assert!(matches!(nonsense, Err(TokensError::Refused(_))), "{nonsense:?}");

        // An actor that was rebuilt, a unit that starts, a store that was killed.
        assert!(two.supervisor.crash("tokens"));
        two.ready().await?;
        assert!(two.verify(&bad.token).await.is_err());
        let three = units.unit("three").await?;
        assert!(matches!(three.verify(&bad.token).await, Err(TokensError::Invalid)));
        units.nats.kill();
        units.nats.restart()?;
        let four = units.unit("four").await?;
        assert!(matches!(four.verify(&bad.token).await, Err(TokensError::Invalid)));
        four.verify(&good.token).await?;

        four.tokens.unrevoke(Revocation::Token(bad.id)).await?;
        units.unit("five").await?.verify(&bad.token).await?;
        Ok(())
    });
}

#[test]
fn a_revoked_account_is_refused_and_gets_no_new_token() {
    run_flow(async || {
        let units = Units::new()?;
        let (one, two) = (units.unit("one").await?, units.unit("two").await?);
        let tokens = [one.mint().await?, two.mint().await?];
        let end = Timestamp::now() + Duration::from_secs(60);
        one.tokens.revoke(Revocation::Account("my-client".into()), Some(end)).await?;
        for token in &tokens {
            assert!(two.refuses(&token.token).await? < Duration::from_secs(1));
        }
        let fresh = two.mint().await;
        assert!(matches!(fresh, Err(TokensError::Unmintable(_))), "{fresh:?}");
        Ok(())
    });
}

#[test]
fn an_old_record_of_keys_put_back_is_refused() {
    run_flow(async || {
        let units = Units::new()?;
        let one = units.unit("one").await?;
        let read = one.bridge.read::<Map<String, Value>>(Bucket::KeysAgent, "agent.root").await?;
        let mut old = read.expect("the first unit has written it").value;
        old.remove("v");
        one.tokens.rotate(Duration::ZERO).await?;
        let token = one.mint().await?;

        one.bridge.put(Bucket::KeysAgent, "agent.root", &old).await?;
        let refused = one.tokens.rotate(Duration::ZERO).await.expect_err("the record is old");
        assert!(refused.to_string().contains("from generation 2 to 1"), "{refused}");
        // What it has read stays good for a while; who starts again reads nothing.
        one.verify(&token.token).await?;
        let again = units.start("one")?;
        let sentence = eventually("refused", async || {
            let sentence = again.tokens.ready().await.expect_err("the record is old").to_string();
            Ok(Some(sentence).filter(|sentence| sentence.contains("went back")))
        })
        .await?;
        assert!(sentence.contains("agent.root.generation"), "{sentence}");
        // A unit that has never seen the newer one cannot know.
        units.unit("two").await?;
        Ok(())
    });
}

#[test]
fn a_record_put_for_a_while_goes_away() {
    run_flow(async || {
        let units = Units::new()?;
        let one = units.unit("one").await?;
        let (bucket, record) = (Bucket::Revoked, Map::new());
        one.bridge.put(bucket, "token.stays", &record).await?;
        one.bridge.put_with_ttl(bucket, "token.goes", &record, Duration::from_secs(1)).await?;
        let keys = async |after| -> anyhow::Result<Vec<String>> {
            let mut keys = Vec::new();
            // Without a revision for what was removed.
            let on_key = |key: &str, revision: Option<u64>| {
                keys.extend(revision.map(|_| key.to_owned()));
            };
            one.bridge.keys(bucket, after, on_key).await?;
            Ok(keys)
        };
        assert_eq!(keys(0).await?, ["token.stays", "token.goes"]);
        assert_eq!(keys(1).await?, ["token.goes"], "what came after the first");
        eventually("gone", async || Ok((keys(0).await? == ["token.stays"]).then_some(()))).await
    });
}

/// Another unit of the gateway of a stack whose configuration is in `nodes`.
async fn another_gateway(nodes: &Path) -> anyhow::Result<Unit> {
    let config = GatewayConfig::read(&nodes.join("gateway.toml"))?;
    let tokens = Config { state: nodes.join("another-gateway"), ..config.tokens };
    let unit = Unit::start(config.nats, tokens, Service::Gateway)?;
    unit.ready().await?;
    Ok(unit)
}

#[test]
fn the_open_socket_of_a_revoked_token_is_closed_with_a_reason() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, _one) = scripted.create().await?;
        let (other, _two) = scripted.create().await?;
        let mut socket = Socket::open(&created, &scripted.stack).await?;
        let mut neighbour = Socket::open(&other, &scripted.stack).await?;

        let unit = another_gateway(&scripted.stack.nodes.dir).await?;
        unit.tokens.revoke(Revocation::Session(created.id.parse()?), None).await?;
        let told = tokio::time::timeout(Duration::from_secs(1), socket.next()).await??;
        assert_eq!((&told["type"], &told["message"]), (&"error".into(), &"token revoked".into()));
        let refused = Socket::open(&created, &scripted.stack).await.err();
        let refused = refused.map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains("401"), "{refused}");

        let silence = tokio::time::timeout(Duration::from_millis(200), neighbour.next()).await;
        assert!(silence.is_err(), "the neighbour's socket stays: {silence:?}");
        Ok(())
    });
}

#[test]
fn a_client_that_asks_gets_tickets_that_open_its_socket_again_and_nothing_else() {
    run_flow(async || {
        let gateway = toml! { gateway.reconnect_token_s = 1 };
        let options = Options { gateway, ..Options::default() };
        let mut scripted = ScriptedStack::start_with(options).await?;
        let (created, instance) = scripted.create().await?;
        let (other, _neighbour) = scripted.create().await?;
        let (base, first) = created.url.split_once("?token=").context("a token")?;
        let with = |token: &str| format!("{base}?token={token}");
        let ticket = async |socket: &mut Socket| {
            let signal = socket.next().await?;
            assert_eq!(signal["type"], "ticket", "{signal}");
            anyhow::Ok(signal["token"].as_str().context("a token")?.to_owned())
        };

        let asking = format!("{}&tickets=1", created.url);
        let mut socket = Socket::open_url(&asking, &scripted.stack).await?;
        let tickets = [ticket(&mut socket).await?, ticket(&mut socket).await?];
        let last = tickets[1].as_str();
        let mut again = Socket::open_url(&with(last), &scripted.stack).await?;
        instance.write("s1", 0, json!({ "type": "offer" })).await?.success()?;
        assert_eq!(again.next().await?["type"], "offer", "who does not ask gets no ticket");

        let caveats = |token: &str| anyhow::Ok(Macaroon::decode(token)?.caveats().to_vec());
        let (before, after) = (caveats(first)?, caveats(last)?);
        let (ends, rights): (Vec<_>, Vec<_>) =
            after.into_iter().partition(|caveat| caveat.starts_with("time-before"));
        assert!(ends.len() == 1 && !before.contains(&ends[0]), "it ends later: {ends:?}");
        assert!(rights.iter().all(|right| before.contains(right)), "{before:?} {rights:?}");
        let elsewhere = other.url.split_once("?token=").context("a token")?.0;
        let refused = Socket::open_url(&format!("{elsewhere}?token={last}"), &scripted.stack).await;
        assert!(refused.is_err_and(|error| error.to_string().contains("403")));

        // One family: what revokes a ticket closes what the first token has opened.
        let unit = another_gateway(&scripted.stack.nodes.dir).await?;
        let id = unit.tokens.inspect(last).await?.id.context("an id")?;
        unit.tokens.revoke(Revocation::Token(id), None).await?;
        assert_eq!(again.next().await?["message"], "token revoked");
        for token in [first, last] {
            let refused = Socket::open_url(&with(token), &scripted.stack).await;
            assert!(refused.is_err_and(|error| error.to_string().contains("401")));
        }
        Ok(())
    });
}

#[test]
fn the_end_of_a_session_ends_its_tokens_on_every_unit_and_after_restarts() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (created, instance) = scripted.create().await?;
        let (_, neighbour) = scripted.create().await?;
        let (_, socket) = created.url.split_once("?token=").context("a token")?;
        let config = AgentConfig::read(&scripted.stack.nodes.dir.join("agent.toml"))?;
        let state = scripted.stack.nodes.dir.join("another-agent");
        let agent = Unit::start(config.nats, Config { state, ..config.tokens }, Service::Agent)?;
        agent.ready().await?;
        let gateway = another_gateway(&scripted.stack.nodes.dir).await?;
        let id: SessionId = created.id.parse()?;
        let (read, write) = (Op::CommandRead, Op::SignalWrite);
        let token = instance.userdata.token.as_str();
        agent.tokens.verify(token, read, Some(&id)).await?;
        gateway.tokens.verify(socket, write, Some(&id)).await?;

        let path = instance.path("/signals?wait=60");
        let (poll, over) = tokio::join!(instance.http.get(&path), async {
            scripted.client.delete(&created.id).await?;
            eventually("over", async || {
                Ok((scripted.client.get(&created.id).await?.status == "terminated").then_some(()))
            })
            .await?;
            anyhow::Ok(Instant::now())
        });
        let over = over?;
        // The poll hears of the end or of the revocation, whichever comes first.
        let status = poll?.status.as_u16();
        assert!([401, 403].contains(&status), "what waits is cut: {status}");
        for (unit, token, op) in [(&agent, token, read), (&gateway, socket, write)] {
            eventually("refused", async || {
                let verified = unit.tokens.verify(token, op, Some(&id)).await;
                Ok(matches!(verified, Err(TokensError::Invalid)).then_some(()))
            })
            .await?;
            assert!(over.elapsed() < Duration::from_secs(1), "{:?}", over.elapsed());
        }
        let refused = Socket::open(&created, &scripted.stack).await;
        assert!(refused.is_err_and(|error| error.to_string().contains("401")));
        let commands = instance.path("/commands");
        assert_eq!(instance.http.get(&commands).await?.status, 401);
        scripted.stack.restart_agent().await?;
        scripted.stack.restart_gateway().await?;
        eventually("ready", async || {
            Ok((neighbour.http.get(&neighbour.path("/commands")).await?.status == 200)
                .then_some(()))
        })
        .await?;
        assert_eq!(instance.http.get(&commands).await?.status, 401);
        eventually("refused", async || {
            let refused =
                Socket::open(&created, &scripted.stack).await.err().context("it opened")?;
            Ok(refused.to_string().contains("401").then_some(()))
        })
        .await
    });
}

#[test]
fn an_open_poll_is_cut_when_its_token_is_revoked() {
    run_flow(async || {
        let mut scripted = ScriptedStack::start().await?;
        let (_, instance) = scripted.create().await?;
        let tokens = &scripted.stack.agent.tokens;
        let id = tokens.inspect(&instance.userdata.token).await?.id.context("an id")?;
        let revision = instance.commands(0, 0).await?["revision"].as_u64().context("a revision")?;
        let commands = instance.path(&format!("/commands?after={revision}&wait=60"));
        let signals = instance.path("/signals?wait=60");
        let polls = async {
            let polls = tokio::join!(instance.http.get(&commands), instance.http.get(&signals));
            anyhow::Ok(([polls.0?.status, polls.1?.status], Instant::now()))
        };
        let revoked = async {
            // Both wait by then, or find the token revoked already: either must be refused.
            instance.commands(0, 0).await?;
            tokens.revoke(Revocation::Token(id), None).await?;
            anyhow::Ok(Instant::now())
        };
        let (polls, revoked) = tokio::join!(polls, revoked);
        let ((statuses, cut), revoked) = (polls?, revoked?);
        assert_eq!(statuses, [401, 401]);
        assert!(cut.saturating_duration_since(revoked) < Duration::from_secs(1));
        Ok(())
    });
}

#[test]
fn a_unit_that_is_cut_off_opens_nothing_new_after_a_minute() {
    run_flow(async || {
        let mut units = Units::new()?;
        let one = units.unit("one").await?;
        let token = one.mint().await?;
        units.nats.kill();
        one.verify(&token.token).await.context("what was read is good for a while")?;
        let two = units.start("two")?;
        let refused = two.verify(&token.token).await;
        assert!(
            matches!(refused, Err(TokensError::NotReady(_))),
            "it has read nothing: {refused:?}"
        );
        if std::env::var_os("STREAM_TEST_LONG").is_some() {
            tokio::time::sleep(Duration::from_secs(60)).await;
            let refused = one.verify(&token.token).await;
            assert!(matches!(refused, Err(TokensError::NotReady(_))), "{refused:?}");
            units.nats.restart()?;
            for unit in [&one, &two] {
                unit.ready().await?;
                unit.verify(&token.token).await?;
            }
        }
        Ok(())
    });
}

/// Runs one of the programs as an operator does, with `input`, and returns whether it succeeded and
/// what it printed.
async fn operate(
    program: &str,
    words: &[&str],
    socket: Option<&Path>,
    input: &str,
) -> anyhow::Result<(bool, String)> {
    let mut command = Command::new(program);
    command.arg("token").args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
    if let Some(socket) = socket {
        command.arg("--socket").arg(socket);
    }
    let mut child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
    child.stdin.take().context("its input")?.write_all(input.as_bytes()).await?;
    let output = tokio::time::timeout(STEP_TIMEOUT, child.wait_with_output()).await??;
    let said = if output.status.success() { output.stdout } else { output.stderr };
    Ok((output.status.success(), String::from_utf8(said)?))
}

/// Returns what a command that succeeds prints.
async fn printed(
    program: &str,
    words: &[&str],
    socket: &Path,
    input: &str,
) -> anyhow::Result<String> {
    let (good, said) = operate(program, words, Some(socket), input).await?;
    anyhow::ensure!(good, "{words:?}: {said}");
    Ok(said)
}

#[test]
fn operators_make_narrow_inspect_and_revoke_tokens_and_change_keys() {
    run_flow(async || operated(Options::default()).await);
}

pub(crate) async fn operated(options: Options) -> anyhow::Result<()> {
    let scripted = ScriptedStack::start_with(options).await?;
    let nodes = &scripted.stack.nodes;
    let (agent, gateway) = (nodes.agent_socket(), nodes.admin_socket());

    let token = printed(AGENT, &["create", "--scope", "ams", "ams-1"], &agent, "").await?;
    let caveats = ["attenuate", "allow session.read", "time-before 2999-01-01T00:00:00Z"];
    let (good, narrowed) = operate(AGENT, &caveats, None, &token).await?;
    assert!(good, "{narrowed}");
    let (good, said) = operate(AGENT, &["attenuate", "weather sunny"], None, &token).await?;
    assert!(!good && said.contains("not understood"), "{said}");

    let said = printed(AGENT, &["inspect"], &agent, &narrowed).await?;
    for part in ["anbox-stream-agent", "ams-1", "\"allow session.read\"", "valid     yes"] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
    let id = said.lines().find_map(|line| line.strip_prefix("id")).context("an id")?.trim();
    let elsewhere = printed(GATEWAY, &["inspect"], &gateway, &narrowed).await?;
    assert!(elsewhere.contains("no: it is for"), "{elsewhere}");

    // Said by the other service: what is revoked is revoked for both.
    printed(GATEWAY, &["revoke", &format!("--id={id}")], &gateway, "").await?;
    eventually("revoked", async || {
        let said = printed(AGENT, &["inspect"], &agent, &narrowed).await?;
        Ok(said.contains("no: it is revoked").then_some(()))
    })
    .await?;
    let (good, _) = operate(AGENT, &["revoke"], Some(&agent), "").await?;
    assert!(!good, "there is nothing to revoke");

    let old = printed(AGENT, &["keys"], &agent, "").await?;
    let old = old.split_whitespace().next().context("a key")?;
    let retire = async || {
        // An id may begin with a dash.
        let words = ["retire", "--socket", agent.to_str().context("a path")?, "--", old];
        operate(AGENT, &words, None, "").await
    };
    let (good, said) = retire().await?;
    assert!(!good && said.contains("rotate first"), "{said}");
    printed(AGENT, &["rotate", "--lead", "0"], &agent, "").await?;
    let (good, said) = retire().await?;
    assert!(good, "{said}");
    let left = printed(AGENT, &["keys"], &agent, "").await?;
    assert!(left.lines().count() == 1 && !left.contains(old), "{left}");
    Ok(())
}
