//! Waves, one after another; the items of one at the same time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument as _;
use velero_core::action::RestoreItemAction;
use velero_core::plan::{ItemId, RestorePlan, Wave};
use velero_core::result::{Record, Severity};
use velero_core::{ApiResource, GroupResource};

use super::run::{Run, Stage};
use crate::index::is_crd;
use crate::{Error, RestoreOptions};

/// Bytes that one permit stands for.
const PERMIT_BYTES: usize = 1 << 10;

/// Longest time that discovery may lag behind definitions that are served.
pub(super) const DISCOVERY_LAG: Duration = Duration::from_secs(30);

/// Longest wait for the first items of a wave, which tell whether the rest is compared with a list.
const FIRST_ANSWERS: Duration = Duration::from_secs(1);

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
    if run.is_cancelled() {
        return Ok(());
    }
    let mut namespaces = JoinSet::new();
    for (target, source) in plan.namespaces.clone() {
        let (run, stage) = (Arc::clone(run), Arc::clone(&stage));
        // A failure shows at the items of the namespace.
        namespaces.spawn(
            async move {
                !run.is_cancelled() && run.ensure_namespace(&stage, &target, &source).await.is_ok()
            }
            .in_current_span(),
        );
    }
    for wave in rest {
        apply_wave(run, &stage, wave, &bytes, permits).await?;
    }
    run.take_up_later(&stage, plan, (&bytes, permits)).await?;
    while namespaces.join_next().await.is_some() {}
    run.link_late_owners(&stage).await;
    Ok(())
}

pub(super) async fn apply_wave(
    run: &Arc<Run>,
    stage: &Arc<Stage>,
    wave: &Wave,
    bytes: &Arc<Semaphore>,
    permits: usize,
) -> Result<(), Error> {
    let mut crew = Crew {
        run,
        stage,
        wave,
        bytes,
        permits,
        tasks: JoinSet::new(),
    };
    for (at, id) in wave.items.iter().enumerate() {
        if run.is_cancelled() {
            break;
        }
        if run.asks_first(at, wave.items.len()) {
            crew.settle(FIRST_ANSWERS).await;
        }
        if run.lists_rest(&wave.resource, wave.items.len(), wave.items.len() - at) {
            run.apply_listed(&mut crew, &wave.items[at..]).await?;
            break;
        }
        crew.take(*id).await?;
    }
    crew.finish().await;
    Ok(())
}

/// The items of one wave that are worked on at the same time.
pub(super) struct Crew<'a> {
    run: &'a Arc<Run>,
    pub(super) stage: &'a Arc<Stage>,
    wave: &'a Wave,
    bytes: &'a Arc<Semaphore>,
    permits: usize,
    tasks: JoinSet<()>,
}

impl Crew<'_> {
    /// Takes an item up, as soon as there is room for it.
    pub(super) async fn take(&mut self, id: ItemId) -> Result<(), Error> {
        while self.tasks.len() >= self.run.items_in_flight() {
            collect(self.run, self.wave, self.tasks.join_next().await);
        }
        while let Some(ended) = self.tasks.try_join_next() {
            collect(self.run, self.wave, Some(ended));
        }
        let Some(item) = self.run.index.item(id) else {
            return Ok(());
        };
        let permits = item.location.len().div_ceil(PERMIT_BYTES);
        let need = u32::try_from(permits.clamp(1, self.permits)).unwrap_or(1);
        let permit = Arc::clone(self.bytes)
            .acquire_many_owned(need)
            .await
            .map_err(|_| Error::Internal {
                what: "the restore",
            })?;
        let json = self.run.load(item.location).await?;
        let (run, stage) = (Arc::clone(self.run), Arc::clone(self.stage));
        let restored = async move {
            run.restore_planned(&stage, id, json).await;
            drop(permit);
        };
        self.tasks.spawn(restored.in_current_span());
        Ok(())
    }

    /// Waits until the items that were taken up are done with, but not longer than that.
    async fn settle(&mut self, limit: Duration) {
        // Items that wait for something else have told by then what they could.
        let _over = tokio::time::timeout(limit, self.finish()).await;
    }

    /// Waits until all items that were taken up are done with.
    pub(super) async fn finish(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            collect(self.run, self.wave, Some(ended));
        }
    }
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
        let catalog = match run.cluster.refresh().await {
            Ok(catalog) => catalog,
            Err(_) if run.is_cancelled() => return Ok(()),
            Err(source) => {
                return Err(Error::Cluster {
                    operation: "discover what the cluster serves",
                    source: Box::new(source),
                });
            }
        };
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
