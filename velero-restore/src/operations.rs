//! What actions have started and left running, and how far it is.
//!
//! Mirrors `pkg/controller/restore_operations_controller.go` of upstream without its controller: the caller says when it is
//! time for the next look.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::ready;
use futures::stream::{self, StreamExt as _};
use serde_json::Map;
use velero_core::action::{ActionContext, ActionError, RestoreItemAction};
use velero_core::api::{Restore, RestorePhase};
use velero_core::artifact::{
    OperationPhase, OperationStatus, RestoreItemOperation, RestoreItemOperationSpec,
};
use velero_core::operation::{Answer, DEFAULT_OPERATION_TIMEOUT, OperationCounts};
use velero_core::result::{Record, Severity, chain};
use velero_core::{ResourceIdentifier, Timestamp};

use crate::guard::in_time;
use crate::{RestoreEngine, RestoreRun};

/// Operations that are asked about at the same time.
const AT_ONCE: usize = 8;

/// The phase of a restore whose items are done: it waits for operations, or for hooks, or for nothing more.
pub fn phase_after_items(
    operations: &[RestoreItemOperation],
    hooks_left: usize,
    has_errors: bool,
) -> RestorePhase {
    let waits = !OperationCounts::of(operations).all_ended();
    match (waits, hooks_left > 0, has_errors) {
        (true, _, false) => RestorePhase::WaitingForPluginOperations,
        (true, _, true) => RestorePhase::WaitingForPluginOperationsPartiallyFailed,
        (false, true, false) => RestorePhase::Finalizing,
        (false, true, true) => RestorePhase::FinalizingPartiallyFailed,
        (false, false, _) => phase_at_the_end(has_errors),
    }
}

/// The phase of a restore that waits for nothing more.
pub fn phase_at_the_end(has_errors: bool) -> RestorePhase {
    if has_errors {
        RestorePhase::PartiallyFailed
    } else {
        RestorePhase::Completed
    }
}

/// An operation that an action has just started for an item.
pub(crate) fn begun(
    restore: &Restore,
    action: &str,
    id: &str,
    item: ResourceIdentifier,
    now: Timestamp,
) -> RestoreItemOperation {
    RestoreItemOperation {
        spec: RestoreItemOperationSpec {
            restore_name: restore.metadata.name.clone().unwrap_or_default(),
            restore_uid: restore.metadata.uid.clone().unwrap_or_default(),
            restore_item_action: action.to_owned(),
            resource_identifier: item,
            operation_id: id.to_owned(),
            other: Map::new(),
        },
        status: OperationStatus::begun(now),
    }
}

impl RestoreEngine {
    /// Asks the actions about all operations that have not ended, and notes what they say.
    ///
    /// An operation fails when its action says so, gives an error, or is not among the engine's; and when it is older than
    /// `spec.itemOperationTimeout` (four hours when that is not given), and is cancelled then. Each that fails is a record.
    /// An action that does not answer in time is asked again the next time.
    ///
    /// `restore` is handed to the actions, `run` tells the time.
    pub async fn poll_operations(
        &self,
        restore: &Restore,
        operations: &mut [RestoreItemOperation],
        run: &RestoreRun,
    ) -> Vec<Record> {
        let asker = Asker {
            engine: self,
            restore: Arc::new(restore.clone()),
            run,
        };
        // Boxed: the compiler does not see that unboxed ones may move between threads.
        let mut looks = Vec::new();
        for operation in operations {
            if !operation.status.phase.is_terminal() {
                looks.push(asker.look(operation).boxed());
            }
        }
        let records: Vec<Record> = stream::iter(looks)
            .buffered(AT_ONCE)
            .filter_map(ready)
            .collect()
            .await;
        records.iter().for_each(Record::log);
        records
    }

    /// Tells the actions to cancel all operations that have not ended, and waits for their answers until the deadline, no
    /// longer. Each operation fails with the reason, and is a record.
    ///
    /// `restore` is handed to the actions, `run` tells the time.
    pub async fn cancel_operations(
        &self,
        restore: &Restore,
        operations: &mut [RestoreItemOperation],
        run: &RestoreRun,
        reason: &str,
        deadline: tokio::time::Instant,
    ) -> Vec<Record> {
        let asker = Asker {
            engine: self,
            restore: Arc::new(restore.clone()),
            run,
        };
        let mut ends = Vec::new();
        for operation in operations {
            if !operation.status.phase.is_terminal() {
                ends.push(asker.end(operation, reason, deadline).boxed());
            }
        }
        let records: Vec<Record> = stream::iter(ends).buffered(AT_ONCE).collect().await;
        records.iter().for_each(Record::log);
        records
    }
}

/// Asks actions.
struct Asker<'a> {
    engine: &'a RestoreEngine,
    restore: Arc<Restore>,
    run: &'a RestoreRun,
}

impl Asker<'_> {
    /// Asks about one operation.
    async fn look(&self, operation: &mut RestoreItemOperation) -> Option<Record> {
        let (name, id) = (
            operation.spec.restore_item_action.clone(),
            operation.spec.operation_id.clone(),
        );
        let Some(action) = self.engine.action_named(&name) else {
            let reason = format!("there is no action {name:?} to ask");
            operation.status.fail(reason, (self.run.clock)());
            return Some(failure(operation));
        };
        let patience = self.engine.progress_timeout();
        let answer = self
            .ask(&action, &id, patience, |action, id, cx| {
                async move { action.progress(&id, &cx.context()).await }.boxed()
            })
            .await;
        if answer.is_none() {
            tracing::warn!(
                action = name,
                operation = id,
                "the action does not say how far its operation is"
            );
        }
        let now = (self.run.clock)();
        let timeout = self.restore.spec.item_operation_timeout;
        let timeout = timeout.or(DEFAULT_OPERATION_TIMEOUT);
        operation.status.hear(answer, now);
        if operation.status.is_late(timeout, now) {
            let cancelled = self.cancel(&action, &id, patience).await;
            operation.status.give_up(timeout, cancelled, now);
        }
        (operation.status.phase == OperationPhase::Failed).then(|| failure(operation))
    }

    /// Ends one operation.
    async fn end(
        &self,
        operation: &mut RestoreItemOperation,
        reason: &str,
        deadline: tokio::time::Instant,
    ) -> Record {
        let spec = &operation.spec;
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let answer = match self.engine.action_named(&spec.restore_item_action) {
            Some(action) => self.cancel(&action, &spec.operation_id, left).await,
            None => Some(Err("there is no such action".to_owned())),
        };
        let now = (self.run.clock)();
        operation.status.cancel(reason.to_owned(), answer, now);
        failure(operation)
    }

    /// Tells an action to end an operation.
    async fn cancel(
        &self,
        action: &Arc<dyn RestoreItemAction>,
        id: &str,
        patience: Duration,
    ) -> Answer<()> {
        self.ask(action, id, patience, |action, id, cx| {
            async move { action.cancel(&id, &cx.context()).await }.boxed()
        })
        .await
    }

    /// Makes a call in a task of its own, under a deadline.
    async fn ask<T: Send + 'static>(
        &self,
        action: &Arc<dyn RestoreItemAction>,
        id: &str,
        patience: Duration,
        call: impl FnOnce(
            Arc<dyn RestoreItemAction>,
            String,
            CallContext,
        ) -> futures::future::BoxFuture<'static, Result<T, ActionError>>,
    ) -> Answer<T> {
        let context = CallContext {
            restore: Arc::clone(&self.restore),
            now: (self.run.clock)(),
            cancel: self.run.cancel.child_token(),
            reader: self.engine.cluster().reader(),
        };
        let call = call(Arc::clone(action), id.to_owned(), context);
        let call = async move { call.await.map_err(|error| chain(&error)) };
        in_time(patience, call).await
    }
}

/// What a call is given.
struct CallContext {
    restore: Arc<Restore>,
    now: Timestamp,
    cancel: velero_core::CancellationToken,
    reader: velero_cluster::Reader,
}

impl CallContext {
    fn context(&self) -> ActionContext<'_, Restore> {
        ActionContext {
            run: &self.restore,
            now: self.now,
            cancel: &self.cancel,
            cluster: &self.reader,
        }
    }
}

fn failure(operation: &RestoreItemOperation) -> Record {
    let spec = &operation.spec;
    let item = &spec.resource_identifier;
    Record::item(
        Severity::Error,
        &item.group_resource,
        item.namespace.as_str(),
        item.name.as_str(),
        format_args!(
            "operation {:?} of action {} failed: {}",
            spec.operation_id, spec.restore_item_action, operation.status.error
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use velero_core::GroupResource;

    fn operation(phase: OperationPhase) -> RestoreItemOperation {
        let item = ResourceIdentifier::namespaced(GroupResource::core("pods"), "shop", "web");
        let now = Timestamp::UNIX_EPOCH;
        let mut operation = begun(&Restore::default(), "example.com/fill", "op", item, now);
        assert_eq!(operation.status.phase, OperationPhase::New);
        operation.status.phase = phase;
        operation
    }

    #[test]
    fn phases_follow_operations_hooks_and_errors() {
        use OperationPhase::{Completed, Failed, InProgress, New};
        use RestorePhase as P;
        for (operations, hooks, errors, expected) in [
            (vec![], 0, false, P::Completed),
            (vec![], 0, true, P::PartiallyFailed),
            (vec![], 2, false, P::Finalizing),
            (vec![], 2, true, P::FinalizingPartiallyFailed),
            (vec![New], 0, false, P::WaitingForPluginOperations),
            (
                vec![Completed, InProgress],
                1,
                true,
                P::WaitingForPluginOperationsPartiallyFailed,
            ),
            (vec![Completed, Failed], 0, true, P::PartiallyFailed),
            (vec![Completed], 1, false, P::Finalizing),
        ] {
            let all: Vec<_> = operations.iter().cloned().map(operation).collect();
            let found = phase_after_items(&all, hooks, errors);
            assert_eq!(found, expected, "{operations:?} {hooks} {errors}");
        }
    }
}
