//! Copies of the files of pods.

use std::sync::Arc;
use std::time::Duration;

use velero_core::ItemTree;
use velero_core::api::{DataMovePhase, PodVolumeBackup};
use velero_core::names::annotations::VOLUMES_TO_BACKUP;
use velero_core::result::{Record, Severity};
use velero_core::volume::{PodVolume, PodVolumeBackups};

use super::decide::{FsDecision, names};
use super::facts::ClaimKey;
use super::observe::Group;
use super::tracker::Approach;
use super::{Copy, Volumes};
use crate::guard::guarded;
use crate::pod_facts::{PodFacts, PodVolume as Volume};

/// A volume of a pod of the group, chosen for a copy of its files: places of the pod and the volume.
pub(super) type Chosen = (usize, usize);

impl Volumes {
    /// Decides for each volume of the pods whether its files are copied, and notes why not.
    pub(super) fn choose(&mut self, group: &Group<'_>, records: &mut Vec<Record>) -> Vec<Chosen> {
        let mut chosen = Vec::new();
        for (at, (pod, _)) in group.pods.iter().enumerate() {
            if !self.rules.copies_by_default() {
                unknown_names(pod, records);
            }
            let mut wanted = Vec::new();
            for (place, volume) in pod.volumes.iter().enumerate() {
                let state = volume.claim.as_ref().and_then(|key| self.claims.get(key));
                let policy = state.and_then(|state| state.policy);
                match self.rules.copy(pod, volume, policy) {
                    FsDecision::Copy => wanted.push(place),
                    FsDecision::Policy(_) | FsDecision::Never | FsDecision::OptedOut => {
                        self.opted_out(pod, volume);
                    }
                }
            }
            for place in wanted {
                let volume = &pod.volumes[place];
                match self.obstacle(pod, volume) {
                    None => {
                        if let Some(state) = self.state(volume) {
                            state.chosen = true;
                        }
                        chosen.push((at, place));
                    }
                    Some(reason) => {
                        let message = format!(
                            "the files of volume {:?} are not copied: {reason}",
                            volume.name
                        );
                        // As with the peer's node agent: where none is there, what was asked for by name is missing.
                        let severity = match self.settings.plugs.pod_volumes {
                            Some(_) => Severity::Warning,
                            None => Severity::Error,
                        };
                        records.push(about(pod, severity, message));
                        self.not_copied(pod, volume, &reason);
                    }
                }
            }
        }
        chosen
    }

    fn state(&mut self, volume: &Volume) -> Option<&mut super::ClaimState> {
        self.claims.get_mut(volume.claim.as_ref()?)
    }

    fn opted_out(&mut self, pod: &PodFacts, volume: &Volume) {
        let Some(state) = self.state(volume).filter(|state| !state.chosen) else {
            return;
        };
        let name = state.claim.volume_name.clone();
        if !self.tracker.has(&name, Approach::PodVolume) {
            let reason = format!("opted out due to annotation in pod {}", pod.name);
            self.tracker.track(&name, Approach::PodVolume, reason);
        }
    }

    fn not_copied(&mut self, pod: &PodFacts, volume: &Volume, reason: &str) {
        let Some(state) = self.state(volume) else {
            return;
        };
        let name = state.claim.volume_name.clone();
        let reason = format!(
            "volume {} of pod {}/{}: {reason}",
            volume.name, pod.namespace, pod.name
        );
        self.tracker.track(&name, Approach::PodVolume, reason);
    }

    fn obstacle(&self, pod: &PodFacts, volume: &Volume) -> Option<String> {
        if self.settings.plugs.pod_volumes.is_none() {
            return Some("this version cannot make file system backups".to_owned());
        }
        let state = volume.claim.as_ref().and_then(|key| self.claims.get(key));
        let host_path = state.is_some_and(|state| state.host_path);
        pod.copy_obstacle().or_else(|| {
            pod.volume_obstacle(&volume.name, host_path)
                .map(str::to_owned)
        })
    }

    /// Begins the copies. A claim that several pods use is copied once; when that fails, the next pod is tried.
    pub(super) async fn copy(
        &mut self,
        group: &Group<'_>,
        chosen: Vec<Chosen>,
        records: &mut Vec<Record>,
    ) {
        let Some(copier) = self.settings.plugs.pod_volumes.clone() else {
            return;
        };
        for (at, place) in chosen {
            let (pod, item) = &group.pods[at];
            let volume = &pod.volumes[place];
            let state = volume.claim.as_ref().and_then(|key| self.claims.get(key));
            if state.is_some_and(|state| state.begun) {
                continue;
            }
            let uid = state.map_or(String::new(), |state| state.claim.uid.clone());
            let claim = volume.claim.as_ref().map(|(_, name)| (name.clone(), uid));
            let result = match item.original.tree() {
                Ok(tree) => self.create(&copier, tree, volume.name.clone(), claim).await,
                Err(error) => Err(error.to_string()),
            };
            match result {
                Ok(resource) => self.begun(volume.claim.clone(), resource),
                Err(reason) => {
                    let message = format!(
                        "the files of volume {:?} are not copied: {reason}",
                        volume.name
                    );
                    records.push(about(pod, Severity::Error, message));
                    self.not_copied(pod, volume, &reason);
                }
            }
        }
    }

    async fn create(
        &self,
        copier: &Arc<dyn PodVolumeBackups>,
        pod: ItemTree,
        volume: String,
        claim: Option<(String, String)>,
    ) -> Result<PodVolumeBackup, String> {
        let (copier, backup) = (Arc::clone(copier), Arc::clone(&self.backup));
        self.call(async move {
            let volume = PodVolume {
                pod: &pod,
                volume: &volume,
                claim: claim
                    .as_ref()
                    .map(|(name, uid)| (name.as_str(), uid.as_str())),
            };
            copier.create(&backup, volume).await
        })
        .await
    }

    fn begun(&mut self, claim: Option<ClaimKey>, resource: PodVolumeBackup) {
        if let Some(state) = claim.as_ref().and_then(|key| self.claims.get_mut(key)) {
            state.begun = true;
            self.tracker.untrack(&state.claim.volume_name);
        }
        self.copies.push(Copy {
            claim,
            resource,
            waited: false,
        });
    }

    /// How many copies were begun so far.
    pub(crate) fn begun_copies(&self) -> usize {
        self.copies.len()
    }

    /// Waits until the copies that were begun after the first `from` have ended. Gives a record for each that did not
    /// end well.
    pub(crate) async fn wait(&mut self, from: usize) -> Vec<Record> {
        let timeout = self.time_left();
        let mut records = Vec::new();
        let begun: Vec<PodVolumeBackup> = self
            .copies
            .iter()
            .skip(from)
            .filter(|copy| !copy.waited)
            .map(|copy| copy.resource.clone())
            .collect();
        let Some(copier) = self.settings.plugs.pod_volumes.clone() else {
            return records;
        };
        if begun.is_empty() {
            return records;
        }
        // The implementation keeps to the timeout by itself; the second one is for one that does not.
        let grace = timeout.saturating_add(Duration::from_secs(5));
        match guarded(grace, async move { copier.wait(&begun, timeout).await }).await {
            Some(Ok(ended)) => self.ended(ended),
            Some(Err(reason)) => records.push(Record::run(
                Severity::Error,
                format!("the copies of pod volumes cannot be looked at: {reason}"),
            )),
            // Those that have not ended are told of below.
            None => {}
        }
        for copy in self
            .copies
            .iter_mut()
            .skip(from)
            .filter(|copy| !copy.waited)
        {
            copy.waited = true;
            records.extend(outcome(&copy.resource, timeout));
        }
        records
    }

    fn time_left(&self) -> Duration {
        let Some((until, clock)) = &self.settings.copies_until else {
            return Duration::ZERO;
        };
        Duration::try_from(until.duration_since(clock())).unwrap_or_default()
    }

    fn ended(&mut self, ended: Vec<PodVolumeBackup>) {
        for resource in ended {
            let same = |copy: &&mut Copy| {
                let (a, b) = (&copy.resource, &resource);
                a.metadata.name == b.metadata.name
                    && a.spec.pod.namespace == b.spec.pod.namespace
                    && a.spec.pod.name == b.spec.pod.name
                    && a.spec.volume == b.spec.volume
            };
            if let Some(copy) = self.copies.iter_mut().find(same) {
                copy.resource = resource;
            }
        }
    }
}

/// What is wrong with a copy that was waited for.
fn outcome(copy: &PodVolumeBackup, timeout: Duration) -> Option<Record> {
    let what = match copy.phase() {
        DataMovePhase::Completed => return None,
        DataMovePhase::Failed => format!("failed: {}", copy.status.message),
        DataMovePhase::Canceled => format!("was cancelled: {}", copy.status.message),
        phase => format!(
            "has not ended within {} s; it is {phase}",
            timeout.as_secs()
        ),
    };
    let pod = &copy.spec.pod;
    Some(Record::item(
        Severity::Error,
        "pods",
        pod.namespace.as_deref().unwrap_or_default(),
        pod.name.as_deref().unwrap_or_default(),
        format!("the copy of volume {:?} {what}", copy.spec.volume),
    ))
}

/// Tells of names on a pod's annotation that none of its volumes has; often a blank stands beside the comma.
fn unknown_names(pod: &PodFacts, records: &mut Vec<Record>) {
    let unknown = names(pod.opted_in.as_deref())
        .filter(|name| !pod.volumes.iter().any(|volume| volume.name == *name));
    for name in unknown {
        let message = format!(
            "annotation {VOLUMES_TO_BACKUP} names {name:?}, which is no volume of the pod; write names separated by commas, without blanks"
        );
        records.push(about(pod, Severity::Warning, message));
    }
}

fn about(pod: &PodFacts, severity: Severity, message: String) -> Record {
    Record::item(
        severity,
        "pods",
        pod.namespace.as_str(),
        pod.name.as_str(),
        message,
    )
}
