//! The streaming control plane for cloud Android and app streaming: two services, made of
//! supervised actors.
//!
//! ```text
//! request  client -> gateway ~NATS~ bridge -> sessions -> tokens + turn -> ams -> reply, back
//! signal   instance -> api -> sessions -> bridge ~NATS~ gateway -> client, and back
//! ```
//!
//! This crate only wires; decisions are taken in `actors/`, one crate each, from the ground up:
//!
//! ```text
//! 0  protocol  macaroon  supervisor  pki     words, tokens, mailboxes, certificates
//! 1  bridge  ams                             each touches one outside thing: NATS, AMS
//! 1  admin  metrics                          what operators ask, and what is counted
//! 2  tickets  tokens  turn                   each holds one secret
//! 3  sessions                                decides
//! 4  api  gateway                            accept: the agent's HTTPS, the clients' HTTPS and WSS
//! ```
//!
//! [`agent`] and [`gateway`] start the actors of the two services in that order.

pub mod agent;
mod base;
pub mod cli;
pub mod config;
pub mod gateway;
pub mod init;
pub mod program;
