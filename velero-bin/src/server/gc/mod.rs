//! Backups that have expired, and go.
//!
//! Mirrors `pkg/controller/gc_controller.go`.

mod decide;
mod task;

pub(super) use decide::foreign_owner;
pub(super) use task::run;
