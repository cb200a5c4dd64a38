//! Objects of the cluster that are being deleted where an item is to come: claims and volumes are waited for.

use std::sync::Arc;

use tokio::time::Instant;
use velero_core::result::chain;
use velero_core::{ItemTree, RawItem};

use super::item::Work;
use super::run::{Run, Stage};

impl Work<'_> {
    /// Notes that an object of the item's name is being deleted; `true` where that is waited for.
    pub(super) fn waits_for_going(&mut self) -> bool {
        let core = |resource| self.item.resource.is("", resource);
        if core("persistentvolumes") || core("persistentvolumeclaims") {
            self.delay.going = true;
        }
        self.delay.going
    }

    /// Makes sure of the item's namespace; `false` when nothing more is to be done with the item now.
    pub(super) async fn enter_namespace(&mut self, run: &Arc<Run>, stage: &Stage) -> bool {
        let (target, source) = (self.namespace, self.item.namespace);
        if target.is_empty() {
            return true;
        }
        let ensured = match self.may_put_off() {
            true => run.try_namespace(stage, target, source).await,
            false => Some(run.ensure_namespace(stage, target, source).await),
        };
        match ensured {
            Some(Ok(_)) => return true,
            Some(Err(message)) => self.fail(message),
            None => self.delay.put_off(),
        }
        false
    }
}

impl Run {
    /// Writes an item. A claim or a volume whose name is taken by one that is being deleted waits until that is gone.
    pub(super) async fn write_when_gone(&self, work: &mut Work<'_>, item: ItemTree) {
        let core = |resource| work.item.resource.is("", resource);
        if !core("persistentvolumes") && !core("persistentvolumeclaims") {
            return self.write(work, item).await;
        }
        let (spare, status) = (item.clone(), work.status.clone());
        let deadline = Instant::now() + self.options.terminating_timeout;
        self.write(work, item).await;
        while work.delay.going {
            if work.may_put_off() {
                return work.delay.put_off();
            }
            if let Some(rehearsal) = &self.rehearsal {
                let limit = rehearsal.waits_for();
                return work.fail(format!(
                    "the one in the cluster is being deleted; a restore waits for up to {limit}s until it is gone"
                ));
            }
            if let Err(message) = self.await_gone(work, &spare, deadline).await {
                return work.fail(message);
            }
            work.delay.going = false;
            work.status.clone_from(&status);
            self.write(work, spare.clone()).await;
        }
    }

    /// Waits until an object that is being deleted is gone.
    async fn await_gone(
        &self,
        work: &Work<'_>,
        wanted: &ItemTree,
        deadline: Instant,
    ) -> Result<(), String> {
        let (version, kind, name) = (wanted.api_version(), wanted.kind(), wanted.name());
        let resource = work.stage.catalog.by_kind(version, kind);
        let resource =
            resource.ok_or_else(|| format!("the cluster does not serve {version} {kind}"))?;
        let limit = self.options.terminating_timeout.as_secs_f64();
        self.tell_wait(&format!(
            "{kind} {} to be gone, which is being deleted, for up to {limit}s",
            place(work.namespace, name)
        ));
        loop {
            let live = self.cluster.get(resource, work.namespace, name).await;
            let live = match live.map_err(|e| chain(&e))? {
                Some(live) if live.head().deleting => live,
                _ => return Ok(()),
            };
            if !self.pause(deadline, self.options.poll_interval).await {
                return Err(self.still_going(&live, limit));
            }
        }
    }

    fn still_going(&self, live: &RawItem, limit: f64) -> String {
        if self.is_cancelled() {
            return "cancelled while the one in the cluster was being deleted".to_owned();
        }
        let tree = live.tree().ok();
        let held: Vec<&str> = tree
            .iter()
            .flat_map(|tree| tree.array_at("/metadata/finalizers"))
            .filter_map(|finalizer| finalizer.as_str())
            .collect();
        let held = match held.is_empty() {
            true => String::new(),
            false => format!(", held by {}", held.join(", ")),
        };
        format!("not restored: the one in the cluster is still being deleted after {limit}s{held}")
    }
}

/// `namespace/name`, or the name alone.
pub(super) fn place(namespace: &str, name: &str) -> String {
    match namespace {
        "" => name.to_owned(),
        namespace => format!("{namespace}/{name}"),
    }
}
