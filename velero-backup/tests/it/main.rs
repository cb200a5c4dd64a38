//! Tests against the in-process API server.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::print_stderr
)]

mod actions;
mod blocks;
mod coverage;
mod ending;
mod faults;
mod faults_ending;
mod faults_lists;
mod filters;
mod gate;
mod hooks;
mod lists;
mod operations;
mod ordered;
mod policies;
mod related;
mod scale;
mod selection;
mod support;
