//! Following a restore to its end in one go, without an operator.

use std::time::Duration;

use velero_core::api::Restore;
use velero_core::result::Record;

use super::{RestoreFollow, RestoreFollowRun};
use crate::runs::RunError;

/// A restore that was followed to its end.
#[derive(Debug)]
pub struct RestoreFollowed {
    /// The resource with its final status.
    pub restore: Restore,
    /// What has gone wrong since its items were done.
    pub records: Vec<Record>,
}

/// Follows a restore to its end with nothing in between but a pause; `tell` is told what is waited for whenever that
/// changes.
///
/// # Errors
/// As [`RestoreFollow::look`].
pub async fn follow_restore(
    run: RestoreFollowRun,
    period: Duration,
    tell: impl Fn(&str),
) -> Result<RestoreFollowed, RunError> {
    let cancel = run.cancel.clone();
    let mut follow = RestoreFollow::open(run).await?;
    let mut told = String::new();
    while !follow.restore().phase().is_terminal() {
        let waits = follow.waits_for();
        if waits != told && !waits.is_empty() {
            tell(&waits);
            told = waits;
        }
        let before = follow.restore().phase().clone();
        follow.look(period).await?;
        if follow.is_finalizing() || *follow.restore().phase() != before {
            continue;
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(RunError::Cancelled),
            () = tokio::time::sleep(period) => {}
        }
    }
    let (restore, records) = follow.into_parts();
    Ok(RestoreFollowed { restore, records })
}
