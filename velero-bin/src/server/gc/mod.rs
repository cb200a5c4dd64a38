//! Backups that have expired, and go.
//!
//! Mirrors `pkg/controller/gc_controller.go`.

mod decide;
mod task;

pub(super) use task::run;
