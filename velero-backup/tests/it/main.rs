//! Tests against the in-process API server.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::print_stderr
)]

mod acting;
mod actions;
mod bench;
mod blocks;
mod budget;
mod coverage;
mod edges;
mod ending;
mod faults;
mod faults_ending;
mod faults_lists;
mod filters;
mod gate;
mod hook_blocks;
mod hooks;
mod lists;
mod operations;
mod ordered;
mod plugged;
mod policies;
mod related;
mod scale;
mod selection;
mod support;
mod volumes;
