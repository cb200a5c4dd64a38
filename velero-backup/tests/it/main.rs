//! Tests against the in-process API server.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod actions;
mod ending;
mod faults;
mod lists;
mod related;
mod scale;
mod selection;
mod support;
