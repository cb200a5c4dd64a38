//! Waiting for what the cluster does by itself.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;
use velero_cluster::{ErrorKind, WriteOptions};
use velero_core::result::chain;
use velero_core::{ApiResource, ItemTree, RawItem};

use super::item::Work;
use super::run::Run;
use super::waves::DISCOVERY_LAG;

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
                    Ok(tree) => match what_is_missing(&tree) {
                        Some(what) => what,
                        None => return,
                    },
                    Err(error) => chain(&error),
                },
                Ok(None) => return work.fail("was deleted before it was served"),
                Err(error) => chain(&error),
            };
            if !self.pause(deadline, pause).await {
                let limit = self.options.resource_timeout.as_secs_f64();
                return work.fail(match self.is_cancelled() {
                    true => format!("is not served, and the restore was cancelled: {last}"),
                    false => format!("is not served within {limit}s: {last}"),
                });
            }
            if pause < self.options.poll_interval && pause * 2 >= self.options.poll_interval {
                let name = work.item.name;
                self.tell_wait(&format!("definition {name} to be served: {last}"));
            }
            pause = (pause * 2).min(self.options.poll_interval);
        }
    }

    /// Creates an object. API servers that have just taken a definition up may not serve its kind yet, although another
    /// one of them, or discovery, says so: they are given a moment.
    pub(super) async fn create(
        &self,
        work: &Work<'_>,
        resource: &ApiResource,
        (name, body): (&str, Bytes),
        options: &WriteOptions,
    ) -> Result<RawItem, velero_cluster::Error> {
        let deadline = Instant::now() + DISCOVERY_LAG.min(self.options.resource_timeout);
        let mut pause = FIRST_PAUSE;
        loop {
            let created = self
                .cluster
                .create(resource, work.namespace, name, body.clone(), options)
                .await;
            match created {
                Err(error)
                    if error.kind() == ErrorKind::Unserved
                        && self.has_brought(resource)
                        && self.pause(deadline, pause).await => {}
                done => return done,
            }
            pause = (pause * 2).min(self.options.poll_interval);
        }
    }

    /// Whether a definition of the archive, which is in the cluster by now, brings a kind.
    fn has_brought(&self, resource: &ApiResource) -> bool {
        let wanted = resource.group_resource();
        self.index.definitions().iter().any(|(id, brings)| {
            self.states.exists(*id) && brings.iter().any(|r| r.group_resource() == wanted)
        })
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

/// Why a definition is not served; nothing when it is.
fn what_is_missing(definition: &ItemTree) -> Option<String> {
    let conditions = definition.array_at("/status/conditions");
    ["NamesAccepted", "Established"].iter().find_map(|wanted| {
        let field = |c: &Value, name: &str| c.get(name).and_then(Value::as_str).map(str::to_owned);
        let condition = conditions
            .iter()
            .find(|c| field(c, "type").as_deref() == Some(*wanted));
        let Some(condition) = condition else {
            return Some(format!("it has no condition {wanted} yet"));
        };
        let status = field(condition, "status").unwrap_or_default();
        let message = field(condition, "message").unwrap_or_default();
        (status != "True").then(|| format!("its condition {wanted} is {status:?}: {message}"))
    })
}
