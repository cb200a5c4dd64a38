//! Following a backup or a restore, whose items are done, from there to its end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use jiff::Timestamp;
use kube::Resource as _;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use velero_core::api::{Time, VeleroKind};
use velero_core::{CancellationToken, GoDuration};
use velero_persistence::ErrorKind;

use super::cancel::{self, cancelled_by};
use super::context::{Context, after};
use super::controller::panic_text;
use super::objects::{ApiError, Lock};
use super::tracker::{CancelReason, Running};
use crate::runs::RunError;

/// How long actions have to cancel the operations of what somebody wants ended.
const CANCEL_PATIENCE: Duration = Duration::from_secs(2);

/// How long a step may go on once somebody wants the whole ended; what it leaves is what a kill would leave.
const LAST_STEP: Duration = Duration::from_secs(2);

/// Longest pause between two tries of what has failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Why following does not go on.
pub(super) enum Stop {
    /// Not now; it can be tried again until the last moment.
    Later(String),
    /// Never.
    Never(String),
    /// Somebody else does it.
    Elsewhere(String),
}

impl From<RunError> for Stop {
    fn from(error: RunError) -> Self {
        let passes = match &error {
            RunError::TakenOver
            | RunError::ClaimLost(_)
            | RunError::Store {
                source: velero_persistence::Error::BackupReserved { .. },
                ..
            } => return Self::Elsewhere(error.chain()),
            // A bucket, a credential or a mount can come back; a file that is missing or damaged does not mend itself.
            RunError::Store { source, .. } => {
                !matches!(source.kind(), ErrorKind::NotFound | ErrorKind::Corrupt)
            }
            RunError::Cancelled => true,
            other => other.is_retryable(),
        };
        if passes {
            Self::Later(error.chain())
        } else {
            Self::Never(error.chain())
        }
    }
}

/// What is followed. It holds what it needs from one step to the next.
pub(super) trait Followed: Send + Sync + 'static {
    /// The kind of the resource.
    type Kind: VeleroKind;

    /// Whether the resource has ended.
    fn has_ended(object: &Self::Kind) -> bool;

    /// The resource with the status of another state of it.
    fn with_status(object: &Self::Kind, status_of: Self::Kind) -> Self::Kind;

    /// Makes a step; gives the resource as it should be then, and how long to wait before the next one.
    fn step(
        &mut self,
        object: &Self::Kind,
    ) -> impl Future<Output = Result<(Self::Kind, Duration), Stop>> + Send;

    /// Notes that the last step has failed: the store may have other credentials by now.
    fn step_failed(&mut self);

    /// Gives back what is held; the next step takes it again.
    fn release(&mut self) -> impl Future<Output = ()> + Send;

    /// Ends what cannot be followed any more; gives the resource as it should be then.
    fn give_up(
        &mut self,
        object: &Self::Kind,
        reason: &str,
    ) -> impl Future<Output = Self::Kind> + Send;

    /// Takes hold of what it needs to end what somebody wants ended, if it has not. `cancel` takes the place of what has
    /// ended the work.
    fn hold(
        &mut self,
        object: &Self::Kind,
        cancel: CancellationToken,
    ) -> impl Future<Output = Result<(), Stop>> + Send;

    /// Ends what somebody wants ended, with what it has hold of; gives the resource as it should be then. Actions have until
    /// the deadline to cancel their operations.
    fn cancel(
        &mut self,
        object: &Self::Kind,
        reason: &str,
        deadline: Instant,
        cancel: CancellationToken,
    ) -> impl Future<Output = Self::Kind> + Send;

    /// Writes another state of the resource, its end for as long as it takes; `None` when somebody else follows it by now,
    /// and nothing is written.
    fn write(
        &self,
        context: &Context,
        old: &Self::Kind,
        new: &Self::Kind,
    ) -> impl Future<Output = Result<Option<Self::Kind>, ApiError>> + Send {
        async move {
            let written = if Self::has_ended(new) {
                context.patch_surely(old, new).await
            } else {
                context.objects.patch(old, new, Lock::SameObject).await
            };
            written.map(Some)
        }
    }

    /// Stores what is known of operations and in memory only. What the store does not take goes with the next step.
    fn flush(&mut self) -> impl Future<Output = ()> + Send;

    /// Is told that the end was written.
    fn ended(&self, object: &Self::Kind);
}

/// When even the last operation has been given up, and what follows has had its time.
pub(super) fn last_moment(
    context: &Context,
    started: Option<&Time>,
    timeout: GoDuration,
) -> Timestamp {
    let started = started.map_or_else(|| context.now(), |time| time.0);
    let timeout = timeout.or(context.settings.default_item_operation_timeout);
    let grace = GoDuration::try_from(context.settings.resource_timeout).unwrap_or(GoDuration::MAX);
    after(after(started, timeout.as_nanos()), grace.as_nanos())
}

/// A task that follows one resource.
pub(super) struct Task<F> {
    pub(super) context: Context,
    pub(super) followed: F,
    pub(super) cancel: CancellationToken,
    /// Failures that may pass are borne with until then.
    pub(super) due: Timestamp,
    /// Is notified at the end: if the resource has not ended, whatever the reason, it is taken up again.
    pub(super) slot: Arc<Notify>,
}

impl<F: Followed> Task<F> {
    /// Goes on until the resource has ended, is gone, or the server stops. `running` keeps its place until then.
    pub(super) fn start(self, object: F::Kind, running: Running) {
        let (stopping, slot) = (self.context.stopping.clone(), Arc::clone(&self.slot));
        let period = self.context.settings.tick;
        tokio::spawn(async move {
            if let Err(panic) = AssertUnwindSafe(self.run(object, running))
                .catch_unwind()
                .await
            {
                let panic = panic_text(panic.as_ref());
                tracing::error!("following a {} panicked: {panic}", F::Kind::KIND);
            }
            tokio::select! {
                () = stopping.cancelled() => {}
                () = tokio::time::sleep(period) => slot.notify_one(),
            }
        });
    }

    async fn run(mut self, object: F::Kind, mut running: Running) {
        let by = running.cancelled_by();
        if let Some(left) = self.go(object, &by, &mut running).await {
            self.end_cancelled(left, &by).await;
        }
        self.followed.release().await;
        drop(running);
    }

    /// Ends what somebody wants ended.
    async fn end_cancelled(&mut self, object: F::Kind, by: &CancelReason) {
        let Some(who) = by.get() else {
            return;
        };
        let reason = cancel::reason(who);
        let cancel = self.context.stopping.child_token();
        let deadline = Instant::now() + CANCEL_PATIENCE;
        let held = self.followed.hold(&object, cancel.clone());
        let failed = match timeout_at(deadline, held).await {
            Ok(Ok(())) => None,
            Ok(Err(Stop::Later(error) | Stop::Never(error) | Stop::Elsewhere(error))) => {
                Some(error)
            }
            Err(_) => Some("no answer".to_owned()),
        };
        if let Some(error) = failed {
            let (kind, name) = (F::Kind::KIND, object.meta().name.as_deref());
            tracing::warn!(
                kind,
                name,
                error,
                "the store does not know that it is cancelled"
            );
        }
        let ended = self.followed.cancel(&object, &reason, deadline, cancel);
        let ended = ended.await;
        self.followed.release().await;
        self.write(&object, ended).await;
    }

    /// Makes a step. Once somebody wants the end it is not waited for long.
    async fn step(&mut self, object: &F::Kind) -> Result<(F::Kind, Duration), Stop> {
        let cancel = self.cancel.clone();
        let late = async {
            cancel.cancelled().await;
            tokio::time::sleep(LAST_STEP).await;
        };
        tokio::select! {
            biased;
            outcome = self.followed.step(object) => outcome,
            () = late => Err(Stop::Later("cancelled".to_owned())),
        }
    }

    /// As [`Task::run`]; what is held is given back before the resource says that it has ended. Gives what is left when the
    /// work is cancelled.
    async fn go(
        &mut self,
        mut object: F::Kind,
        by: &CancelReason,
        running: &mut Running,
    ) -> Option<F::Kind> {
        let (kind, name) = (
            F::Kind::KIND,
            object.meta().name.clone().unwrap_or_default(),
        );
        let mut failures = 0u32;
        if let Some(who) = cancelled_by(object.meta()) {
            by.get_or_init(|| who);
            return Some(object);
        }
        while !F::has_ended(&object) {
            if self.cancel.is_cancelled() {
                return Some(object);
            }
            if !self.is_there(&object).await {
                return None;
            }
            let pause = match self.step(&object).await {
                Ok((next, pause)) => {
                    failures = 0;
                    if F::has_ended(&next) {
                        self.followed.release().await;
                    }
                    match self.write(&object, next).await {
                        Some(written) => object = written,
                        None => return None,
                    }
                    pause
                }
                Err(_) if self.cancel.is_cancelled() => return Some(object),
                Err(Stop::Elsewhere(reason)) => {
                    tracing::debug!(kind, name, reason, "another server follows it");
                    return None;
                }
                Err(Stop::Later(reason)) if self.context.now() < self.due => {
                    tracing::warn!(
                        kind,
                        name,
                        reason,
                        "what it has left running cannot be looked after; will try again"
                    );
                    failures += 1;
                    self.followed.step_failed();
                    self.pause_after(failures)
                }
                Err(Stop::Later(reason) | Stop::Never(reason)) => {
                    let ended = self.followed.give_up(&object, &reason).await;
                    self.followed.release().await;
                    self.write(&object, ended).await;
                    return None;
                }
            };
            tokio::select! {
                () = self.cancel.cancelled() => {}
                flush = running.flush_wanted() => {
                    self.followed.flush().await;
                    // Who has asked may be gone.
                    let _ = flush.send(());
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
        None
    }

    fn pause_after(&self, failures: u32) -> Duration {
        let period = self.context.settings.item_operation_sync_frequency;
        period
            .saturating_mul(1 << failures.min(6))
            .min(LONGEST_PAUSE.max(period))
    }

    /// Whether the resource is still there; nobody waits for the end of one that is not.
    async fn is_there(&self, object: &F::Kind) -> bool {
        let name = object.meta().name.as_deref().unwrap_or_default();
        match self.context.objects.get::<F::Kind>(name).await {
            Ok(found) => found.is_some_and(|found| found.meta().uid == object.meta().uid),
            // The look that follows says what is wrong.
            Err(_) => true,
        }
    }

    /// Writes what has changed; `None` when the resource is gone or cannot be written, and nobody is left to follow.
    async fn write(&self, old: &F::Kind, new: F::Kind) -> Option<F::Kind> {
        let (kind, name) = (
            F::Kind::KIND,
            old.meta().name.as_deref().unwrap_or_default(),
        );
        // Of the rest of the object others may have written a newer state.
        let new = F::with_status(old, new);
        let has_ended = F::has_ended(&new);
        match self.followed.write(&self.context, old, &new).await {
            Ok(None) => {
                tracing::warn!(kind, name, "another server follows it by now");
                None
            }
            Ok(Some(written)) => {
                if has_ended {
                    self.followed.ended(&new);
                }
                Some(written)
            }
            Err(error) if error.is_not_found() || error.is_conflict() => {
                tracing::warn!(kind, name, %error, "the resource is gone: what it has left running is not followed any more");
                None
            }
            Err(error) => {
                tracing::warn!(kind, name, %error, "its state could not be written");
                (!has_ended).then(|| old.clone())
            }
        }
    }
}
