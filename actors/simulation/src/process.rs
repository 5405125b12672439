//! A process of the simulation: tasks that begin, stand still and end together.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use stream_supervisor::spawn_detached;
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::world::{Shared, UnitId};

/// One start of a unit; clones are the same one.
#[derive(Clone)]
pub(crate) struct Process(Rc<Inner>);

struct Inner {
    world: Shared,
    id: UnitId,
    /// `None` when it has ended.
    tasks: RefCell<Option<Pin<Box<LocalSet>>>>,
    is_paused: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Process {
    /// Starts one under the name `unit`.
    pub(crate) fn start(world: &Shared, unit: &str) -> Self {
        let id = world.lock().connect(unit);
        let process = Self(Rc::new(Inner {
            world: Arc::clone(world),
            id,
            tasks: RefCell::new(Some(Box::pin(LocalSet::new()))),
            is_paused: Cell::new(false),
            waker: RefCell::default(),
        }));
        spawn_detached("a process", Driver(process.clone()));
        process
    }

    pub(crate) fn id(&self) -> UnitId {
        self.0.id
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.0.world.lock().links[self.0.id].is_alive
    }

    /// Runs `work` in the process, and returns what comes of it: nothing if the process ends
    /// before.
    pub(crate) async fn run<T: 'static>(
        &self,
        work: impl Future<Output = T> + 'static,
    ) -> Option<T> {
        let (sender, done) = oneshot::channel();
        {
            let tasks = self.0.tasks.borrow();
            let work = async move {
                // Whoever asked may be gone.
                let _ = sender.send(work.await);
            };
            drop(tasks.as_ref()?.spawn_local(work));
        }
        done.await.ok()
    }

    /// Ends the process without warning.
    pub(crate) fn kill(&self) {
        if self.is_alive() {
            self.0.world.lock().kill(self.0.id);
        }
        let tasks = self.0.tasks.take();
        drop(tasks);
        self.wake();
    }

    /// Has the process stand still for a while, as if its machine did.
    pub(crate) fn pause(&self, time: Duration) {
        self.0.is_paused.set(true);
        self.disturb();
        let process = self.clone();
        spawn_detached("the end of a pause", async move {
            sleep(time).await;
            process.0.is_paused.set(false);
            process.disturb();
            process.wake();
        });
    }

    fn disturb(&self) {
        let mut world = self.0.world.lock();
        let unit = world.links[self.0.id].unit.clone();
        world.disturb(&unit);
    }

    fn wake(&self) {
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }
}

/// Polls the tasks of a process until it ends.
struct Driver(Process);

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        let Process(inner) = &self.0;
        inner.waker.replace(Some(task.waker().clone()));
        if inner.is_paused.get() {
            return Poll::Pending;
        }
        // Taken out, since a process may end itself.
        let Some(mut tasks) = inner.tasks.take() else { return Poll::Ready(()) };
        let _ = tasks.as_mut().poll(task);
        if !self.0.is_alive() {
            return Poll::Ready(());
        }
        inner.tasks.replace(Some(tasks));
        Poll::Pending
    }
}
