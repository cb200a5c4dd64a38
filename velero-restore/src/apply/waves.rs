//! Waves, one after another; the items of one at the same time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument as _;
use velero_core::action::RestoreItemAction;
use velero_core::plan::{RestorePlan, Wave};
use velero_core::result::{Record, Severity};
use velero_core::{ApiResource, GroupResource};

use super::run::{Run, Stage};
use crate::index::is_crd;
use crate::{Error, RestoreOptions};

/// Bytes that one permit stands for.
const PERMIT_BYTES: usize = 1 << 10;

/// Longest time that discovery may lag behind definitions that are served.
const DISCOVERY_LAG: Duration = Duration::from_secs(30);

/// How many permits stand for the bytes in flight.
pub(super) fn permits(options: &RestoreOptions) -> usize {
    (options.bytes_in_flight / PERMIT_BYTES).clamp(1, 1 << 20)
}

/// Carries out a plan.
///
/// # Errors
/// When the spool or discovery fails. What concerns single items is recorded.
pub(crate) async fn apply(
    run: &Arc<Run>,
    plan: &RestorePlan,
    actions: &[Arc<dyn RestoreItemAction>],
) -> Result<(), Error> {
    let mut stage = Arc::new(Stage::new(&run.cluster, &run.request, actions));
    let permits = permits(&run.options);
    let bytes = Arc::new(Semaphore::new(permits));
    let (definitions, rest): (Vec<&Wave>, Vec<&Wave>) =
        plan.waves.iter().partition(|wave| is_crd(&wave.resource));
    for wave in &definitions {
        apply_wave(run, &stage, wave, &bytes, permits).await?;
    }
    if !definitions.is_empty() && !run.is_cancelled() {
        refresh(run, &run.brought(&rest)).await?;
        stage = Arc::new(Stage::new(&run.cluster, &run.request, actions));
    }
    let mut namespaces = JoinSet::new();
    for (target, source) in plan.namespaces.clone() {
        let (run, stage) = (Arc::clone(run), Arc::clone(&stage));
        // A failure shows at the items of the namespace.
        namespaces.spawn(
            async move { run.ensure_namespace(&stage, &target, &source).await.is_ok() }
                .in_current_span(),
        );
    }
    for wave in rest {
        apply_wave(run, &stage, wave, &bytes, permits).await?;
    }
    while namespaces.join_next().await.is_some() {}
    Ok(())
}

pub(super) async fn apply_wave(
    run: &Arc<Run>,
    stage: &Arc<Stage>,
    wave: &Wave,
    bytes: &Arc<Semaphore>,
    permits: usize,
) -> Result<(), Error> {
    let mut tasks = JoinSet::new();
    for id in &wave.items {
        if run.is_cancelled() {
            break;
        }
        while tasks.len() >= run.items_in_flight() {
            collect(run, wave, tasks.join_next().await);
        }
        while let Some(ended) = tasks.try_join_next() {
            collect(run, wave, Some(ended));
        }
        let Some(item) = run.index.item(*id) else {
            continue;
        };
        let need = u32::try_from(item.location.len().div_ceil(PERMIT_BYTES).clamp(1, permits))
            .unwrap_or(1);
        let permit = Arc::clone(bytes)
            .acquire_many_owned(need)
            .await
            .map_err(|_| Error::Internal {
                what: "the restore",
            })?;
        let json = run.load(item.location).await?;
        let (run, stage, id) = (Arc::clone(run), Arc::clone(stage), *id);
        let restored = async move {
            run.restore_planned(&stage, id, json).await;
            drop(permit);
        };
        tasks.spawn(restored.in_current_span());
    }
    while let Some(ended) = tasks.join_next().await {
        collect(run, wave, Some(ended));
    }
    Ok(())
}

fn collect(run: &Run, wave: &Wave, ended: Option<Result<(), tokio::task::JoinError>>) {
    if let Some(Err(error)) = ended {
        run.record(Record::item(
            Severity::Error,
            &wave.resource,
            "",
            "",
            format!("restoring an item ended unexpectedly: {error}"),
        ));
    }
}

/// Runs discovery until it shows what definitions have brought, or has been given time enough.
async fn refresh(run: &Arc<Run>, brought: &[GroupResource]) -> Result<(), Error> {
    let deadline = Instant::now() + DISCOVERY_LAG.min(run.options.resource_timeout);
    let mut pause = Duration::from_millis(50);
    loop {
        let catalog = run
            .cluster
            .refresh()
            .await
            .map_err(|source| Error::Cluster {
                operation: "discover what the cluster serves",
                source: Box::new(source),
            })?;
        let complete = brought.iter().all(|gr| catalog.get(gr).is_some());
        if complete || !run.pause(deadline, pause).await {
            return Ok(());
        }
        pause = (pause * 2).min(run.options.poll_interval);
    }
}

impl Run {
    /// The resources of waves whose definition is in the archive and in the cluster by now.
    fn brought(&self, waves: &[&Wave]) -> Vec<GroupResource> {
        let defined = self
            .index
            .definitions()
            .iter()
            .filter(|(id, _)| self.states.exists(*id));
        let resources =
            defined.flat_map(|(_, brings)| brings.iter().map(ApiResource::group_resource));
        resources
            .filter(|gr| waves.iter().any(|wave| wave.resource == *gr))
            .collect()
    }
}
