//! Calling actions on an item.

use std::sync::Arc;

use tokio::time::Instant;
use velero_core::action::{
    ActionContext, Effects, RestoreInput, RestoreItemAction, RestoreOutcome,
};
use velero_core::result::chain;
use velero_core::{GroupResource, ItemTree, ResourceIdentifier};

use super::item::Work;
use super::run::{Run, Stage};
use crate::actions::only_resets;
use crate::guard::guarded;
use crate::journal::Started;
use crate::operations::begun;

impl Run {
    /// Runs the actions that want to see the item; `None` when it is not to be created.
    pub(super) async fn run_actions(
        self: &Arc<Self>,
        stage: &Arc<Stage>,
        work: &mut Work<'_>,
        mut item: ItemTree,
    ) -> Option<ItemTree> {
        let mut labels = None;
        for bound in stage.actions_of(work.item.resource).iter() {
            let seen = labels.get_or_insert_with(|| item.labels());
            if !bound
                .selector
                .matches(work.item.resource, work.namespace, seen)
            {
                continue;
            }
            if self.rehearsal.is_some() && bound.action.effects() != Effects::None {
                work.draft.subject_to.push(bound.action.name().to_owned());
                continue;
            }
            labels = None;
            let Some(archived) = work.archived() else {
                work.fail("cannot be decoded a second time");
                return None;
            };
            let before = (!only_resets(bound.action.name())).then(|| item.clone());
            if bound.action.effects() != Effects::None {
                work.delay.rule_out();
            }
            let input = RestoreInput { item, archived };
            let outcome = match self.outcome_of(stage, work, &bound.action, input).await {
                Ok(outcome) => outcome,
                Err(message) => {
                    work.fail(format!("action {} failed: {message}", bound.action.name()));
                    return None;
                }
            };
            if outcome.skip {
                work.skip("an action leaves it out");
                return None;
            }
            item = outcome.item;
            work.remade |= before.is_some_and(|before| before != item);
            let existing = self
                .restore_related(stage, work, &outcome.additional_items)
                .await;
            if work.delay.is() {
                return None;
            }
            if outcome.wait_for_additional_items && self.rehearsal.is_none() {
                let limit = outcome
                    .additional_items_timeout
                    .unwrap_or(self.options.resource_timeout);
                if let Err(message) = self
                    .await_related(stage, &bound.action, existing, Instant::now() + limit)
                    .await
                {
                    work.fail(format!("action {}: {message}", bound.action.name()));
                }
            }
        }
        Some(item)
    }

    /// What an action makes of an item. One that an earlier attempt has had start something is not called again.
    async fn outcome_of(
        self: &Arc<Self>,
        stage: &Arc<Stage>,
        work: &mut Work<'_>,
        action: &Arc<dyn RestoreItemAction>,
        input: RestoreInput,
    ) -> Result<RestoreOutcome, String> {
        let (namespace, name) = (work.namespace, work.item.name);
        let resource = work.item.resource.clone();
        let item = ResourceIdentifier::namespaced(resource, namespace, name);
        if let Some(started) = self.ledger.started(action.name(), &item) {
            work.delay.rule_out();
            let operation = started.operation.clone();
            let outcome = started.outcome();
            let outcome = outcome.ok_or("what it has made of the item before was not kept")?;
            self.add_operation(operation);
            return Ok(outcome);
        }
        let outcome = self.call(stage, action, input).await?;
        if let Some(id) = outcome.operation.as_ref().filter(|id| !id.is_empty()) {
            work.delay.rule_out();
            self.note_operation(item, action.name(), id, &outcome).await;
        }
        Ok(outcome)
    }

    /// Notes what an action has started; it counts even if the item is not restored, and is not started a second time.
    async fn note_operation(
        &self,
        item: ResourceIdentifier,
        action: &str,
        id: &str,
        outcome: &RestoreOutcome,
    ) {
        tracing::info!(
            resource = %item.group_resource,
            namespace = item.namespace,
            name = item.name,
            action,
            operation = id,
            "the action has started an operation"
        );
        let (restore, now) = (self.request.restore(), (self.clock)());
        let operation = begun(restore, action, id, item, now);
        self.add_operation(operation.clone());
        let started = Started::new(operation, outcome);
        self.ledger.note_started(started).await;
    }

    /// Calls an action in a task of its own, so that a panic or a hang is an error like any other.
    async fn call(
        self: &Arc<Self>,
        stage: &Arc<Stage>,
        action: &Arc<dyn RestoreItemAction>,
        input: RestoreInput,
    ) -> Result<RestoreOutcome, String> {
        let (run, stage, action) = (Arc::clone(self), Arc::clone(stage), Arc::clone(action));
        self.guard(async move {
            let cx = run.action_context(&stage);
            action.execute(input, &cx).await.map_err(|e| chain(&e))
        })
        .await
    }

    /// Asks until the additional items are ready.
    async fn await_related(
        self: &Arc<Self>,
        stage: &Arc<Stage>,
        action: &Arc<dyn RestoreItemAction>,
        existing: Vec<ResourceIdentifier>,
        deadline: Instant,
    ) -> Result<(), String> {
        let existing = Arc::new(existing);
        loop {
            let (run, stage, action, items) = (
                Arc::clone(self),
                Arc::clone(stage),
                Arc::clone(action),
                Arc::clone(&existing),
            );
            let ready = self
                .guard(async move {
                    action
                        .additional_items_ready(&items, &run.action_context(&stage))
                        .await
                        .map_err(|e| chain(&e))
                })
                .await?;
            if ready {
                return Ok(());
            }
            if !self.pause(deadline, self.options.poll_interval).await {
                return Err("its additional items are not ready in time".to_owned());
            }
        }
    }

    fn action_context<'a>(
        &'a self,
        stage: &'a Stage,
    ) -> ActionContext<'a, velero_core::api::Restore> {
        ActionContext {
            run: self.request.restore(),
            now: (self.clock)(),
            cancel: &self.cancel,
            cluster: &stage.reader,
        }
    }

    /// Runs a call as a task with a deadline.
    pub(super) async fn guard<T, F>(&self, call: F) -> Result<T, String>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, String>> + Send + 'static,
    {
        guarded(call, self.options.action_timeout, &self.cancel).await
    }
}

/// The resource that an identifier means.
pub(super) fn resolved(stage: &Stage, id: &ResourceIdentifier) -> GroupResource {
    if stage.catalog.get(&id.group_resource).is_some() {
        return id.group_resource.clone();
    }
    stage
        .catalog
        .resolve_or_keep(&id.group_resource.to_string())
}
