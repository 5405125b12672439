//! The public surface, over real keys and real handshakes in memory. One binary, so that each
//! RSA-4096 key is generated once.

#![allow(clippy::unwrap_used)]

mod certificates;
mod files;
mod handshake;
mod identity;
mod keys;
mod pem;
mod pins;
mod session_tickets;
mod swap;
mod tls_failures;
mod unusual;
