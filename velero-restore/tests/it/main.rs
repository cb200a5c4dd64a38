//! Integration tests of the restore engine, on the in-process API server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may panic too"
)]

mod accounted;
mod action_order;
mod actions;
mod brought;
mod cancelled;
mod common;
mod configured;
mod definitions;
mod deletion;
mod exec_hooks;
mod existing;
mod failures;
mod fairness;
mod faults;
mod flow;
mod going;
mod growth;
mod listing;
mod mirror;
mod mirror_guards;
mod mirror_scope;
mod mixed;
mod modifiers;
mod namespaces;
mod new_volumes;
mod operations;
mod peer;
mod planning;
mod recreate;
mod recreate_guards;
mod rehearsed;
mod relinked;
mod resumed;
mod resumed_plans;
mod snapshots;
mod status;
mod update;
mod uploads;
mod verify;
mod versions;
mod volumes;
