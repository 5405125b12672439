//! Both programs under failures: of one actor after the other, of all at once, of more than a
//! supervisor can make good, and under more work than an actor takes.

mod busy;
mod each;
mod escalation;
mod load;
mod storm;
#[path = "../support/mod.rs"]
mod support;
