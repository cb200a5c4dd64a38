//! A look at what a restore would do, from its custom resource to the last verdict. Nothing is written anywhere.

use std::sync::Arc;

use velero_cluster::Cluster;
use velero_core::action::RestoreItemAction;
use velero_core::api::Restore;
use velero_core::{CancellationToken, GroupResource, Progress};
use velero_persistence::{BackupFile, BackupStore};
use velero_restore::{
    Finding, Priorities, RestoreEngine, RestoreOptions, RestoreRequest, Verified,
};

use super::restore::find_backup;
use super::restore_inputs::{RestoreInputs, read_versions};
use super::{Clock, RunError, backed_up, volumes};

/// One look at a restore.
pub struct PlanRun {
    /// The cluster to ask.
    pub cluster: Cluster,
    /// Where the backup lies.
    pub store: BackupStore,
    /// Name, namespace and the spec with its defaults filled in; `spec.backupName` names the backup.
    pub restore: Restore,
    /// Actions beyond the built-in ones. Those that may have effects are not run.
    pub actions: Vec<Arc<dyn RestoreItemAction>>,
    /// What the restore goes by beside the spec.
    pub inputs: RestoreInputs,
    /// How the engine runs.
    pub options: RestoreOptions,
    /// The order of kinds.
    pub priorities: Priorities,
    /// Receives the counts, often.
    pub progress: Arc<dyn Progress>,
    /// Ends the look.
    pub cancel: CancellationToken,
    /// Tells the time.
    pub clock: Clock,
}

/// Says what a restore would do, item by item, as it is found out.
///
/// # Errors
/// When the spec is at fault, the backup is not in the store or cannot be read, the look is cancelled, or the API server
/// fails.
pub async fn run_plan(
    run: PlanRun,
    each: impl FnMut(Finding) + Send,
) -> Result<Verified, RunError> {
    let name = &run.restore.spec.backup_name;
    let backup = find_backup(&run.store, name).await?;
    let infos = volumes::read(&run.store, name).await?;
    let mut inputs = run.inputs;
    if run.options.api_group_versions && inputs.versions.is_none() {
        inputs.versions = Some(read_versions(&run.cluster, &run.restore).await?);
    }
    let request = RestoreRequest::resolve(run.restore.clone())?
        .volume_infos(infos)
        .priorities(run.priorities);
    let request = inputs.apply(request);
    let request = backed_up::tell(request, &run.store, &backup, &run.restore).await?;
    let archive = run
        .store
        .reader(&BackupFile::Contents.of(name))
        .await
        .map_err(RunError::store("open the archive of the backup"))?;
    let engine = RestoreEngine::new(run.cluster)
        .actions(run.actions)
        .options(run.options);
    let now = run.clock;
    let engine_run = velero_restore::RestoreRun::default()
        .progress(run.progress)
        .cancel(run.cancel)
        .clock(move || now());
    let verified = engine
        .verify(&request, archive.into_blocking(), engine_run, each)
        .await?;
    if verified.cancelled {
        return Err(RunError::Cancelled);
    }
    Ok(verified)
}

/// What tells one cluster from another: the uid of its namespace `kube-system`; empty where that cannot be read.
pub async fn cluster_identity(cluster: &Cluster) -> String {
    let catalog = cluster.catalog();
    let Some(namespaces) = catalog.get(&GroupResource::core("namespaces")) else {
        return String::new();
    };
    match cluster.get(namespaces, "", "kube-system").await {
        Ok(Some(found)) => found.head().uid.clone(),
        // Who may not read it is not kept from planning by that.
        _ => String::new(),
    }
}
