//! Waiting for what the cluster does by itself.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use velero_core::result::chain;
use velero_core::{ApiResource, ItemTree, RawItem};

use super::item::Work;
use super::run::Run;

/// Time before the second look; it doubles up to the poll interval.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(20);

impl Run {
    /// Waits until a CustomResourceDefinition is served.
    pub(super) async fn await_definition(&self, work: &mut Work<'_>) {
        let stage = work.stage;
        let Some(resource) = stage.catalog.by_kind(work.item.api_version, work.item.kind) else {
            return;
        };
        let deadline = Instant::now() + self.options.resource_timeout;
        let mut pause = FIRST_PAUSE;
        loop {
            let last = match self.cluster.get(resource, "", work.item.name).await {
                Ok(Some(live)) => match live.tree() {
                    Ok(tree) if is_served(&tree) => return,
                    Ok(_) => {
                        "its conditions Established and NamesAccepted are not both true".to_owned()
                    }
                    Err(error) => chain(&error),
                },
                Ok(None) => return work.fail("was deleted before it was served"),
                Err(error) => chain(&error),
            };
            if !self.pause(deadline, pause).await {
                return work.fail(format!("is not served: {last}"));
            }
            pause = (pause * 2).min(self.options.poll_interval);
        }
    }

    /// Looks for the `default` account; in a namespace that this run has created, waits for it a moment.
    pub(super) async fn await_default_account(
        &self,
        work: &Work<'_>,
        resource: &ApiResource,
    ) -> Option<RawItem> {
        let created = self
            .ensure_namespace(work.stage, work.namespace, work.item.namespace)
            .await
            == Ok(true);
        let deadline = Instant::now() + self.options.default_account_timeout;
        let mut pause = FIRST_PAUSE;
        loop {
            // A failure to read shows again when the account is created.
            let found = self
                .cluster
                .get(resource, work.namespace, "default")
                .await
                .ok()?;
            if found.is_some() || !created || !self.pause(deadline, pause).await {
                return found;
            }
            pause *= 2;
        }
    }
}

fn is_served(definition: &ItemTree) -> bool {
    let conditions = definition.array_at("/status/conditions");
    ["Established", "NamesAccepted"].iter().all(|wanted| {
        let field = |c: &Value, name: &str| c.get(name).and_then(Value::as_str).map(str::to_owned);
        conditions.iter().any(|c| {
            field(c, "type").as_deref() == Some(*wanted)
                && field(c, "status").as_deref() == Some("True")
        })
    })
}
