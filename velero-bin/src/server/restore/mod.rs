//! Restores: checks, runs, and what is left of them in the store when they are deleted.
//!
//! Mirrors `pkg/controller/restore_controller.go` and `restore_finalizer_controller.go`, one restore at a time, oldest
//! first.

mod check;
mod decide;
mod reconcile;
mod run;

pub(super) use reconcile::RestoreReconciler;
