//! Both programs under failures: of one actor after the other, of all at once, of more than a
//! supervisor can make good, and under more work than an actor takes.

mod busy;
mod each_actor;
mod escalation;
mod fault_storm;
mod load;
