//! A worker on a thread of its own, which it may block. A thread that is stuck cannot be ended: it
//! is left behind, and another takes over.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use actix::Message;
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, select};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::failure::Failure;
use crate::mailbox::Mailbox;
use crate::panic_hook;
use crate::worker::{Context, Handler, Reply, Worker};

/// How many stuck threads of one actor are left behind; one more is the parent's affair.
const MAX_LEAKED: usize = 8;

/// What the worker is to do; what is returned is still to be done after it.
type Job<W> = Box<dyn FnOnce(&mut W, &Context<W>) -> Option<LocalBoxFuture<'static, ()>> + Send>;

/// The cell's side: the present thread, and how many were left behind.
pub(crate) struct DedicatedThread<W: Worker> {
    factory: Arc<dyn Fn() -> W + Send + Sync>,
    thread: Option<Thread<W>>,
    leaked: LeakedThreads,
}

struct Thread<W: Worker> {
    jobs: UnboundedSender<Job<W>>,
    end: ExitOnce,
    /// Dropped with the rest: the thread then ends as soon as it looks.
    _present: oneshot::Sender<()>,
}

/// How many stuck threads were left behind and have not ended since.
#[derive(Clone, Default)]
pub(crate) struct LeakedThreads(Arc<AtomicUsize>);

impl LeakedThreads {
    pub(crate) fn number(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// What becomes of a thread: it ends, or it is left behind and ends later.
#[derive(Clone)]
struct ExitOnce {
    /// Whether one of the two has happened.
    first: Arc<AtomicBool>,
    leaked: LeakedThreads,
}

impl ExitOnce {
    fn leak(&self) {
        self.leaked.0.fetch_add(1, Relaxed);
        if self.first.swap(true, Relaxed) {
            self.leaked.0.fetch_sub(1, Relaxed);
        }
    }

    fn ended(&self) {
        if self.first.swap(true, Relaxed) {
            self.leaked.0.fetch_sub(1, Relaxed);
        }
    }
}

impl<W: Worker> DedicatedThread<W> {
    pub(crate) fn new(
        factory: impl Fn() -> W + Send + Sync + 'static,
        leaked: LeakedThreads,
    ) -> Self {
        Self { factory: Arc::new(factory), thread: None, leaked }
    }

    /// Starts a thread with a fresh worker; the future ends when that is ready, or has failed to be
    /// within `limit`.
    pub(crate) fn build(
        &mut self,
        mailbox: Mailbox<W>,
        incarnation: u64,
        limit: Duration,
    ) -> impl Future<Output = Result<(), Failure>> + use<W> {
        let (jobs, queue) = mpsc::unbounded_channel();
        let (present, gone) = oneshot::channel();
        let (ready, built) = oneshot::channel();
        let factory = Arc::clone(&self.factory);
        let end = ExitOnce { first: Arc::default(), leaked: self.leaked.clone() };
        let ended = end.clone();
        let thread = std::thread::Builder::new().name("worker".to_owned()).spawn(move || {
            panic_hook::install_on_this_thread();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let ready = Ready(Some(ready));
            match runtime {
                Ok(runtime) => {
                    let context = Context::new(mailbox, incarnation, true);
                    LocalSet::new()
                        .block_on(&runtime, run_worker(&*factory, context, queue, gone, ready));
                }
                Err(error) => ready.tell(Err(Failure::Error(error.to_string()))),
            }
            ended.ended();
        });
        let failed = match thread {
            Ok(_) => {
                self.thread = Some(Thread { jobs, end, _present: present });
                None
            }
            Err(error) => Some(Failure::Error(format!("it has no thread: {error}"))),
        };
        async move {
            match (failed, tokio::time::timeout(limit, built)) {
                (Some(failure), _) => Err(failure),
                (None, built) => match built.await {
                    Ok(Ok(built)) => built,
                    Ok(Err(_)) => Err(Failure::Panic("its thread ended".to_owned())),
                    Err(_) => Err(Failure::Deadline(limit)),
                },
            }
        }
    }

    /// Has the worker answer `message`; the future ends with the answer, and with the failure that
    /// the worker declared beside it.
    pub(crate) fn submit_message<M>(
        &self,
        message: Arc<M>,
        limit: Duration,
    ) -> impl Future<Output = (Result<M::Result, Failure>, Option<Failure>)> + use<W, M>
    where
        W: Handler<M>,
        M: Message + Send + Sync + 'static,
        M::Result: Send,
    {
        let (done, answer) = oneshot::channel();
        self.submit(Box::new(move |worker, context| {
            let reply = catch_unwind(AssertUnwindSafe(|| worker.handle(&message, context)));
            let answer = match reply {
                Ok(Reply::Now(answer)) => Ok(answer),
                Ok(Reply::Later(answer)) => {
                    let context = context.clone();
                    return Some(Box::pin(async move {
                        let answer = AssertUnwindSafe(answer).catch_unwind().await;
                        let answer = answer.map_err(|payload| Failure::panic(&*payload));
                        // The cell may have stopped waiting.
                        let _ = done.send((answer, context.fatal_error()));
                    }));
                }
                Err(payload) => Err(Failure::panic(&*payload)),
            };
            let _ = done.send((answer, context.fatal_error()));
            None
        }));
        async move {
            match tokio::time::timeout(limit, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => (Err(Failure::Panic("its thread ended".to_owned())), None),
                Err(_) => (Err(Failure::Deadline(limit)), None),
            }
        }
    }

    /// Has the worker do what is left to do at the end.
    pub(crate) fn stopping(&self) -> LocalBoxFuture<'static, ()> {
        let (done, stopped) = oneshot::channel::<()>();
        self.submit(Box::new(move |worker, context| {
            let stopping = worker.stopping(context);
            Some(Box::pin(async move {
                if let Some(stopping) = stopping {
                    stopping.await;
                }
                drop(done);
            }))
        }));
        Box::pin(stopped.map(|_| ()))
    }

    fn submit(&self, job: Job<W>) {
        if let Some(thread) = &self.thread {
            // A thread that has ended drops the job, and whoever waits for it hears of that.
            let _ = thread.jobs.send(job);
        }
    }

    /// Lets the present thread end after what it does now.
    pub(crate) fn leave(&mut self) {
        self.thread = None;
    }

    /// Leaves the present thread behind, stuck; returns whether those so left are few enough.
    pub(crate) fn abandon(&mut self) -> bool {
        if let Some(thread) = self.thread.take() {
            thread.end.leak();
        }
        self.leaked.number() <= MAX_LEAKED
    }
}

/// Tells the cell, once, whether the worker is ready.
struct Ready(Option<oneshot::Sender<Result<(), Failure>>>);

impl Ready {
    fn tell(mut self, ready: Result<(), Failure>) {
        if let Some(cell) = self.0.take() {
            // The cell may have stopped waiting.
            let _ = cell.send(ready);
        }
    }
}

/// The life of a worker on its thread.
async fn run_worker<W: Worker>(
    factory: &(dyn Fn() -> W + Send + Sync),
    context: Context<W>,
    mut jobs: UnboundedReceiver<Job<W>>,
    mut gone: oneshot::Receiver<()>,
    ready: Ready,
) {
    let built = catch_unwind(AssertUnwindSafe(|| {
        let mut worker = factory();
        worker.started(&context);
        let getting_ready = worker.ready(&context);
        (worker, getting_ready)
    }));
    let (mut worker, getting_ready) = match built {
        Ok(built) => built,
        Err(payload) => return ready.tell(Err(Failure::panic(&*payload))),
    };
    let getting_ready = getting_ready.unwrap_or_else(|| Box::pin(async { Ok(()) }));
    let getting_ready = within(Duration::MAX, getting_ready);
    let is_ready = getting_ready.await.and_then(|()| context.fatal_error().map_or(Ok(()), Err));
    let serves = is_ready.is_ok();
    ready.tell(is_ready);

    while serves && let Some(job) = jobs.recv().await {
        let later = catch_unwind(AssertUnwindSafe(|| job(&mut worker, &context)));
        if let Ok(Some(later)) = later {
            select(AssertUnwindSafe(later).catch_unwind(), &mut gone).await;
        }
    }
    context.abort();
    if catch_unwind(AssertUnwindSafe(|| drop(worker))).is_err() {
        log::error!("a worker panicked again while it was dropped");
    }
}

/// Awaits what a worker needs to be ready, for as long as `limit`.
pub(crate) async fn within(
    limit: Duration,
    ready: LocalBoxFuture<'static, Result<(), String>>,
) -> Result<(), Failure> {
    match tokio::time::timeout(limit, AssertUnwindSafe(ready).catch_unwind()).await {
        Ok(Ok(ready)) => ready.map_err(Failure::Error),
        Ok(Err(payload)) => Err(Failure::panic(&*payload)),
        Err(_) => Err(Failure::Deadline(limit)),
    }
}
