//! The operator on the in-process API server.

mod backups;
mod broken_archives;
mod broken_stores;
mod cancelled;
mod controllers;
mod delete_actions;
mod deletions;
mod downloads;
mod edges;
mod elections;
mod expiry;
mod finalizing;
mod flags;
mod handed_over;
mod lists;
mod locations;
mod new_volumes;
mod no_deployment;
mod operations;
mod policies;
mod restore_inputs;
mod restore_operations;
mod restore_phases;
mod restore_progress;
mod restores;
mod resumed;
mod s3;
mod schedules;
mod side_by_side;
mod snapshot_locations;
mod spool;
mod status_requests;
mod sync;
mod two_servers;
mod world;

pub(crate) use world::{eventually, gunzip};
