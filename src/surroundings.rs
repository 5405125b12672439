//! What a service finds where it is started: its configuration file, and perhaps a socket that
//! listens already.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use listenfd::ListenFd;

use crate::notify::ServiceManager;

/// What surrounds a service.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// The file that its configuration was read from, and is read from again.
    pub file: Option<PathBuf>,
    /// Where clients connect, in place of the address that is configured: it outlives the process,
    /// and whoever connects between two of them waits for the next one.
    pub listener: Option<TcpListener>,
    /// Who started it.
    pub manager: Arc<ServiceManager>,
}

/// Returns the listening socket that the service manager hands over: the one that
/// `LISTEN_FDNAMES` calls `https`, or the only one.
///
/// # Errors
///
/// There are several and none is called so, or it is no listening TCP socket.
pub fn inherited_listener() -> anyhow::Result<Option<TcpListener>> {
    // Before the variables are taken away, so that no child takes them for its own.
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut inherited = ListenFd::from_env();
    let Some(place) = place(&names, inherited.len())? else { return Ok(None) };
    let listener = inherited
        .take_tcp_listener(place)
        .context("what the service manager hands over is no listening TCP socket")?;
    if let Some(listener) = &listener {
        listener.set_nonblocking(true)?;
    }
    Ok(listener)
}

/// Which of so many sockets is ours; none where there are none.
fn place(names: &str, count: usize) -> anyhow::Result<Option<usize>> {
    if count <= 1 {
        return Ok((count == 1).then_some(0));
    }
    let place = names.split(':').take(count).position(|name| name == "https");
    let place = place.with_context(|| {
        format!(
            "the service manager hands over {count} sockets and calls none of them https: give it \
             FileDescriptorName=https"
        )
    })?;
    Ok(Some(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_socket_is_taken_and_among_several_the_one_with_the_name() {
        assert_eq!(place("", 0).unwrap(), None);
        assert_eq!(place("", 1).unwrap(), Some(0));
        assert_eq!(place("whatever", 1).unwrap(), Some(0));
        assert_eq!(place("metrics:https", 2).unwrap(), Some(1));
        let error = place("a:b:https", 2).unwrap_err().to_string();
        assert!(error.contains("FileDescriptorName=https"), "{error}");
    }
}
