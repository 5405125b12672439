//! TURN credentials against real relays: who may relay, which relays are handed out, relays that
//! come and go, a new secret without a refused client, and a stream that outlives its credentials.

mod commands;
mod credentials;
mod health;
mod reference;
mod relays;
mod reload;
mod renewal;
mod rotation;
