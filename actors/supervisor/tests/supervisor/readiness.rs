//! A worker that has to become ready first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use actix::Message;
use futures_util::future::join;
use stream_supervisor::{ActorState, Context, Handler, LocalBoxFuture, Reply, Supervisor, Worker};
use tokio::sync::Notify;

use crate::counter::{SHAPES, limits, on, tireless, until};

/// How one worker after the other gets ready.
#[derive(Clone)]
enum Way {
    After(Arc<Notify>),
    Fails,
    Never,
    Panics,
}

struct Slow {
    ways: Arc<Mutex<VecDeque<Way>>>,
    is_ready: Arc<Mutex<bool>>,
}

impl Worker for Slow {
    fn ready(&mut self, _: &Context<Self>) -> Option<LocalBoxFuture<'static, Result<(), String>>> {
        let way = self.ways.lock().expect("not poisoned").pop_front()?;
        let is_ready = Arc::clone(&self.is_ready);
        Some(Box::pin(async move {
            match way {
                Way::After(permission) => permission.notified().await,
                Way::Fails => return Err("not yet".to_owned()),
                Way::Never => std::future::pending().await,
                Way::Panics => panic!("on purpose"),
            }
            *is_ready.lock().expect("not poisoned") = true;
            Ok(())
        }))
    }
}

/// Answers whether the worker was ready.
#[derive(Message)]
#[rtype(result = "bool")]
struct IsReady;

impl Handler<IsReady> for Slow {
    fn handle(&mut self, _: &IsReady, _: &Context<Self>) -> Reply<bool> {
        (*self.is_ready.lock().expect("not poisoned")).into()
    }
}

#[test]
fn no_message_is_read_before_the_worker_is_ready_and_none_is_lost() {
    for shape in SHAPES {
        on(async {
            let permission = Arc::new(Notify::new());
            let ways = Arc::new(Mutex::new(VecDeque::from([Way::After(permission.clone())])));
            let supervisor = Supervisor::default();
            let slow = shape.start(&supervisor, "slow", tireless(), limits(), move || Slow {
                ways: Arc::clone(&ways),
                is_ready: Arc::default(),
            });
            let let_it = async {
                until(&supervisor, "slow", |actor| actor.depth == 1).await;
                permission.notify_one();
            };
            assert_eq!(join(slow.ask(IsReady), let_it).await.0, Ok(true));
            assert_eq!(supervisor.status()[0].restarts, 0);
        });
    }
}

#[test]
fn not_becoming_ready_is_a_failure_whatever_the_reason() {
    for shape in SHAPES {
        on(async {
            let permission = Arc::new(Notify::new());
            permission.notify_one();
            let ways = [Way::Fails, Way::Never, Way::Panics, Way::After(permission)];
            let ways = Arc::new(Mutex::new(VecDeque::from(ways)));
            let supervisor = Supervisor::default();
            let slow = shape.start(&supervisor, "slow", tireless(), limits(), move || Slow {
                ways: Arc::clone(&ways),
                is_ready: Arc::default(),
            });
            assert_eq!(slow.ask(IsReady).await, Ok(true));
            let status = &supervisor.status()[0];
            let failures = status.failures;
            assert_eq!((failures.errors, failures.deadlines, failures.panics), (1, 1, 1));
            assert_eq!((status.restarts, status.state), (3, ActorState::Running));
        });
    }
}
