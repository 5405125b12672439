//! Stands for agent and gateway at once: one session, its commands, its two signal logs.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use actix_web::web::{self, Data, Json, Payload, Query};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use anyhow::Result;
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use stream_pki::{ClientCertificates, Fingerprint, Identity, ServerIdentity, server_config};
use stream_protocol::{
    Commands, Cursor, DesiredState, LoggedSignal, NewSignal, Report, ReportedStatus, Signal,
    SignalId, SignalPage, Signaling, Success,
};
use stream_simulators::client::JoinedSession;
use tokio::sync::watch;
use tokio::time::timeout;

const SESSION: &str = "abcdefghij0123456789";
const EPOCH: u64 = 36;

pub(crate) struct Harness {
    address: String,
    state: Data<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

struct State {
    commands: Commands,
    to_instance: Vec<LoggedSignal>,
    to_client: Vec<LoggedSignal>,
    ids: HashSet<SignalId>,
    reports: Vec<ReportedStatus>,
    ice_requests: usize,
    refuses: bool,
    /// What was refused once.
    refused: HashSet<String>,
    repeated: usize,
    forgets: bool,
    forgotten: usize,
}

/// An identity that all tests share: its key takes seconds to make.
pub(crate) fn identity() -> Identity {
    let path = identity_file("harness");
    Identity::load(&path, &path).expect("the identity was written")
}

/// The file of the identity called `name`: its certificate, which nobody else vouches for, and its
/// key.
pub(crate) fn identity_file(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.pem"));
    if !path.exists() {
        let pair = stream_pki::self_signed(name, &["127.0.0.1".to_owned()]).expect("a pair");
        let pem = format!("{}{}", pair.certificate, *pair.key);
        // Another test may have been faster: then its identity counts.
        let _ = stream_pki::write_new(&path, pem.as_bytes(), 0o600);
    }
    path
}

/// Userdata that names the certificate `pin` of the agent; none when it is empty.
pub(crate) fn userdata(agent_url: &str, pin: &str) -> String {
    let pins: Vec<_> = Some(pin).filter(|pin| !pin.is_empty()).into_iter().collect();
    json!({
        "session_id": SESSION, "agent_url": agent_url, "token": "secret", "fingerprints": pins,
        "display_width": 1280, "display_height": 720, "display_density": 240, "fps": 60,
        "extra_data": null,
    })
    .to_string()
}

impl Harness {
    pub(crate) fn start() -> Result<Self> {
        let state = Data::new(Shared {
            state: Mutex::new(State {
                commands: Commands {
                    revision: 1,
                    generation: 1,
                    signaling: Signaling::Open,
                    client: None,
                    ice_renewal: 0,
                    desired: DesiredState::Running,
                    adb: Vec::new(),
                    agents: Vec::new(),
                    agents_version: String::new(),
                },
                to_instance: Vec::new(),
                to_client: Vec::new(),
                ids: HashSet::new(),
                reports: Vec::new(),
                ice_requests: 0,
                refuses: false,
                refused: HashSet::new(),
                repeated: 0,
                forgets: false,
                forgotten: 0,
            }),
            changed: watch::Sender::new(()),
        });
        let shared = state.clone();
        let tls = server_config(&ServerIdentity::new(identity()), ClientCertificates::Ignored);
        let server = HttpServer::new(move || {
            let session = web::scope(&format!("/1.0/sessions/{SESSION}"))
                .route("", web::patch().to(report))
                .route("/commands", web::get().to(commands))
                .route("/signals", web::get().to(read))
                .route("/signals", web::post().to(write))
                .route("/ice-servers", web::post().to(ice_servers))
                .route("/sockets/master", web::get().to(socket));
            App::new().app_data(shared.clone()).service(session)
        })
        .workers(1)
        .shutdown_timeout(0)
        .disable_signals()
        .bind_rustls_0_23("127.0.0.1:0", (*tls).clone())?;
        let address = server.addrs()[0].to_string();
        spawn(server.run());
        Ok(Self { address, state })
    }

    pub(crate) fn created(&self) -> JoinedSession {
        JoinedSession {
            id: SESSION.to_owned(),
            url: format!("wss://{}/1.0/sessions/{SESSION}/sockets/master?token=t", self.address),
            stun_servers: Vec::new(),
            asked: Instant::now(),
            metadata: Value::Null,
        }
    }

    pub(crate) fn pins(&self) -> Vec<Fingerprint> {
        vec![identity().fingerprint()]
    }

    pub(crate) fn userdata(&self) -> String {
        userdata(&format!("https://{}", self.address), &identity().fingerprint().to_string())
    }

    pub(crate) fn command(&self, change: impl FnOnce(&mut Commands)) {
        let mut state = self.lock();
        change(&mut state.commands);
        state.commands.revision += 1;
        self.state.changed.send_replace(());
    }

    /// Answers 503 to the first call of each kind, and to the first writing of each signal after
    /// having stored it.
    pub(crate) fn refuse_first_calls(&self) {
        self.lock().refuses = true;
    }

    /// Answers 409 to the second reading, whatever its cursor.
    pub(crate) fn forget_cursors(&self) {
        self.lock().forgets = true;
    }

    pub(crate) fn forgotten(&self) -> usize {
        self.lock().forgotten
    }

    pub(crate) fn ice_requests(&self) -> usize {
        self.lock().ice_requests
    }

    pub(crate) fn repeated_writes(&self) -> usize {
        self.lock().repeated
    }

    pub(crate) fn reports(&self) -> Vec<ReportedStatus> {
        self.lock().reports.clone()
    }

    /// How many signals of this type the log holds for the client.
    pub(crate) fn told_client(&self, kind: &str) -> usize {
        let kind = format!("\"type\":\"{kind}\"");
        self.lock().to_client.iter().filter(|logged| logged.signal.as_str().contains(&kind)).count()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics in here")
    }

    /// Looks at the state now and at every change, until `seen` finds something or `wait` is over.
    async fn poll<T>(&self, wait: u64, mut seen: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let mut changed = self.changed.subscribe();
        let look = async {
            loop {
                let found = seen(&mut self.lock());
                if found.is_some() {
                    return found;
                }
                changed.changed().await.ok()?;
            }
        };
        timeout(Duration::from_secs(wait), look).await.ok().flatten()
    }

    fn store(
        &self,
        log: fn(&mut State) -> &mut Vec<LoggedSignal>,
        generation: u64,
        signal: Signal,
    ) {
        let mut state = self.lock();
        let log = log(&mut state);
        let cursor = Cursor { epoch: EPOCH, sequence: log.len() as u64 + 1 };
        log.push(LoggedSignal { cursor, generation, signal });
        drop(state);
        self.changed.send_replace(());
    }
}

impl State {
    fn refuses(&mut self, call: &str) -> bool {
        self.refuses && self.refused.insert(call.to_owned())
    }
}

fn busy() -> HttpResponse {
    HttpResponse::ServiceUnavailable()
        .insert_header(("Retry-After", "0"))
        .json(json!({"type": "error", "status": "failed", "status_code": 503, "error": "busy"}))
}

fn ok(metadata: impl serde::Serialize) -> HttpResponse {
    HttpResponse::Ok().json(Success::new(200, metadata))
}

fn is_authorized(request: &HttpRequest) -> bool {
    request.headers().get("Authorization").is_some_and(|value| value == "Macaroon root=secret")
}

async fn report(shared: Data<Shared>, request: HttpRequest, report: Json<Value>) -> HttpResponse {
    let mut state = shared.lock();
    if !is_authorized(&request) {
        return HttpResponse::Unauthorized().finish();
    }
    if state.refuses("report") {
        return busy();
    }
    // What it says of its client has another form.
    if let Ok(Report { status, .. }) = serde_json::from_value(report.into_inner()) {
        state.reports.push(status);
    }
    ok(json!({}))
}

#[derive(Deserialize)]
struct After<T> {
    after: Option<T>,
    wait: u64,
}

async fn commands(shared: Data<Shared>, query: Query<After<u64>>) -> HttpResponse {
    if shared.lock().refuses("commands") {
        return busy();
    }
    let after = query.after.unwrap_or(0);
    shared.poll(query.wait, |state| (state.commands.revision > after).then_some(())).await;
    let commands = shared.lock().commands.clone();
    ok(commands)
}

async fn read(shared: Data<Shared>, query: Query<After<String>>) -> HttpResponse {
    {
        let mut state = shared.lock();
        if state.refuses("read") {
            return busy();
        }
        if state.forgets && query.after.is_some() {
            state.forgets = false;
            state.forgotten += 1;
            return HttpResponse::Conflict().json(json!({"error": "history_gone"}));
        }
    }
    let after: Option<Cursor> = query.after.as_ref().and_then(|text| text.parse().ok());
    let after = after.map_or(0, |cursor| cursor.sequence);
    let found = shared.poll(query.wait, |state| {
        let signals = state.to_instance.iter().filter(|logged| logged.cursor.sequence > after);
        let signals: Vec<_> = signals.cloned().collect();
        (!signals.is_empty()).then_some(signals)
    });
    let signals = found.await.unwrap_or_default();
    let sequence = signals.last().map_or(after, |logged| logged.cursor.sequence);
    ok(SignalPage { cursor: Cursor { epoch: EPOCH, sequence }, signals })
}

async fn write(shared: Data<Shared>, posted: Json<Vec<NewSignal>>) -> HttpResponse {
    let mut refused = false;
    for NewSignal { id, generation, signal } in posted.into_inner() {
        let is_new = {
            let mut state = shared.lock();
            let is_new = state.ids.insert(id.clone());
            state.repeated += usize::from(!is_new);
            refused |= state.refuses(id.as_str());
            is_new
        };
        if is_new {
            shared.store(|state| &mut state.to_client, generation, signal);
        }
    }
    if refused { busy() } else { ok(json!([])) }
}

async fn ice_servers(shared: Data<Shared>) -> HttpResponse {
    shared.lock().ice_requests += 1;
    ok(json!([{"urls": ["turn:127.0.0.1:3478?transport=udp"], "username": "u", "password": "p"}]))
}

#[expect(clippy::disallowed_methods, reason = "what fails here fails the test that waits for it")]
fn spawn<T: 'static>(work: impl Future<Output = T> + 'static) {
    // It ends with the test's own loop.
    drop(actix_rt::spawn(work));
}

/// The client's signaling socket, for the generation of the moment.
async fn socket(
    shared: Data<Shared>,
    request: HttpRequest,
    body: Payload,
) -> actix_web::Result<HttpResponse> {
    let (response, mut session, mut messages) = actix_ws::handle(&request, body)?;
    let generation = shared.lock().commands.generation;
    spawn(async move {
        let mut sent = 0;
        loop {
            let unsent = shared.poll(3600, |state| {
                let unsent = state.to_client.get(sent..)?.first()?.clone();
                Some(unsent)
            });
            tokio::select! {
                logged = unsent => {
                    sent += 1;
                    let Some(logged) = logged else { break };
                    if logged.generation != generation {
                        continue;
                    }
                    if session.text(logged.signal.as_str()).await.is_err() {
                        break;
                    }
                }
                message = messages.next() => match message {
                    Some(Ok(actix_ws::Message::Text(text))) => {
                        let Ok(signal) = Signal::parse(text.to_string()) else { break };
                        shared.store(|state| &mut state.to_instance, generation, signal);
                    }
                    Some(Ok(actix_ws::Message::Close(_)) | Err(_)) | None => break,
                    Some(Ok(_)) => {}
                },
            }
        }
    });
    Ok(response)
}
