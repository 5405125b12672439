//! What the fuzz targets reach of this crate, and no part of its interface. Every function takes
//! any bytes, and panics when a promise is broken.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use serde_json::Value;
use stream_protocol::{Reply, Versioned};
use stream_supervisor::{Drain, Supervisor};

use crate::Debug;
use crate::actor::answer;
use crate::builtin::{BuiltinRequest, Dependencies};
use crate::wire::{MAX_ANSWER, OpName};

thread_local! {
    static DEPENDENCIES: Dependencies = Dependencies {
        debug: Debug::default(),
        drain_timeout: Duration::from_secs(60),
        supervisor: Supervisor::default(),
        drain: Drain::default(),
    };
}

/// A line of an operator: it is answered with one line, which can be read, and what every service
/// answers is asked of no other.
pub fn line(bytes: &[u8]) {
    let handler = async |request: Value| {
        let op = request["op"].as_str().expect("it names an operation").to_owned();
        assert!(!BuiltinRequest::OPS.contains(&op.as_str()), "{op} is everybody's");
        Ok(request)
    };
    let line = DEPENDENCIES.with(|dependencies| {
        let answered = pin!(answer((0, bytes), dependencies, &(), handler));
        match answered.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(line) => line,
            Poll::Pending => panic!("nothing is waited for"),
        }
    });
    assert!((line.len() as u64) < MAX_ANSWER && !line.contains(&b'\n'));
    let answered = Reply::<Value>::decode(&line);
    if Versioned::<OpName>::decode(bytes).is_err() {
        answered.expect_err("it names no operation");
    }
}
