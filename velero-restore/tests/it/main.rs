//! Integration tests of the restore engine, on the in-process API server.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic too")]

mod actions;
mod brought;
mod common;
mod configured;
mod definitions;
mod existing;
mod failures;
mod flow;
mod modifiers;
mod namespaces;
mod peer;
mod planning;
mod status;
mod update;
mod verify;
mod versions;
mod volumes;
