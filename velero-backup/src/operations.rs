//! What actions have started and left running, and how far it is.

use futures::FutureExt as _;
use futures::future::ready;
use futures::stream::{self, StreamExt as _};
use velero_core::action::OperationProgress;
use velero_core::api::{Backup, Time};
use velero_core::artifact::{
    BackupItemOperation, BackupItemOperationSpec, OperationPhase, OperationStatus,
};
use velero_core::result::{Record, Severity};
use velero_core::{GoDuration, ResourceIdentifier, Timestamp};

use crate::engine::{BackupEngine, BackupRun};
use crate::invoke::Actions;
use crate::prepare::whole_seconds;
use crate::prepared::Prepared;
use crate::run::Run;

/// How long an operation may take when the backup does not say: the peer's default.
const DEFAULT_TIMEOUT: GoDuration = GoDuration::from_hours(4);

/// How many operations there are, by how they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OperationCounts {
    /// All.
    pub attempted: u64,
    /// Ended well.
    pub completed: u64,
    /// Ended badly, or given up.
    pub failed: u64,
}

impl OperationCounts {
    /// Counts operations.
    pub fn of(operations: &[BackupItemOperation]) -> Self {
        let mut counts = Self::default();
        for operation in operations {
            counts.attempted += 1;
            match operation.status.phase {
                OperationPhase::Completed => counts.completed += 1,
                OperationPhase::Failed => counts.failed += 1,
                _ => {}
            }
        }
        counts
    }

    /// Whether none is under way.
    pub fn all_ended(&self) -> bool {
        self.completed + self.failed == self.attempted
    }
}

impl BackupEngine {
    /// Asks the actions about all operations that have not ended, and notes what they say.
    ///
    /// An operation fails when its action says so, gives an error, or is not among the engine's; and when it is older than
    /// `spec.itemOperationTimeout`, and is cancelled then. Each that fails is a record. An action that does not answer
    /// in time is asked again the next time.
    ///
    /// `backup` is handed to the actions, `run` tells the time; see [`BackupEngine::finalize`] for what follows.
    pub async fn poll_operations(
        &self,
        backup: &Backup,
        operations: &mut [BackupItemOperation],
        run: &BackupRun,
    ) -> Vec<Record> {
        let actions = self.unbound(
            std::sync::Arc::new(backup.clone()),
            std::sync::Arc::clone(&run.clock),
            run.cancel.child_token(),
        );
        let wait = self.settings().progress_timeout;
        let timeout = backup.spec.item_operation_timeout.or(DEFAULT_TIMEOUT);
        // Boxed: the compiler does not see that unboxed ones may move between threads.
        let mut looks = Vec::new();
        for operation in operations {
            if !operation.status.phase.is_terminal() {
                looks.push(look(&actions, operation, wait, timeout).boxed());
            }
        }
        let records: Vec<Record> = stream::iter(looks)
            .buffered(self.settings().concurrency.max(1))
            .filter_map(ready)
            .collect()
            .await;
        records.iter().for_each(Record::log);
        records
    }
}

/// Asks about one operation.
async fn look(
    actions: &Actions,
    operation: &mut BackupItemOperation,
    wait: std::time::Duration,
    timeout: GoDuration,
) -> Option<Record> {
    let (action, id) = (
        operation.spec.backup_item_action.clone(),
        operation.spec.operation_id.clone(),
    );
    let answer = actions.progress(&action, &id, wait).await;
    let now = actions.now();
    match answer {
        Some(Ok(progress)) => note(&mut operation.status, progress, now),
        Some(Err(reason)) => fail(&mut operation.status, reason, now),
        None => tracing::warn!(
            action,
            operation = id,
            "the action does not say how far its operation is"
        ),
    }
    let status = &mut operation.status;
    let created = status.created.get_or_insert_with(|| whole_seconds(now)).0;
    let late = created
        .checked_add(timeout.to_std())
        .is_ok_and(|due| due < now);
    if late && !status.phase.is_terminal() {
        let mut reason = format!("it has not ended within {timeout} and is given up");
        match actions.cancel(&action, &id, wait).await {
            Some(Ok(())) => {}
            Some(Err(error)) => reason.push_str(&format!("; it could not be cancelled: {error}")),
            None => reason.push_str("; the action does not answer when told to cancel it"),
        }
        fail(status, reason, now);
    }
    (operation.status.phase == OperationPhase::Failed).then(|| {
        let message = format!(
            "operation {id:?} of action {action} failed: {}",
            operation.status.error
        );
        about(&operation.spec.resource_identifier, message)
    })
}

fn fail(status: &mut OperationStatus, reason: String, now: Timestamp) {
    status.phase = OperationPhase::Failed;
    status.error = reason;
    status.updated = Some(whole_seconds(now));
}

/// Takes what an action says into an operation.
fn note(status: &mut OperationStatus, progress: OperationProgress, now: Timestamp) {
    let moved = (status.n_completed, status.n_total) != (progress.done, progress.total);
    status.n_completed = progress.done;
    status.n_total = progress.total;
    status.operation_units = progress.units;
    status.description = progress.description;
    let whole = |time: Option<Timestamp>| time.map(whole_seconds);
    status.started = whole(progress.started).or(status.started.take());
    let touched = (moved || progress.completed).then_some(now);
    status.updated = whole(progress.updated.or(touched)).or(status.updated.take());
    if progress.completed && progress.error.is_empty() {
        status.phase = OperationPhase::Completed;
    } else if progress.completed {
        status.phase = OperationPhase::Failed;
        status.error = progress.error;
    } else if status.started.is_some() || moved {
        status.phase = OperationPhase::InProgress;
    }
}

fn about(id: &ResourceIdentifier, message: String) -> Record {
    Record::item(
        Severity::Error,
        &id.group_resource,
        id.namespace.as_str(),
        id.name.as_str(),
        message,
    )
}

impl Run<'_> {
    /// Notes what the actions of an item have started.
    pub(crate) fn note_operations(&mut self, item: &Prepared) {
        if item.operations.is_empty() {
            return;
        }
        let id = item.id();
        let created: Time = whole_seconds(self.actions.now());
        for (action, started) in &item.operations {
            if self.finalizing {
                let message = format!(
                    "action {action}: it has started operation {:?} after the operations of the backup have ended; nobody waits for it",
                    started.id
                );
                self.out.record(about(&id, message));
                continue;
            }
            tracing::info!(
                resource = %id.group_resource,
                namespace = id.namespace,
                name = id.name,
                action,
                operation = started.id,
                "the action has started an operation"
            );
            let backup = self.request.backup();
            let items = &started.post_operation_items;
            self.out.operations.push(BackupItemOperation {
                spec: BackupItemOperationSpec {
                    backup_name: backup.metadata.name.clone().unwrap_or_default(),
                    backup_uid: backup.metadata.uid.clone().unwrap_or_default(),
                    backup_item_action: action.clone(),
                    resource_identifier: id.clone(),
                    operation_id: started.id.clone(),
                    post_operation_items: (!items.is_empty()).then(|| items.clone()),
                    other: serde_json::Map::new(),
                },
                status: OperationStatus {
                    phase: OperationPhase::New,
                    created: Some(created.clone()),
                    ..OperationStatus::default()
                },
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn what_actions_say_becomes_a_status() {
        let now = at("2026-01-01T00:00:09.5Z");
        for (progress, phase, error) in [
            (OperationProgress::default(), OperationPhase::New, ""),
            (
                OperationProgress::running(1, 9, "Bytes"),
                OperationPhase::InProgress,
                "",
            ),
            (
                OperationProgress {
                    started: Some(now),
                    ..OperationProgress::default()
                },
                OperationPhase::InProgress,
                "",
            ),
            // An error of an operation that goes on is no failure yet.
            (
                OperationProgress {
                    error: "hiccup".into(),
                    ..OperationProgress::default()
                },
                OperationPhase::New,
                "",
            ),
            (
                OperationProgress::succeeded(),
                OperationPhase::Completed,
                "",
            ),
            (
                OperationProgress::failed("no space"),
                OperationPhase::Failed,
                "no space",
            ),
        ] {
            let mut status = OperationStatus {
                phase: OperationPhase::New,
                ..OperationStatus::default()
            };
            note(&mut status, progress.clone(), now);
            assert_eq!(
                (&status.phase, status.error.as_str()),
                (&phase, error),
                "{progress:?}"
            );
            assert_eq!(status.n_completed, progress.done);
            let touched = phase.is_terminal() || progress.done > 0;
            assert_eq!(
                status.updated,
                touched.then(|| whole_seconds(now)),
                "{progress:?}"
            );
        }
    }

    #[test]
    fn times_of_the_action_win() {
        let mut status = OperationStatus::default();
        let (started, updated) = (at("2026-01-01T00:00:01Z"), at("2026-01-01T00:00:05Z"));
        let progress = OperationProgress {
            started: Some(started),
            updated: Some(updated),
            ..OperationProgress::succeeded()
        };
        note(&mut status, progress, at("2026-01-01T00:00:09Z"));
        assert_eq!(status.started, Some(Time(started)));
        assert_eq!(status.updated, Some(Time(updated)));
    }
}
