//! The streaming control plane for cloud Android and app streaming: two services, made of
//! supervised actors.
//!
//! ```text
//! request  client -> gateway ~NATS~ bridge -> sessions -> tokens + turn -> ams -> reply, back
//! signal   instance -> api -> sessions -> bridge ~NATS~ gateway -> client, and back
//! ```
//!
//! This crate wires, and holds what both programs do on their node: configuration, certificates,
//! logs, and the commands of operators. What becomes of sessions is decided in the crates of
//! `actors/`, most of them actors, each of which uses lower rows only:
//!
//! ```text
//! 0  protocol  macaroon  supervisor  pki     words, tokens, mailboxes, certificates
//! 0  metrics                                 what is counted
//! 1  bridge  ams                             each touches one outside thing: NATS, AMS
//! 1  admin  http                             the operator's socket, what both HTTPS services share
//! 2  tokens  turn  tls                       each holds one kind of secret
//! 2  socket                                  WebSockets that carry signals
//! 2  audit                                   what was done, on whose order
//! 3  sessions                                decides
//! 4  api  gateway                            accept: the agent's HTTPS, the clients' HTTPS and WSS
//! 4  overview                                tells gateways how the agent is
//! ```
//!
//! [`agent`] and [`gateway`] start the actors of the two services in that order; [`cli`] is the
//! command line of both programs.

pub mod agent;
pub mod audit;
pub mod authority;
mod base;
pub mod certificates;
pub mod cli;
pub mod config;
mod config_error;
pub mod config_source;
pub mod doctor;
pub mod effective_config;
pub mod gateway;
pub mod init;
pub mod logging;
mod node_file;
pub mod notify;
mod operator_audit;
mod output;
pub mod owner;
pub mod program;
pub mod reload;
pub mod service_status;
mod signals;
pub mod surroundings;
