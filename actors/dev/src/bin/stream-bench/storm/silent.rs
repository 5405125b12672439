//! One address that connects again and again and says nothing.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::super::sources::{address, connect};

/// Connects come together as often as a timer ticks.
const TICK: Duration = Duration::from_millis(10);

/// Connects `rate` times a second and keeps what it has, until `over`. Returns how many
/// connections the server has left open.
pub(super) async fn storm(port: u16, rate: u32, over: &Cell<bool>) -> anyhow::Result<usize> {
    let (mut held, begun) = (Vec::new(), Instant::now());
    let mut due = 0.0;
    while !over.get() {
        sleep(TICK).await;
        while !over.get() && due < begun.elapsed().as_secs_f64() * f64::from(rate) {
            // A server may refuse it.
            held.extend(connect(address(5, 0), port).await.ok());
            due += 1.0;
        }
    }
    let is_open = |stream: &tokio::net::TcpStream| {
        let read = stream.try_read(&mut [0]);
        read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    // What has come meanwhile is noticed where the system has looked once more.
    sleep(TICK).await;
    held.retain(is_open);
    Ok(held.len())
}
