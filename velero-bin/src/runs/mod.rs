//! Whole runs: what direct mode and the operator have in common.
//!
//! A run opens nothing by itself: it is given a cluster, a store and the custom resource (from the API server, or made
//! of a command line), runs the engine, stores the artifacts and gives the resource back with its final status.

mod backed_up;
mod backup;
mod claim;
mod config_maps;
mod deletion_request;
mod direct;
mod error;
mod failure;
mod finalize;
mod follow;
mod journal;
mod logs;
mod mark;
mod plan;
mod policies;
mod put;
mod restore;
mod restore_failure;
mod restore_finalize;
mod restore_inputs;
mod spare;
mod taken;
mod template;
mod tidy;
mod volumes;

use std::sync::Arc;

use jiff::Timestamp;

pub use backup::{BackupDone, BackupRun, CancelledBy, cancelled_by, run_backup};
pub(crate) use claim::{LEASE, holder, is_run_of};
pub(crate) use deletion_request::deletion_request;
pub use direct::{live_namespaces, prepare_direct_backup, prepare_direct_restore};
pub use error::{RunError, RunErrorKind};
pub use failure::BackupFailure;
pub(crate) use failure::is_record as is_failed_record;
pub(crate) use failure::{Failure, Unkept, store_failure, with_left, without_left};
pub use follow::{Follow, FollowRun, follow_to_end};
pub use journal::RestoreJournal;
pub(crate) use journal::{Found as FoundJournal, KEY_END as JOURNAL_END, read as read_journal};
pub(crate) use mark::Mark;
pub use plan::{PlanRun, cluster_identity, run_plan};
pub use policies::read_policies;
pub use restore::{RestoreDone, RestoreRun, run_restore};
pub use restore_failure::RestoreFailure;
pub(crate) use restore_failure::add_restore_failure;
pub use restore_finalize::{
    RestoreFollow, RestoreFollowRun, RestoreFollowed, RestoreLeft, follow_restore,
};
pub use restore_inputs::{RestoreInputs, read_action_config, read_modifiers, read_versions};
pub use spare::Spare;
pub(crate) use taken::TakenOver;
pub(crate) use template::from_template;
pub use volumes::WithoutData;
pub(crate) use volumes::without_data as volumes_without_data;

/// Tells the time; injected, so that tests know it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The system's clock.
pub fn system_clock() -> Clock {
    Arc::new(Timestamp::now)
}
