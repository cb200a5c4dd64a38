//! What actions have started and left running, and how far it is.

use futures::FutureExt as _;
use futures::future::ready;
use futures::stream::{self, StreamExt as _};
use velero_core::api::Backup;
use velero_core::artifact::{
    BackupItemOperation, BackupItemOperationSpec, OperationPhase, OperationStatus,
};
use velero_core::operation::DEFAULT_OPERATION_TIMEOUT;
use velero_core::result::{Record, Severity};
use velero_core::{GoDuration, ResourceIdentifier};

use crate::engine::{BackupEngine, BackupRun};
use crate::invoke::Actions;
use crate::prepared::Prepared;
use crate::run::Run;

/// Operations that are cancelled at the same time.
const CANCELLED_AT_ONCE: usize = 64;

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
        let actions = self.asked(backup, run);
        let wait = self.settings().progress_timeout;
        let timeout = backup.spec.item_operation_timeout;
        let timeout = timeout.or(DEFAULT_OPERATION_TIMEOUT);
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

    /// Tells the actions to cancel all operations that have not ended, and waits for their answers until the deadline, no
    /// longer. Each operation fails with the reason, and is a record.
    ///
    /// `backup` is handed to the actions, `run` tells the time.
    pub async fn cancel_operations(
        &self,
        backup: &Backup,
        operations: &mut [BackupItemOperation],
        run: &BackupRun,
        reason: &str,
        deadline: tokio::time::Instant,
    ) -> Vec<Record> {
        let actions = self.asked(backup, run);
        let mut ends = Vec::new();
        for operation in operations {
            if !operation.status.phase.is_terminal() {
                ends.push(cancel(&actions, operation, reason, deadline).boxed());
            }
        }
        let records: Vec<Record> = stream::iter(ends)
            .buffered(CANCELLED_AT_ONCE)
            .collect()
            .await;
        records.iter().for_each(Record::log);
        records
    }

    /// The actions that are asked about the operations of a backup.
    fn asked(&self, backup: &Backup, run: &BackupRun) -> Actions {
        self.unbound(
            std::sync::Arc::new(backup.clone()),
            std::sync::Arc::clone(&run.clock),
            run.cancel.child_token(),
        )
    }
}

/// Ends one operation.
async fn cancel(
    actions: &Actions,
    operation: &mut BackupItemOperation,
    reason: &str,
    deadline: tokio::time::Instant,
) -> Record {
    let spec = &operation.spec;
    let left = deadline.saturating_duration_since(tokio::time::Instant::now());
    let call = actions.cancel(&spec.backup_item_action, &spec.operation_id, left);
    let answer = call.await;
    let status = &mut operation.status;
    status.cancel(reason.to_owned(), answer, actions.now());
    failure(operation)
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
    if answer.is_none() {
        tracing::warn!(
            action,
            operation = id,
            "the action does not say how far its operation is"
        );
    }
    operation.status.hear(answer, now);
    if operation.status.is_late(timeout, now) {
        let cancelled = actions.cancel(&action, &id, wait).await;
        operation.status.give_up(timeout, cancelled, now);
    }
    (operation.status.phase == OperationPhase::Failed).then(|| failure(operation))
}

fn failure(operation: &BackupItemOperation) -> Record {
    let spec = &operation.spec;
    let message = format!(
        "operation {:?} of action {} failed: {}",
        spec.operation_id, spec.backup_item_action, operation.status.error
    );
    about(&spec.resource_identifier, message)
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
        let now = self.actions.now();
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
                status: OperationStatus::begun(now),
            });
        }
    }
}
