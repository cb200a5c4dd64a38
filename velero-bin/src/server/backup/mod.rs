//! Backups: the queue, the preparation of a spec, the run.
//!
//! Mirrors `pkg/controller/backup_queue_controller.go` and `backup_controller.go`, one backup at a time. Where the peer
//! leaves a backup behind after a restart (`ReadyToStart` is never started, a lost final write is never made up for),
//! this goes on, or fails the backup with a reason.
//!
//! A backup whose actions have started operations waits for them in a task of its own, and is finalized there; the next
//! server goes on where one has stopped. Without operations `Finalizing` is passed over: there is nothing left to do once
//! the files are stored, and the phase in the store is the final one from the start.

mod follow;
mod prepare;
mod queue;
mod reconcile;
mod recover;
mod run;
mod snapshot_locations;

pub(super) use reconcile::BackupReconciler;
