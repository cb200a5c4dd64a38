//! Restores: checks, runs, and what is left of them in the store when they are deleted.
//!
//! Mirrors `pkg/controller/restore_controller.go`, `restore_operations_controller.go` and `restore_finalizer_controller.go`,
//! one restore at a time, oldest first. A restore whose actions have started operations, or whose pods have hooks to run,
//! waits for them in a task of its own, and holds up no other; the next server goes on where one has stopped.

mod check;
mod claim;
mod decide;
mod finalize;
mod reconcile;
mod recover;
mod run;

pub(super) use reconcile::RestoreReconciler;
pub(super) use run::restore_options;
