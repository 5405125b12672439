//! How fast a failed actor answers again, beside an Erlang/OTP supervisor, and what supervision
//! costs a message, beside plain actix.

mod ours;
mod plain_actix;

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use actix::Message;
use anyhow::{Context, ensure};
use futures_util::future::{join, join_all};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use stream_supervisor::{AskError, Mailbox};
use tokio::sync::mpsc;

use self::ours::{Echo, Ours};
use self::plain_actix::Plain;
use super::report::{Figure, Report, Samples};

/// Answered at once.
#[derive(Message)]
#[rtype(result = "u64")]
struct Now(u64);

/// Answered after an await.
#[derive(Message)]
#[rtype(result = "u64")]
struct Later(u64);

#[derive(Message)]
#[rtype(result = "()")]
struct Panic;

/// Has the actor keep to these cores.
#[derive(Message)]
#[rtype(result = "()")]
struct Settle(CpuSet);

/// Measures restarts from the thread of the actor itself, as OTP with one scheduler has all on the
/// same thread.
#[derive(Message)]
#[rtype(result = "()")]
struct Measure(mpsc::Sender<anyhow::Result<Samples>>);

const ROUNDS: usize = 7;

/// Restarts a round, of each mode and of OTP.
const RESTARTS: usize = 2_000;

/// Messages one way a round.
const TOLD: u64 = 300_000;

/// Askers at the same time, and how often each asks a round.
const ASKERS: usize = 64;
const ASKED: u64 = 1_000;

/// Panics under load, and what is queued around each.
const PANICS: usize = 10_000;
const AROUND: u64 = 20;

/// Four times as fast as OTP.
const RESTART: f64 = 0.25;

/// Of the rate of plain actix.
const MESSAGES: f64 = 0.8;

/// Messages answered since the process started, by anybody.
static ANSWERED: AtomicU64 = AtomicU64::new(0);

const OTP: &str = "tests/interop/otp_restart.escript";

#[derive(Default)]
struct Restarts {
    guard: Samples,
    host: Samples,
    /// With answers kept in flight, asked from another thread, which the system has to wake up.
    far: Samples,
    otp: Otp,
}

/// An OTP supervisor, by where asker and server run.
#[derive(Default)]
struct Otp {
    /// On one scheduler.
    one: Samples,
    /// On two, wherever OTP likes.
    two: Samples,
    /// On two, each bound to its own.
    apart: Samples,
}

/// The rates of one kind of exchange, a second.
#[derive(Default)]
struct Rates {
    ours: Samples,
    plain: Samples,
}

impl Rates {
    async fn compare(
        &mut self,
        ours: impl AsyncFn() -> anyhow::Result<f64>,
        plain: impl AsyncFn() -> anyhow::Result<f64>,
    ) -> anyhow::Result<()> {
        // Not counted: they find the heap as another kind of exchange has left it.
        ours().await?;
        plain().await?;
        // Each comes after the other as often as after itself.
        self.ours.push_number(ours().await?);
        self.plain.push_number(plain().await?);
        self.plain.push_number(plain().await?);
        self.ours.push_number(ours().await?);
        Ok(())
    }
}

#[derive(Default)]
struct Messages {
    told_now: Rates,
    told_later: Rates,
    asked_now: Rates,
    asked_later: Rates,
}

pub(super) async fn run() -> anyhow::Result<Report> {
    // Each failure would be a line of log and a backtrace: neither is what is measured.
    log::set_max_level(log::LevelFilter::Off);
    std::panic::set_hook(Box::new(|_| {}));
    let (ours, plain) = (Ours::start(), Plain::start());
    let cores = Cores::find()?;
    ours.messages.ask(Settle(cores.second)).await?;
    plain.ask(Settle(cores.second)).await.context("plain actix is gone")?;
    let (mut restarts, mut messages) = (Restarts::default(), Messages::default());
    // The first round finds everything cold.
    restart_all(&ours, &mut Restarts::default()).await?;
    for number in 1..=ROUNDS {
        restart_all(&ours, &mut restarts).await?;
        // Only now: what is started from here, OTP for one, keeps to the same cores.
        sched_setaffinity(None, &cores.first)?;
        exchange(&ours.messages, &plain, &mut messages).await?;
        sched_setaffinity(None, &cores.all)?;
        eprintln!("round {number} of {ROUNDS}");
    }
    let guard = answered_under_panics(&ours.guard).await?;
    let host = answered_under_panics(&ours.host).await?;
    ours.supervisor.stop();
    Ok(Report::new(figures(&restarts, &messages, [guard, host])))
}

fn figures(restarts: &Restarts, messages: &Messages, [guard, host]: [f64; 2]) -> Vec<Figure> {
    let one = ("OTP, one scheduler", &restarts.otp.one);
    let two = ("OTP, two schedulers", &restarts.otp.two);
    let apart = ("OTP, asker and server on a scheduler each", &restarts.otp.apart);
    let restart = |name, ours: &Samples, (what, otp): (_, &Samples), at, goal| {
        let microseconds = |samples: &Samples| samples.percentile(at) * 1000.0;
        Figure::lower(name, "us", microseconds(ours), (what, microseconds(otp)), goal)
    };
    let rate = |name, rates: &Rates| {
        let plain = ("plain actix", rates.plain.median());
        Figure::higher(name, "1/s", rates.ours.median(), plain, MESSAGES)
    };
    let kept =
        |name, kept| Figure::higher(name, "%", kept * 100.0, ("all that is sent", 100.0), 1.0);
    vec![
        restart("restart guard p50", &restarts.guard, one, 0.5, RESTART),
        restart("restart guard p99", &restarts.guard, one, 0.99, RESTART),
        restart("restart host p50", &restarts.host, one, 0.5, RESTART),
        restart("restart host p99", &restarts.host, one, 0.99, RESTART),
        restart("restart far p50, bound", &restarts.far, apart, 0.5, RESTART),
        restart("restart far p99, bound", &restarts.far, apart, 0.99, RESTART),
        restart("restart far p50, free", &restarts.far, two, 0.5, RESTART),
        restart("restart far p99, free", &restarts.far, two, 0.99, RESTART),
        rate("tell sync", &messages.told_now),
        rate("tell async", &messages.told_later),
        rate("ask sync", &messages.asked_now),
        rate("ask async", &messages.asked_later),
        kept("kept by guard", guard),
        kept("kept by host", host),
    ]
}

/// Cores for who asks and who answers. Where the system puts them changes a rate fivefold, and it
/// changes its mind.
struct Cores {
    all: CpuSet,
    first: CpuSet,
    /// Equals `first` where there is but one core.
    second: CpuSet,
}

impl Cores {
    fn find() -> anyhow::Result<Self> {
        let all = sched_getaffinity(None)?;
        let mut each = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).map(|core| {
            let mut alone = CpuSet::new();
            alone.set(core);
            alone
        });
        let first = each.next().context("no core to run on")?;
        let second = each.next().unwrap_or(first);
        Ok(Self { all, first, second })
    }
}

async fn restart_all(ours: &Ours, restarts: &mut Restarts) -> anyhow::Result<()> {
    restarts.guard.append(restart_near(&ours.guard).await?);
    restarts.host.append(restart_near(&ours.host).await?);
    restarts.far.append(restart(&ours.host).await?);
    restart_otp(&mut restarts.otp.one, "+S 1:1", "free")?;
    restart_otp(&mut restarts.otp.two, "+S 2:2", "free")?;
    restart_otp(&mut restarts.otp.apart, "+S 2:2", "apart")
}

async fn exchange(
    ours: &Mailbox<Echo>,
    plain: &Plain,
    messages: &mut Messages,
) -> anyhow::Result<()> {
    let Messages { told_now, told_later, asked_now, asked_later } = messages;
    let told_ours = async || told(|| ours.tell(Now(1)).is_ok());
    told_now.compare(told_ours, async || told(|| plain.tell(Now(1)))).await?;
    let told_ours = async || told(|| ours.tell(Later(1)).is_ok());
    told_later.compare(told_ours, async || told(|| plain.tell(Later(1)))).await?;
    let asked_ours = async || asked(async || ours.ask(Now(1)).await.ok()).await;
    asked_now.compare(asked_ours, async || asked(async || plain.ask(Now(1)).await).await).await?;
    let asked_ours = async || asked(async || ours.ask(Later(1)).await.ok()).await;
    asked_later.compare(asked_ours, async || asked(async || plain.ask(Later(1)).await).await).await
}

/// Measures from a message that makes the worker panic to its next good answer. The next question
/// need not wait for the panic: it is queued behind it.
async fn restart(actor: &Mailbox<Echo>) -> anyhow::Result<Samples> {
    let mut times = Samples::default();
    for _ in 0..RESTARTS {
        let asked = Instant::now();
        let (crashed, answer) = join(actor.ask(Panic), actor.ask(Now(1))).await;
        times.push(asked.elapsed());
        ensure!(crashed == Err(AskError::Crashed), "a panic was answered with {crashed:?}");
        ensure!(answer == Ok(1), "the next answer was {answer:?}");
    }
    Ok(times)
}

async fn restart_near(actor: &Mailbox<Echo>) -> anyhow::Result<Samples> {
    let (done, mut times) = mpsc::channel(1);
    actor.ask(Measure(done)).await?;
    times.recv().await.context("the measuring was broken off")?
}

/// Measures restarts in Erlang, by a supervisor and a server of OTP. `flags` are those of the
/// emulator; `place` says whether asker and server are bound to schedulers.
fn restart_otp(times: &mut Samples, flags: &str, place: &str) -> anyhow::Result<()> {
    let mut escript = Command::new("escript");
    escript.current_dir(stream_dev::checkout());
    escript.env("ERL_FLAGS", flags).arg(OTP).arg(RESTARTS.to_string()).arg(place);
    let output = escript.output();
    let output = output.context("escript, of Debian's erlang-base, does not start")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let nanoseconds: Vec<u64> = serde_json::from_slice(&output.stdout)?;
    nanoseconds.into_iter().for_each(|time| times.push(Duration::from_nanos(time)));
    Ok(())
}

/// Returns how many messages a second are sent and dealt with, nobody waiting for an answer.
fn told(tell: impl Fn() -> bool) -> anyhow::Result<f64> {
    let (before, started) = (ANSWERED.load(Relaxed), Instant::now());
    for _ in 0..TOLD {
        ensure!(tell(), "a message was refused");
    }
    while ANSWERED.load(Relaxed) - before < TOLD {
        std::thread::sleep(Duration::from_micros(50));
    }
    Ok(TOLD as f64 / started.elapsed().as_secs_f64())
}

/// Returns how many questions a second are answered to many askers at once.
async fn asked(ask: impl AsyncFn() -> Option<u64>) -> anyhow::Result<f64> {
    let started = Instant::now();
    let askers = join_all((0..ASKERS).map(async |_| {
        for _ in 0..ASKED {
            ensure!(ask().await == Some(1), "a question was not answered");
        }
        Ok(())
    }));
    askers.await.into_iter().collect::<anyhow::Result<()>>()?;
    Ok(ASKERS as f64 * ASKED as f64 / started.elapsed().as_secs_f64())
}

/// Panics again and again with messages queued before and after; returns which part of those is
/// answered.
async fn answered_under_panics(actor: &Mailbox<Echo>) -> anyhow::Result<f64> {
    let mut answered = 0;
    for _ in 0..PANICS {
        let some = || join_all((0..AROUND).map(|number| actor.ask(Now(number))));
        let (before, (crashed, after)) = join(some(), join(actor.ask(Panic), some())).await;
        ensure!(crashed == Err(AskError::Crashed), "a panic was answered with {crashed:?}");
        for answers in [before, after] {
            answered +=
                answers.into_iter().zip(0..).filter(|(got, sent)| *got == Ok(*sent)).count();
        }
    }
    Ok(answered as f64 / (2 * AROUND) as f64 / PANICS as f64)
}
