//! Integration tests of the restore engine, on the in-process API server.

mod actions;
mod common;
mod definitions;
mod existing;
mod failures;
mod flow;
mod namespaces;
mod peer;
mod planning;
mod volumes;
