//! The rules of the house that a compiler does not know: which crate may use which, which files may
//! use each other, which words are retired, and what stands where.

#![allow(clippy::unwrap_used, reason = "a test may end here")]

mod commands;
mod containers;
mod crates;
mod imports;
mod manual;
mod modules;
mod pictures;
mod scripts;
mod sources;
mod units;
mod words;
