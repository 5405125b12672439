//! Every endpoint, every kind of token, every way to tamper with it: who gets in and who does not.

mod support;

use std::time::{Duration, SystemTime};

use reqwest::Method;
use stream_agent::agent::AgentConfig;
use stream_agent::gateway::GatewayConfig;
use stream_bridge::Bridge;
use stream_macaroon::{Key, Macaroon};
use stream_protocol::{Endpoint, Op, Role, SessionId, TokenKind};
use stream_supervisor::Supervisor;
use stream_tokens::{Config, Mint, Revocation, Side, Tokens};
use support::{Http, Played, eventually, flow};

/// Open to everybody, and known to be.
const OPEN: [&str; 4] = ["/1.0", "/1.0/health/live", "/1.0/health/ready", "/1.0/status"];

/// One of the services, with a unit of its own beside it that mints what is asked for.
struct Door {
    side: Side,
    endpoints: &'static [Endpoint],
    http: Http,
    tokens: Tokens,
    /// A token of an account that exists.
    account: Option<String>,
    /// The session in every path. There is none: who is let in gets 404.
    session: SessionId,
}

impl Door {
    async fn start(
        side: Side,
        http: Http,
        nats: stream_bridge::Config,
        tokens: Config,
        account: Option<String>,
    ) -> anyhow::Result<Self> {
        let supervisor = Supervisor::default();
        let bridge = Bridge::start(nats, "matrix", &supervisor)?;
        let state = tokens.state.with_extension("matrix");
        let tokens = Tokens::start(Config { state, ..tokens }, side, bridge, &supervisor)?;
        eventually("ready", async || Ok(tokens.ready().await.ok())).await?;
        let endpoints = match side {
            Side::Agent => stream_api::ENDPOINTS,
            Side::Gateway => stream_gateway::ENDPOINTS,
        };
        Ok(Self { side, endpoints, http, tokens, account, session: SessionId::random() })
    }

    /// Returns a token of `kind` that allows all that its kind may.
    async fn token(&self, kind: TokenKind) -> anyhow::Result<String> {
        if let (TokenKind::Account, Some(token)) = (kind, &self.account) {
            return Ok(token.clone());
        }
        Ok(self.mint(kind).await?.0)
    }

    /// Returns a fresh token and its id.
    async fn mint(&self, kind: TokenKind) -> anyhow::Result<(String, String)> {
        let socket = kind == TokenKind::Socket;
        let bound = matches!(kind, TokenKind::Instance | TokenKind::Socket);
        let minted = self.tokens.mint(Mint {
            kind,
            subject: "matrix".to_owned(),
            session: bound.then(|| self.session.clone()),
            role: socket.then_some(Role::Control),
            generation: socket.then_some(0),
            expires: Some(SystemTime::now() + Duration::from_secs(300)),
        });
        let minted = minted.await?;
        Ok((minted.token.to_string(), minted.id))
    }

    async fn status(&self, endpoint: &Endpoint, token: Option<&str>) -> anyhow::Result<u16> {
        let method = Method::from_bytes(endpoint.method.as_bytes())?;
        let mut path = endpoint.path.replace("{id}", self.session.as_str());
        let http = match token {
            // There a browser can send no header.
            Some(token) if is_socket(endpoint) => {
                path = format!("{path}?token={token}");
                self.http.with(None)
            }
            token => self.http.with(token),
        };
        Ok(http.send(method, &path, None).await?.status.as_u16())
    }

    /// Whether a whole token of `kind` is to open `endpoint`, which needs `op`.
    fn opens(&self, endpoint: &Endpoint, op: Op, kind: TokenKind) -> bool {
        let expected = match self.side {
            Side::Agent => true,
            Side::Gateway if is_socket(endpoint) => kind == TokenKind::Socket,
            Side::Gateway => kind == TokenKind::Account,
        };
        let bound = matches!(kind, TokenKind::Instance | TokenKind::Socket);
        expected && kind.ops().contains(&op) && (!bound || endpoint.path.contains("{id}"))
    }
}

fn is_socket(endpoint: &Endpoint) -> bool {
    endpoint.path.contains("/sockets/")
}

/// Returns `token` with one more caveat.
fn narrowed(token: &str, caveat: &str) -> String {
    let mut macaroon = Macaroon::decode(token).expect("a token of ours");
    macaroon.add_first_party(caveat);
    macaroon.encode()
}

/// Returns `token` as somebody would write it who has no key.
fn forged(token: &str, location: Option<&str>) -> String {
    let read = Macaroon::decode(token).expect("a token of ours");
    let key = Key::derive(&[7; 64]);
    let location = location.unwrap_or(read.location());
    let mut forged = Macaroon::new(&key, location, read.identifier());
    read.caveats().iter().for_each(|caveat| forged.add_first_party(caveat));
    forged.encode()
}

/// What makes a token invalid, whatever it allowed.
fn invalid(token: &str) -> Vec<(&'static str, Option<String>)> {
    let flipped = |at: usize| {
        let mut text = token.as_bytes().to_vec();
        text[at] = if text[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(text).ok()
    };
    vec![
        ("no token", None),
        ("an empty one", Some(String::new())),
        ("garbage", Some("AgEUYW5ib3gtc3RyZWFt".to_owned())),
        ("the first half", Some(token[..token.len() / 2].to_owned())),
        ("a changed identifier", flipped(50)),
        ("a changed caveat", flipped(token.len() - 60)),
        ("a changed signature", flipped(token.len() - 10)),
        ("something behind it", Some(format!("{token}AAAA"))),
        ("another key", Some(forged(token, None))),
        ("another location", Some(forged(token, Some("anbox-stream-elsewhere")))),
        ("an end that has passed", Some(narrowed(token, "time-before 2020-01-01T00:00:00Z"))),
        ("a bare time that has passed", Some(narrowed(token, "2020-01-01T00:00:00Z"))),
        ("a caveat nobody knows", Some(narrowed(token, "weather sunny"))),
    ]
}

/// What leaves a token valid, but not for `op` in the session it is used for.
fn given_away(token: &str, op: Op) -> Vec<(&'static str, String)> {
    let others: Vec<_> = Op::ALL.iter().filter(|o| **o != op).map(|o| o.as_str()).collect();
    let elsewhere = format!("declared session {}", SessionId::random());
    vec![
        ("everything else", narrowed(token, &format!("allow {}", others.join(" ")))),
        ("nothing", narrowed(token, "allow")),
        ("another session", narrowed(token, &elsewhere)),
        ("two roles", narrowed(&narrowed(token, "declared role view"), "declared role adb")),
    ]
}

async fn walk(door: &Door, foreign: &Door) -> anyhow::Result<()> {
    let mut opened = 0;
    for endpoint in door.endpoints {
        let name = format!("{:?} {} {}", door.side, endpoint.method, endpoint.path);
        let Some(op) = endpoint.op else {
            assert!(OPEN.contains(&endpoint.path), "{name} needs no op: is that meant?");
            assert!(![401, 403].contains(&door.status(endpoint, None).await?), "{name}");
            continue;
        };
        for &kind in TokenKind::ALL {
            let token = door.token(kind).await?;
            let status = door.status(endpoint, Some(&token)).await?;
            let opens = ![401, 403].contains(&status);
            assert_eq!(opens, door.opens(endpoint, op, kind), "{name} with {kind}: {status}");
            let stranger = foreign.token(kind).await?;
            let status = door.status(endpoint, Some(&stranger)).await?;
            assert_eq!(status, 401, "{name} with {kind} of the other service");
            for (what, text) in invalid(&token) {
                let status = door.status(endpoint, text.as_deref()).await?;
                assert_eq!(status, 401, "{name} with {kind} and {what}");
            }
            if !opens {
                continue;
            }
            opened += 1;
            for (what, text) in given_away(&token, op) {
                let status = door.status(endpoint, Some(&text)).await?;
                assert_eq!(status, 403, "{name} with {kind} that leaves {what}");
            }
            let exact = narrowed(&token, &format!("allow {op}"));
            let status = door.status(endpoint, Some(&exact)).await?;
            assert!(![401, 403].contains(&status), "{name} with {kind} for {op} alone: {status}");
        }
    }
    assert!(opened > door.endpoints.len() / 2, "{opened} of {}", door.endpoints.len());
    Ok(())
}

/// A token that was good a moment ago is refused by every endpoint once it is revoked.
async fn revoke(door: &Door) -> anyhow::Result<()> {
    for &kind in TokenKind::ALL {
        let (token, id) = door.mint(kind).await?;
        door.tokens.revoke(Revocation::Token(id), None).await?;
        for endpoint in door.endpoints.iter().filter(|endpoint| endpoint.op.is_some()) {
            let name = format!("{:?} {} {}", door.side, endpoint.method, endpoint.path);
            eventually(&format!("401 from {name}"), async || {
                Ok((door.status(endpoint, Some(&token)).await? == 401).then_some(()))
            })
            .await?;
        }
    }
    Ok(())
}

#[test]
fn every_endpoint_lets_in_whom_it_should_and_nobody_else() {
    flow(async || {
        let mut played = Played::start().await?;
        let (_, instance) = played.create().await?;
        let site = &played.stack.site;
        let config = AgentConfig::read(&site.dir.join("agent.toml"))?;
        let agent =
            Door::start(Side::Agent, instance.http, config.nats, config.tokens, None).await?;
        let config = GatewayConfig::read(&site.dir.join("gateway.toml"))?;
        let account = played.stack.token.clone();
        let http = Http::new(&site.gateway_url(), None, site.gateway_pin()?)?;
        let gateway =
            Door::start(Side::Gateway, http, config.nats, config.tokens, Some(account)).await?;

        walk(&agent, &gateway).await?;
        walk(&gateway, &agent).await?;
        revoke(&agent).await?;
        revoke(&gateway).await?;
        Ok(())
    });
}
