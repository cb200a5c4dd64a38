//! Tests of the whole program on the in-process API server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cli;
mod direct;
mod lost;
mod program;
mod sandbox;
mod server;
mod spooled;
