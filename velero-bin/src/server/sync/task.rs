//! The loop that looks into stores.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::Value;
use tokio::task::JoinSet;
use velero_core::api::{Backup, BackupStorageLocation, Document, PodVolumeBackup, Schedule};
use velero_persistence::{BackupFile, BackupStore, ClusterMark};

use super::decide::{Import, Known, Look, Opened, import, is_to_mark, look, orphans};
use super::import::{backup_object, pod_volume_object};
use crate::server::backup::last_successes;
use crate::server::context::{Context, stamp};
use crate::server::controller::panic_text;
use crate::server::objects::{ApiError, Lock};
use crate::server::stores::{self, StoreError};

/// Longest time between two looks at which locations are due.
const TICK: Duration = Duration::from_secs(1);
/// Backups of one location that are imported at the same time.
const AT_ONCE: usize = 16;

/// Looks into due locations until the server stops, each in a task of its own: one that is slow holds up no other. Errors
/// are logged; a later look tries again.
pub(in crate::server) async fn run(context: Context) {
    let mut tick = tokio::time::interval(context.settings.tick.min(TICK));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut looks = Looks::default();
    loop {
        tokio::select! {
            () = context.stopping.cancelled() => return,
            () = context.sync_now.notified() => {}
            Some(ended) = looks.tasks.join_next() => {
                looks.note(ended);
                continue;
            }
            _ = tick.tick() => {}
        }
        looks.begin(&context);
    }
}

/// The looks under way, and what is known of each location by its uid.
#[derive(Default)]
struct Looks {
    tasks: JoinSet<(String, Known)>,
    under_way: HashMap<tokio::task::Id, String>,
    known: HashMap<String, Known>,
}

impl Looks {
    fn begin(&mut self, context: &Context) {
        let mut locations = context.locations.get().to_vec();
        locations.sort_by_key(|location| !location.spec.default);
        let uid =
            |location: &BackupStorageLocation| location.metadata.uid.clone().unwrap_or_default();
        let there: BTreeSet<String> = locations.iter().map(uid).collect();
        self.known.retain(|uid, _| there.contains(uid));
        for location in locations {
            let uid = uid(&location);
            if self.under_way.values().any(|other| *other == uid) {
                continue;
            }
            let known = self.known.entry(uid.clone()).or_default();
            let period = context.settings.backup_sync_period;
            let Some(look) = look(&location, period, known, context.now()) else {
                continue;
            };
            let (context, known) = (context.clone(), std::mem::take(known));
            let of = uid.clone();
            let task = self
                .tasks
                .spawn(async move { (of, looked(&context, &location, look, known).await) });
            self.under_way.insert(task.id(), uid);
        }
    }

    fn note(&mut self, ended: Result<(String, Known), tokio::task::JoinError>) {
        match ended {
            Ok((uid, known)) => {
                self.under_way.retain(|_, other| *other != uid);
                self.known.insert(uid, known);
            }
            Err(error) => {
                self.under_way.remove(&error.id());
                if let Ok(panic) = error.try_into_panic() {
                    tracing::error!("synchronisation panicked: {}", panic_text(panic.as_ref()));
                }
            }
        }
    }
}

/// One look, with its failure.
async fn looked(
    context: &Context,
    location: &BackupStorageLocation,
    look: Look,
    mut known: Known,
) -> Known {
    let name = location.metadata.name.clone().unwrap_or_default();
    known.looked = Some(context.now());
    match sync(context, location, &name, look, &mut known).await {
        Ok(()) => known.failures = 0,
        Err(error) => {
            known.failures = known.failures.saturating_add(1);
            tracing::warn!(
                location = name,
                error = format!("{error:#}"),
                "the location could not be looked into"
            );
        }
    }
    known
}

async fn sync(
    context: &Context,
    location: &BackupStorageLocation,
    name: &str,
    look: Look,
    known: &mut Known,
) -> anyhow::Result<()> {
    let store = open(context, location, known).await?;
    if !context.cluster_id.is_empty() && is_to_mark(location, known, context.now()) {
        leave_mark(context, &store, name, known).await;
    }
    let in_store: BTreeSet<String> = store.list_backups().await?.into_iter().collect();
    let same = look == Look::Keys && in_store == known.names;
    if same && known.pending.is_empty() {
        return Ok(());
    }
    let (unknown, in_cluster) = if same {
        (std::mem::take(&mut known.pending), Vec::new())
    } else {
        let in_cluster: Vec<Backup> = context.objects.list().await?;
        context.metrics.set_backups(in_cluster.len());
        let now = context.now().as_second();
        context
            .metrics
            .set_successes(&last_successes(&in_cluster), now);
        let there: BTreeSet<&str> = in_cluster
            .iter()
            .filter_map(|backup| backup.metadata.name.as_deref())
            .collect();
        let unknown = in_store
            .iter()
            .filter(|backup| !there.contains(backup.as_str()));
        (unknown.cloned().collect(), in_cluster)
    };
    let news = import_all(context, &store, name, &unknown).await?;
    known.pending = news.pending;
    if news.imported {
        context.gc_now.notify_one();
    }
    let gone = remove_orphans(context, &store, name, &in_cluster, &in_store).await;
    if !same {
        known.names = in_store;
        known.compared = Some(context.now());
    }
    if same && !news.imported && !gone {
        return Ok(());
    }
    let mut synced = location.clone();
    synced.status.last_synced_time = stamp(context.now());
    context
        .objects
        .patch(location, &synced, Lock::SameObject)
        .await?;
    Ok(())
}

/// The store, opened anew each minute and after a failure: its credentials may be others by then.
async fn open(
    context: &Context,
    location: &BackupStorageLocation,
    known: &mut Known,
) -> Result<BackupStore, StoreError> {
    let now = context.now();
    if let Some(store) = known.opened(location, now) {
        return Ok(store);
    }
    let store = stores::open(&context.objects, location).await?;
    known.store = Some(Opened {
        store: store.clone(),
        spec: location.spec.clone(),
        at: now,
    });
    Ok(store)
}

/// Says in a store that this cluster writes to it.
async fn leave_mark(context: &Context, store: &BackupStore, location: &str, known: &mut Known) {
    let mark = ClusterMark {
        cluster: context.cluster_id.to_string(),
        seen: context.now(),
    };
    match store.mark_cluster(&mark).await {
        Ok(()) => known.marked = Some(mark.seen),
        Err(error) => tracing::debug!(
            location,
            error = velero_core::result::chain(&error),
            "this cluster could not leave its mark"
        ),
    }
}

/// What has come of the backups that only a store has.
#[derive(Default)]
struct News {
    imported: bool,
    /// Those that are not finished.
    pending: BTreeSet<String>,
}

async fn import_all(
    context: &Context,
    store: &BackupStore,
    location: &str,
    unknown: &BTreeSet<String>,
) -> Result<News, ApiError> {
    let mut news = News::default();
    if unknown.is_empty() {
        return Ok(news);
    }
    let schedules: Vec<Schedule> = context.objects.list().await?;
    let imports = unknown.iter().cloned().map(|backup| {
        let schedules = &schedules;
        async move {
            if context.stopping.is_cancelled() {
                return (backup, Ok(Imported::Not));
            }
            let outcome = import_one(context, store, &backup, location, schedules).await;
            (backup, outcome)
        }
    });
    let mut imports = futures::stream::iter(imports).buffer_unordered(AT_ONCE);
    while let Some((backup, outcome)) = imports.next().await {
        match outcome {
            Ok(Imported::Now) => news.imported = true,
            Ok(Imported::Not) => {}
            Ok(Imported::Later) => drop(news.pending.insert(backup)),
            Err(error) => tracing::warn!(
                location,
                backup,
                error = format!("{error:#}"),
                "the backup could not be imported"
            ),
        }
    }
    Ok(news)
}

/// Removes the resources of backups that the store no longer has; whether there were any.
async fn remove_orphans(
    context: &Context,
    store: &BackupStore,
    location: &str,
    in_cluster: &[Backup],
    in_store: &BTreeSet<String>,
) -> bool {
    let mut removed = false;
    for orphan in orphans(in_cluster, location, in_store) {
        let backup = orphan.metadata.name.as_deref().unwrap_or_default();
        // Lists can be old.
        match store.backup_exists(backup).await {
            Ok(false) => {}
            Ok(true) => continue,
            Err(error) => {
                tracing::warn!(
                    location,
                    backup,
                    error = velero_core::result::chain(&error),
                    "the backup is not listed in the store any more"
                );
                continue;
            }
        }
        match context.objects.delete(orphan).await {
            Ok(()) => {
                removed = true;
                tracing::info!(
                    location,
                    backup,
                    "the store no longer has the backup: removed"
                );
            }
            Err(error) => {
                tracing::warn!(location, backup, %error, "the backup is not in the store any more");
            }
        }
    }
    removed
}

/// What has come of one backup that only a store has.
enum Imported {
    Now,
    /// It is not finished.
    Later,
    /// The cluster has another one of that name by now.
    Not,
}

async fn import_one(
    context: &Context,
    store: &BackupStore,
    name: &str,
    location: &str,
    schedules: &[Schedule],
) -> anyhow::Result<Imported> {
    let bytes = match store.get_metadata(name).await {
        Ok(bytes) => bytes,
        // A folder without metadata is no backup: one that is being written, or what is left of one.
        Err(error) if error.is_not_found() => return Ok(Imported::Later),
        Err(error) => return Err(error.into()),
    };
    let metadata = Document::<Backup>::parse(&bytes)?;
    anyhow::ensure!(
        metadata.get().metadata.name.as_deref() == Some(name),
        "its metadata is that of backup {:?}",
        metadata.get().metadata.name.as_deref().unwrap_or_default(),
    );
    let Import::Create { phase } = import(metadata.get(), context.now()) else {
        return Ok(Imported::Later);
    };
    let object = backup_object(
        &metadata,
        phase,
        context.objects.namespace(),
        location,
        schedules,
    );
    let created: Backup = match context.objects.create(&object).await {
        Ok(created) => created,
        Err(error) if error.is_conflict() => return Ok(Imported::Not),
        Err(error) => return Err(error.into()),
    };
    tracing::info!(location, backup = name, "found in the store: imported");
    let volumes: Vec<Value> = store
        .get_list(&BackupFile::PodVolumeBackups.of(name))
        .await?;
    for entry in &volumes {
        let Some(object) =
            pod_volume_object(entry, &created, context.objects.namespace(), location)
        else {
            continue;
        };
        match context.objects.create::<PodVolumeBackup>(&object).await {
            Ok(_) => {}
            Err(error) if error.is_conflict() => {}
            Err(error) => {
                tracing::warn!(backup = name, %error, "a pod volume backup could not be imported")
            }
        }
    }
    Ok(Imported::Now)
}
