//! Whole flows over real parts, a module each, in one program: what it takes is linked once.
//!
//! The runner gives every test a process of its own, so that a flow may count on what belongs to a
//! process: its logger, its threads, its memory.

mod accounts;
mod adb;
mod agent_endpoints;
mod agents;
mod ams;
mod ams_initiated;
mod ams_outage;
mod authorization_matrix;
mod browser;
mod client_suite;
mod clocks;
mod config;
mod console;
mod demo;
mod drain;
mod error_responses;
mod events;
mod former_keys;
mod generated_requests;
mod instance_restart;
mod ipv6;
mod joinable;
mod launch_crash;
mod least_privilege;
mod lifecycle;
mod live_config;
mod nats;
mod nats_faults;
mod on_conflict;
mod openapi;
mod operator;
mod package;
mod plain_client;
mod reload;
mod restart;
mod scale;
mod secrets;
mod service_manager;
mod session;
mod shares;
mod signaling;
mod signals;
mod sockets;
mod store;
mod supervision;
mod support;
mod tickets;
mod tokens;
mod transports;
mod turn;
mod unit_failures;
mod view;
mod wire_compat;
