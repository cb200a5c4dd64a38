//! What a run leaves to whoever follows its restore: handed over in the process, or as the store has it.

use std::sync::Arc;

use velero_cluster::Cluster;
use velero_core::action::RestoreItemAction;
use velero_core::api::Restore;
use velero_core::artifact::RestoreItemOperation;
use velero_core::result::ResourceList;
use velero_core::{CancellationToken, GroupResource, ResourceIdentifier};
use velero_persistence::{BackupStore, RestoreFile};
use velero_restore::{Journal, JournalEntries, NewVolume, RestoreOptions, RunningHooks};

use super::{engine_run, log_name};
use crate::logfile::{RunLog, RunLogs};
use crate::runs::spare::Kept;
use crate::runs::volumes::{self, CLAIMS};
use crate::runs::{Clock, RestoreJournal, RunError, TakenOver};

/// What it takes to follow a restore to its end.
pub struct RestoreFollowRun {
    /// The cluster that is restored into.
    pub cluster: Cluster,
    /// Where the restore's artifacts lie.
    pub store: BackupStore,
    /// The resource, waiting or finalizing.
    pub restore: Restore,
    /// Actions beyond the built-in ones: those that have started the operations must be among them.
    pub actions: Vec<Arc<dyn RestoreItemAction>>,
    /// How the engine runs.
    pub options: RestoreOptions,
    /// What the run has left, if this process has made it; otherwise the store says it.
    pub left: Option<RestoreLeft>,
    /// Where run logs are made; what happens is added to the restore's log in the store.
    pub logs: RunLogs,
    /// Ends the work; the restore stays as it is and can be followed again.
    pub cancel: CancellationToken,
    /// Tells the time.
    pub clock: Clock,
}

/// What a run leaves to whoever follows the restore in the same process.
#[derive(Debug)]
pub struct RestoreLeft {
    pub(in crate::runs) operations: Vec<RestoreItemOperation>,
    pub(in crate::runs) hooks: RunningHooks,
    /// Where it is kept how they stand.
    pub(in crate::runs) journal: Arc<RestoreJournal>,
    /// Volumes that are made anew for claims that it has created.
    pub(in crate::runs) volumes: Vec<NewVolume>,
    /// Takes the lines that come after those of the run.
    pub(in crate::runs) log: RunLog,
    /// What has taken what the run has written.
    pub(in crate::runs) kept: Kept,
}

impl RestoreFollowRun {
    fn name(&self) -> &str {
        self.restore.metadata.name.as_deref().unwrap_or_default()
    }

    /// What another process has left, as the store has it.
    pub(super) async fn stored(&self) -> Result<RestoreLeft, RunError> {
        let journal = RestoreJournal::of(&self.cluster, &self.store, &self.restore);
        let journal = Arc::new(journal.telling(TakenOver::new(self.cancel.clone())));
        let found = journal.find().await?;
        let (operations, is_stored) = self.operations(found.as_ref()).await?;
        let volumes = self.volumes().await?;
        let log = self.logs.begin("restore", &log_name(&self.restore));
        if !is_stored {
            log.span().in_scope(|| {
                tracing::warn!("the store has taken nothing of the restore: its operations are as its journal has them, and new volumes of its claims stay as they are");
            });
        }
        let run =
            engine_run(&self.cancel, &self.clock).journal(Arc::clone(&journal) as Arc<dyn Journal>);
        let hooks = log.span().in_scope(|| {
            RunningHooks::resume(
                self.cluster.clone(),
                &self.restore,
                found.unwrap_or_default().hooks,
                &self.options,
                &run,
            )
        })?;
        Ok(RestoreLeft {
            operations,
            hooks,
            journal,
            volumes,
            log,
            kept: match is_stored {
                true => Kept::InStore,
                false => Kept::Nowhere,
            },
        })
    }

    /// The operations in the store; where it has taken nothing, those of the journal. Whether it was the store.
    async fn operations(
        &self,
        journal: Option<&JournalEntries>,
    ) -> Result<(Vec<RestoreItemOperation>, bool), RunError> {
        let operations: Vec<RestoreItemOperation> = self
            .store
            .get_list(&RestoreFile::ItemOperations.of(self.name()))
            .await
            .map_err(RunError::store("read the operations of the restore"))?;
        if !operations.is_empty() || self.restore.status.restore_item_operations_attempted == 0 {
            return Ok((operations, true));
        }
        let noted = journal.map(JournalEntries::operations).unwrap_or_default();
        if noted.is_empty() {
            let fault = "the operations that the restore waits for are neither in its store nor in its journal".to_owned();
            return Err(RunError::Validation(vec![fault]));
        }
        Ok((noted, false))
    }

    /// The new volumes of the claims that the list of the restore's items has as created.
    async fn volumes(&self) -> Result<Vec<NewVolume>, RunError> {
        let file = RestoreFile::ResourceList.of(self.name());
        let list: Option<ResourceList> = self
            .store
            .get_json(&file)
            .await
            .map_err(RunError::store("read the list of what was restored"))?;
        let created = created_claims(&list.unwrap_or_default());
        if created.is_empty() {
            return Ok(Vec::new());
        }
        let spec = &self.restore.spec;
        let infos = volumes::read(&self.store, &spec.backup_name).await?;
        Ok(NewVolume::all_of(&infos, &created, &spec.namespace_mapping))
    }
}

/// The claims that a list of restored items has as created.
fn created_claims(list: &ResourceList) -> Vec<ResourceIdentifier> {
    let claim = |entry: &str| {
        let (namespace, name) = entry.strip_suffix("(created)")?.split_once('/')?;
        let resource = GroupResource::core("persistentvolumeclaims");
        Some(ResourceIdentifier::namespaced(resource, namespace, name))
    };
    list.entries(CLAIMS).into_iter().filter_map(claim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_created_counts() {
        let mut list = ResourceList::default();
        for (kind, entry) in [
            (CLAIMS, "shop/data(created)"),
            (CLAIMS, "shop/there(skipped)"),
            (CLAIMS, "shop/bad(failed)"),
            (CLAIMS, "shop/changed(updated)"),
            (CLAIMS, "odd(created)"),
            ("v1/Pod", "shop/web(created)"),
        ] {
            list.add(kind, entry);
        }
        let found: Vec<String> = created_claims(&list)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, ["persistentvolumeclaims shop/data"]);
    }
}
