//! The data of volumes: what is done for each, by whom, and why not.
//!
//! The rules are pure ([`decide`]); [`Volumes`] applies them to the items of a run as these go by and drives what was
//! plugged into the engine. It keeps a small record for each claim and PersistentVolume.

mod decide;
mod facts;
mod gate;
mod info;
mod observe;
mod pods;
mod run;
mod snapshots;
mod tracker;
mod zone;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use velero_core::Timestamp;
use velero_core::action::ActionError;
use velero_core::api::{Backup, PodVolumeBackup};
use velero_core::artifact::PvInfo;
use velero_core::policy::{ResourcePolicies, VolumeActionKind};
use velero_core::result::Record;
use velero_core::volume::{NativeSnapshot, PodVolumeBackups, VolumeSnapshotter};

use crate::guard::{answer, caught};
use crate::invoke::Clock;
use crate::prepared::Prepared;
use decide::Rules;
use facts::{Claim, ClaimKey};
use tracker::SkipTracker;

pub(crate) use gate::Bars;
pub(crate) use info::VolumeOutcome;
pub(crate) use run::concerns;

/// What takes volume data into a backup, as far as it was plugged into the engine.
#[derive(Clone, Default)]
pub(crate) struct VolumePlugs {
    /// In the order in which they are asked.
    pub(crate) snapshotters: Vec<Arc<dyn VolumeSnapshotter>>,
    pub(crate) pod_volumes: Option<Arc<dyn PodVolumeBackups>>,
}

impl VolumePlugs {
    fn any(&self) -> bool {
        !self.snapshotters.is_empty() || self.pod_volumes.is_some()
    }
}

impl fmt::Debug for VolumePlugs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = |snapshotter: &Arc<dyn VolumeSnapshotter>| {
            caught(|| snapshotter.location().to_owned()).unwrap_or_default()
        };
        let locations: Vec<String> = self.snapshotters.iter().map(location).collect();
        f.debug_struct("VolumePlugs")
            .field("snapshotters", &locations)
            .field("pod_volumes", &self.pod_volumes.is_some())
            .finish()
    }
}

/// What one run works with.
#[derive(Clone, Default)]
pub(crate) struct VolumeSettings {
    pub(crate) plugs: VolumePlugs,
    /// Whether claims are among the kinds that are backed up.
    pub(crate) claims_included: bool,
    /// Whether an action takes the snapshots of CSI volumes.
    pub(crate) csi: bool,
    /// When all copies of files must have ended, and what tells the time; without them that is at once.
    pub(crate) copies_until: Option<(Timestamp, Clock)>,
    /// Longest time for one call of what was plugged in.
    pub(crate) call_timeout: Duration,
    /// Snapshots that are taken at the same time.
    pub(crate) concurrency: usize,
}

/// The volumes of a run.
#[derive(Default)]
pub(crate) struct Volumes {
    backup: Arc<Backup>,
    settings: VolumeSettings,
    rules: Rules,
    claims: BTreeMap<ClaimKey, ClaimState>,
    volumes: BTreeMap<String, VolumeState>,
    /// Claims that pods will have copied, where actions need to know beforehand.
    foreseen: BTreeSet<ClaimKey>,
    tracker: SkipTracker,
    snapshots: Vec<NativeSnapshot>,
    copies: Vec<Copy>,
}

/// A claim that was seen.
#[derive(Debug, Default)]
struct ClaimState {
    claim: Claim,
    policy: Option<VolumeActionKind>,
    /// Whether its PersistentVolume is a hostPath volume.
    host_path: bool,
    /// Whether a pod chose it for a copy of its files that can be made.
    chosen: bool,
    /// Whether that copy was begun.
    begun: bool,
}

/// A PersistentVolume that was seen.
#[derive(Debug)]
struct VolumeState {
    claim: Option<ClaimKey>,
    info: PvInfo,
}

/// A copy of the files of a pod's volume.
#[derive(Debug)]
struct Copy {
    claim: Option<ClaimKey>,
    resource: PodVolumeBackup,
    waited: bool,
}

impl Volumes {
    pub(crate) fn new(
        backup: Arc<Backup>,
        policies: Option<&ResourcePolicies>,
        settings: VolumeSettings,
    ) -> Self {
        Self {
            rules: Rules::new(&backup, policies, settings.claims_included, settings.csi),
            backup,
            settings,
            ..Self::default()
        }
    }

    /// Does what is to be done for the volumes of some items that are about to be stored: a block of pods with their
    /// claims and PersistentVolumes, or any other items.
    ///
    /// Copies of files are begun and not waited for. Gives a record for what goes wrong.
    pub(crate) async fn protect(&mut self, items: &[&Prepared]) -> Vec<Record> {
        let mut records = Vec::new();
        let group = self.observe(items);
        let chosen = self.choose(&group, &mut records);
        self.snapshot(&group, &mut records).await;
        self.copy(&group, chosen, &mut records).await;
        if !self.settings.plugs.any() && !self.rules.has_policies() {
            // Nothing that is decided later depends on claims.
            self.claims.clear();
        }
        records
    }

    /// Calls what was plugged in, under the deadline; a panic and a late answer are errors too.
    async fn call<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, ActionError>> + Send + 'static,
    ) -> Result<T, String> {
        answer(self.settings.call_timeout, call).await
    }
}

#[cfg(test)]
mod tests;
