//! Integration tests of the in-process API server.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod alive;
mod basics;
mod conformance;
mod controllers;
