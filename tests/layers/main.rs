//! The rules of the house that a compiler does not know: which crate may use which, and what stands
//! where.

#![allow(clippy::unwrap_used, reason = "a test may end here")]

mod crates;
mod manual;
mod scripts;
