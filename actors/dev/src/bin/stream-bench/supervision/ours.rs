//! The supervised side.

use std::sync::atomic::Ordering::Relaxed;

use rustix::thread::sched_setaffinity;
use stream_supervisor::{
    Context, Handler, Limits, Mailbox, Mode, Reply, RestartPolicy, Supervisor, Worker,
    spawn_detached,
};

use super::{ANSWERED, Later, Measure, Now, Panic, Settle, restart};

#[derive(Default)]
pub(super) struct Echo;

impl Worker for Echo {}

impl Handler<Now> for Echo {
    fn handle(&mut self, now: &Now, _: &Context<Self>) -> Reply<u64> {
        ANSWERED.fetch_add(1, Relaxed);
        now.0.into()
    }
}

impl Handler<Later> for Echo {
    fn handle(&mut self, later: &Later, _: &Context<Self>) -> Reply<u64> {
        let Later(number) = *later;
        Reply::later(async move {
            tokio::task::yield_now().await;
            ANSWERED.fetch_add(1, Relaxed);
            number
        })
    }
}

impl Handler<Panic> for Echo {
    fn handle(&mut self, _: &Panic, _: &Context<Self>) -> Reply<()> {
        panic!("on purpose")
    }
}

impl Handler<Settle> for Echo {
    fn handle(&mut self, Settle(cores): &Settle, _: &Context<Self>) -> Reply<()> {
        sched_setaffinity(None, cores).expect("these are cores of this process");
        ().into()
    }
}

impl Handler<Measure> for Echo {
    fn handle(&mut self, measure: &Measure, ctx: &Context<Self>) -> Reply<()> {
        let (done, mailbox) = (measure.0.clone(), ctx.mailbox().clone());
        // Outside of the actor: this is to outlive its restarts.
        spawn_detached("measuring", async move {
            // Whoever wanted it may have gone.
            let _ = done.send(restart(&mailbox).await).await;
        });
        ().into()
    }
}

/// One actor of each mode, restarted however often it fails.
pub(super) struct Ours {
    pub(super) supervisor: Supervisor,
    pub(super) guard: Mailbox<Echo>,
    pub(super) host: Mailbox<Echo>,
    /// One that nobody makes fail.
    pub(super) messages: Mailbox<Echo>,
}

impl Ours {
    pub(super) fn start() -> Self {
        let supervisor = Supervisor::default();
        supervisor.disable_escalation();
        let restart = RestartPolicy::default();
        // As for plain actix, whatever is sent has room.
        let limits = Limits { mailbox_capacity: usize::MAX / 2, ..Limits::default() };
        let guard =
            supervisor.spawn("guard", Mode::CancelOnRestart, restart, limits, Echo::default);
        let host = supervisor.spawn("host", Mode::KeepInFlight, restart, limits, Echo::default);
        let messages =
            supervisor.spawn("messages", Mode::KeepInFlight, restart, limits, Echo::default);
        Self { supervisor, guard, host, messages }
    }
}
