//! The actor `admin`: answers operators.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use stream_bridge::Bridge;
use stream_protocol::{Ask, Code, Refusal, Reply};
use stream_supervisor::{Limits, Me, Restart, Supervisor, Worker, detached};
use stream_tokens::Tokens;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::listener::Socket;
use super::request::{AccountInfo, AccountList, Fresh, Request};
use super::{DEADLINE, read_line};
use crate::accounts::{self, Account, AccountName};

/// Operators served at the same time; further ones wait.
const AT_ONCE: usize = 16;

/// How long to wait when the system has no room for another connection.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) fn start(socket: Socket, bridge: Bridge, tokens: Tokens, supervisor: &Supervisor) {
    let factory = move || Actor {
        socket: socket.clone(),
        desk: Desk { bridge: bridge.clone(), tokens: tokens.clone() },
    };
    supervisor.host("admin", Restart::default(), Limits::default(), factory);
}

struct Actor {
    socket: Socket,
    desk: Desk,
}

impl Worker for Actor {
    fn started(&mut self, me: &Me<Self>) {
        let listener = self.socket.listener.try_clone().and_then(UnixListener::from_std);
        let listener = listener.expect("the listening socket can be shared");
        me.spawn(accept(listener, self.socket.uid, self.desk.clone()));
    }
}

async fn accept(listener: UnixListener, uid: u32, desk: Desk) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                log::warn!("the operator's socket accepts nobody: {error}");
                sleep(PAUSE).await;
                continue;
            }
        };
        if !is_operator(&stream, uid) {
            log::warn!("a stranger was turned away from the operator's socket");
            continue;
        }
        let desk = desk.clone();
        detached("an operator's request", async move {
            let served = timeout(DEADLINE, desk.serve(stream)).await;
            if let Ok(Err(error)) = served {
                log::debug!("an operator left without an answer: {error}");
            }
            drop(place);
        });
    }
}

/// Whether the peer runs as us or as root.
fn is_operator(stream: &UnixStream, uid: u32) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == uid || peer.uid() == 0)
}

/// What is needed to do what operators ask.
#[derive(Clone)]
struct Desk {
    bridge: Bridge,
    tokens: Tokens,
}

impl Desk {
    async fn serve(&self, mut stream: UnixStream) -> io::Result<()> {
        let line = read_line(&mut stream).await?;
        let mut answer = match Request::parse(&line) {
            Ok(request) => self.answer(request).await,
            Err(refusal) => Reply::<Ask>::encode(Err(refusal)),
        };
        answer.push(b'\n');
        stream.write_all(&answer).await?;
        stream.shutdown().await
    }

    async fn answer(&self, request: Request) -> Vec<u8> {
        match request {
            Request::CreateAccount { name, expires_at } => {
                encode(self.create_account(name, expires_at).await)
            }
            Request::DeleteAccount { name } => encode(self.delete_account(name).await),
            Request::ListAccounts => encode(self.list_accounts().await),
        }
    }

    async fn create_account(
        &self,
        name: String,
        expires_at: Option<u64>,
    ) -> Result<Fresh, Refusal> {
        let name = AccountName::try_from(name)?;
        let sentence = format!("account {} created", name.as_str());
        let token = accounts::create(&self.bridge, &self.tokens, name, expires_at).await?;
        log::info!("{sentence}");
        Ok(Fresh { token: token.to_string() })
    }

    async fn delete_account(&self, name: String) -> Result<Ask, Refusal> {
        let name = AccountName::try_from(name)?;
        accounts::delete(&self.bridge, &name).await?;
        log::info!("account {} deleted", name.as_str());
        Ok(Ask {})
    }

    async fn list_accounts(&self) -> Result<AccountList, Refusal> {
        let accounts = accounts::list(&self.bridge).await?;
        let info = |account: Account| AccountInfo {
            name: account.name.as_str().to_owned(),
            created_at: account.created_at,
            expires_at: account.expires_at,
        };
        Ok(AccountList { accounts: accounts.into_iter().map(info).collect() })
    }
}

/// A list that does not fit into a line is refused rather than cut.
fn encode<T: Serialize>(answer: Result<T, Refusal>) -> Vec<u8> {
    let line = Reply::encode(answer);
    if line.len() as u64 >= super::MAX_LINE {
        let refusal = Refusal::new(Code::TooLarge, "the answer is too long for this socket");
        return Reply::<Ask>::encode(Err(refusal));
    }
    line
}
