//! What all controllers of one server share.

use std::sync::Arc;
use std::time::Duration;

use jiff::{Timestamp, ToSpan as _};
use tokio::sync::Notify;
use velero_cluster::Cluster;
use velero_core::CancellationToken;
use velero_core::api::{Time, VeleroKind};

use super::backup::Leftovers;
use super::controllers::Controller;
use super::download::Gateway;
use super::location::SeenLocations;
use super::metrics::Metrics;
use super::objects::{ApiError, Lock, Objects};
use super::settings::Settings;
use super::spare::Spares;
use super::tracker::Tracker;
use crate::logfile::RunLogs;
use crate::runs::cluster_identity;

/// What all controllers of one server share. A cheap clone.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) objects: Objects,
    pub(super) cluster: Cluster,
    pub(super) settings: Arc<Settings>,
    pub(super) metrics: Metrics,
    pub(super) logs: RunLogs,
    pub(super) tracker: Tracker,
    /// Failed backups of which something may lie in a store that is to be tidied up.
    pub(super) leftovers: Leftovers,
    /// The cluster; empty where that is not known.
    pub(super) cluster_id: Arc<str>,
    /// Tells this server from others that work on the same resources.
    pub(super) writer: Arc<str>,
    /// Set when the server stops: nothing new is begun.
    pub(super) stopping: CancellationToken,
    pub(super) locations: SeenLocations,
    /// Passes files of stores on to those who cannot reach them.
    pub(super) gateway: Gateway,
    /// What stores did not take of restores.
    pub(super) spares: Spares,
    /// A location has become available: look into it.
    pub(super) sync_now: Arc<Notify>,
    /// Backups have come out of a store that may have expired: look at them.
    pub(super) gc_now: Arc<Notify>,
    /// A run has ended, or left the queue: others may begin.
    pub(super) backup_slot: Arc<Notify>,
    /// A restore has ended: others may begin.
    pub(super) restore_slot: Arc<Notify>,
}

/// What a server has before it acts.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) settings: Arc<Settings>,
    pub(super) metrics: Metrics,
    pub(super) logs: RunLogs,
    pub(super) tracker: Tracker,
    pub(super) stopping: CancellationToken,
}

/// Pauses between tries of a write that must not be lost: from here, doubled up to the second.
pub(super) const RETRY_PAUSES: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(15));

impl Context {
    pub(super) async fn new(parts: Parts, objects: Objects, cluster: Cluster) -> Self {
        Self {
            cluster_id: cluster_identity(&cluster).await.into(),
            objects,
            cluster,
            settings: parts.settings,
            metrics: parts.metrics,
            logs: parts.logs,
            tracker: parts.tracker,
            leftovers: Leftovers::default(),
            writer: uuid::Uuid::new_v4().to_string().into(),
            stopping: parts.stopping,
            locations: SeenLocations::default(),
            gateway: Gateway::default(),
            spares: Spares::default(),
            sync_now: Arc::default(),
            gc_now: Arc::default(),
            backup_slot: Arc::default(),
            restore_slot: Arc::default(),
        }
    }

    /// Whether no other server of the namespace acts: whatever one has left is nobody's.
    pub(super) fn is_alone(&self) -> bool {
        self.objects.fence().excludes_others()
    }

    /// Whether a controller is on.
    pub(super) fn runs(&self, controller: Controller) -> bool {
        !self.settings.disabled.contains(&controller)
    }

    /// Whether one of some controllers is on.
    pub(super) fn runs_any<const N: usize>(&self, controllers: [Controller; N]) -> bool {
        controllers
            .into_iter()
            .any(|controller| self.runs(controller))
    }

    /// The time, in whole seconds as custom resources hold it.
    pub(super) fn now(&self) -> Timestamp {
        whole_seconds((self.settings.clock)())
    }

    /// Writes the fields that differ between two states, again and again until the server takes them, it refuses for
    /// good, or the resource timeout has passed. While the server stops, its grace is the limit.
    pub(super) async fn patch_surely<K: VeleroKind>(
        &self,
        old: &K,
        new: &K,
    ) -> Result<K, ApiError> {
        let deadline = tokio::time::Instant::now() + self.settings.resource_timeout;
        let mut pause = RETRY_PAUSES.0;
        loop {
            let error = match self.objects.patch(old, new, Lock::SameObject).await {
                Ok(written) => return Ok(written),
                Err(error) => error,
            };
            if !error.is_retryable() || tokio::time::Instant::now() + pause > deadline {
                return Err(error);
            }
            tracing::warn!(%error, "will try again in {} ms", pause.as_millis());
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_PAUSES.1);
        }
    }
}

/// Cuts off what custom resources cannot hold.
pub(super) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// A later time; the end of time when there is none.
pub(super) fn after(time: Timestamp, nanos: i64) -> Timestamp {
    time.checked_add(nanos.nanoseconds())
        .unwrap_or(Timestamp::MAX)
}

/// How long from `now` until `due`, zero when that has passed.
pub(super) fn until(due: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(due.duration_since(now)).unwrap_or_default()
}

/// A time as custom resources hold it.
pub(super) fn stamp(time: Timestamp) -> Option<Time> {
    Some(Time(time))
}
