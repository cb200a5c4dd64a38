//! Backups: the queue, the preparation of a spec, the run.
//!
//! Mirrors `pkg/controller/backup_queue_controller.go` and `backup_controller.go`. Where the peer
//! leaves a backup behind after a restart (`ReadyToStart` is never started, a lost final write is never made up for),
//! this goes on, or fails the backup with a reason.
//!
//! What a failed backup has left in a store that had broken is tidied up when its location is available again, and its
//! log, its results and the record of its failure are stored then.
//!
//! A backup whose actions have started operations waits for them in a task of its own, and is finalized there; the next
//! server goes on where one has stopped. Without operations `Finalizing` is passed over: there is nothing left to do once
//! the files are stored, and the phase in the store is the final one from the start.

mod follow;
mod leftovers;
mod prepare;
mod queue;
mod reconcile;
mod recover;
mod run;
mod snapshot_locations;
mod successes;

pub(super) use leftovers::{Leftovers, run as tidy_up};
pub(super) use reconcile::BackupReconciler;
pub(super) use run::schedule_of;
pub(super) use successes::last_successes;
