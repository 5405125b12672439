//! The manual: what integrators and operators need to know, and what no single item can say.
//!
//! | Page | About |
//! |---|---|
//! | [`wire`] | what clients, AMS, instances and units say to each other |
//! | [`state`] | where state lives, who writes it, and how units agree |
//! | [`tokens`] | tokens, the keys that sign them, and how secrets are stored |
//! | [`failures`] | what fails how, who notices, and what recovers |

#[doc = include_str!("manual/failures.md")]
pub mod failures {}

#[doc = include_str!("manual/state.md")]
pub mod state {}

#[doc = include_str!("manual/tokens.md")]
pub mod tokens {}

#[doc = include_str!("manual/wire.md")]
pub mod wire {}
