//! Integration tests of the crate, one binary.

// All of this binary is tests; clippy itself spares only the functions marked so.
#![allow(clippy::unwrap_used, clippy::panic)]

mod api;
mod archive;
mod bombs;
