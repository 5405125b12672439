//! The signals that people and programs send to a service, and what they ask for.

use std::future::poll_fn;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Order {
    End,
    Reload,
    /// Nothing: its default would end the process all the same.
    Nothing,
}

/// The signals that people and programs send to a service.
pub(crate) struct Signals(Vec<(&'static str, Order, Signal)>);

impl Signals {
    /// Listens from here on. Needs a runtime.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let all = [
            ("SIGTERM", SignalKind::terminate(), Order::End),
            ("SIGINT", SignalKind::interrupt(), Order::End),
            ("SIGQUIT", SignalKind::quit(), Order::End),
            ("SIGHUP", SignalKind::hangup(), Order::Reload),
            ("SIGUSR1", SignalKind::user_defined1(), Order::Nothing),
            ("SIGUSR2", SignalKind::user_defined2(), Order::Nothing),
            ("SIGALRM", SignalKind::alarm(), Order::Nothing),
            ("SIGIO", SignalKind::io(), Order::Nothing),
        ];
        let listen = |(name, kind, order)| Ok((name, order, signal(kind)?));
        all.into_iter().map(listen).collect::<std::io::Result<_>>().map(Self)
    }

    /// Waits for the next one: its name, and what it asks for.
    pub(crate) async fn next(&mut self) -> (&'static str, Order) {
        poll_fn(|cx| {
            let came = self.0.iter_mut().find_map(|(name, order, signal)| {
                signal.poll_recv(cx).is_ready().then_some((*name, *order))
            });
            came.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}
