//! Volumes and claims on their way into the cluster: what the cluster has of them already, and volumes that are made of
//! snapshots. The table is in `crate::volumes`.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;
use velero_core::artifact::RestoreVolumeInfo;
use velero_core::names::annotations;
use velero_core::result::chain;
use velero_core::volume::{NativeSnapshot, SnapshotRestorer};
use velero_core::{GroupResource, ItemTree, RawItem};

use super::going::place;
use super::item::Work;
use super::run::Run;
use crate::result::ItemAction;
use crate::volumes::{
    ClaimVolume, Decision, Loss, VolumeFate, clone_name, decide, has_own_source, of_snapshot,
    prepare_claim, prepare_volume, rename,
};

/// What makes volumes of snapshots, by the location that it reads.
#[derive(Clone, Default)]
pub(crate) struct Restorers {
    locations: Vec<String>,
    all: Vec<Arc<dyn SnapshotRestorer>>,
}

impl fmt::Debug for Restorers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.locations).finish()
    }
}

impl Restorers {
    pub(crate) fn add(&mut self, restorer: Arc<dyn SnapshotRestorer>) {
        self.locations.push(restorer.location().to_owned());
        self.all.push(restorer);
    }

    fn of(&self, location: &str) -> Option<&Arc<dyn SnapshotRestorer>> {
        let at = self.locations.iter().position(|l| l == location)?;
        self.all.get(at)
    }
}

/// The volumes of a run whose objects are not created under their own names.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    restorers: Restorers,
    turned: Mutex<HashMap<String, ClaimVolume>>,
    /// Those that were made of snapshots.
    made: Mutex<Vec<RestoreVolumeInfo>>,
}

impl Volumes {
    pub(super) fn new(restorers: Restorers) -> Self {
        Self {
            restorers,
            ..Self::default()
        }
    }

    fn turn(&self, volume: &str, into: ClaimVolume) {
        let mut turned = self.turned.lock().unwrap_or_else(PoisonError::into_inner);
        turned.insert(volume.to_owned(), into);
    }

    fn note(&self, made: RestoreVolumeInfo) {
        let mut all = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(made);
    }

    /// What is to be told of volumes whose data came back.
    pub(super) fn into_told(self) -> Vec<RestoreVolumeInfo> {
        self.made
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn turned(&self, volume: &str) -> Option<ClaimVolume> {
        let turned = self.turned.lock().unwrap_or_else(PoisonError::into_inner);
        turned.get(volume).cloned()
    }
}

/// How a volume of the cluster stands, whose name a volume of the archive has.
enum Standing {
    /// There is none.
    Absent,
    /// It is in use, or free to be used.
    Live,
    /// This restore has made it.
    Ours,
    /// It goes, or what it belongs to does; the text says what is waited for.
    Going(String),
}

impl Run {
    /// What becomes of a volume; `claim` is the one that it is bound to, in the archive.
    fn decide_volume(&self, volume: &str, claim: Option<(&str, &str)>) -> Decision {
        let known = self.request.known_volumes();
        let locations = &self.volumes.restorers.locations;
        let wants_data = self.request.restores_volumes();
        let archive = (&self.index, self.request.backup_label());
        decide((volume, claim), archive, known, locations, wants_data)
    }

    /// Prepares a PersistentVolume; `None` when it is not created, or not now.
    pub(super) async fn settle_volume(
        self: &Arc<Self>,
        work: &mut Work<'_>,
        mut item: ItemTree,
    ) -> Option<ItemTree> {
        if item.name().is_empty() {
            work.fail("cannot be restored: the volume has no name");
            return None;
        }
        let text = |at: &str| item.str_at(at).to_owned();
        let (namespace, name) = (
            text("/spec/claimRef/namespace"),
            text("/spec/claimRef/name"),
        );
        let claim = (!name.is_empty()).then_some((namespace.as_str(), name.as_str()));
        let decision = self.decide_volume(work.item.name, claim);
        if decision.fate == VolumeFate::Provision {
            work.skip("a claim that the restore creates gets a new volume, one that the cluster has keeps its own");
            return None;
        }
        work.remade = prepare_volume(&mut item, &self.request);
        let mapping = &self.request.spec().namespace_mapping;
        let mapped = claim.is_some_and(|(namespace, _)| mapping.contains_key(namespace));
        match decision.fate {
            VolumeFate::FromSnapshot => self.from_snapshot(work, item, mapped).await,
            _ if decision.native && mapped => self.same_disk(work, item).await,
            _ => Some(item),
        }
    }

    /// A volume as it was, whose claim comes to another namespace: two objects must not stand for one disk.
    async fn same_disk(&self, work: &mut Work<'_>, item: ItemTree) -> Option<ItemTree> {
        match self
            .live(work, "persistentvolumes", "", work.item.name)
            .await
        {
            Ok(None) => Some(item),
            Ok(Some(_)) => {
                self.volumes.turn(work.item.name, ClaimVolume::New);
                work.warn("not restored: the volume of this name in the cluster may stand for the same disk; the claim gets a new, empty one");
                None
            }
            Err(message) => {
                work.fail(message);
                None
            }
        }
    }

    /// Makes a volume of the snapshot, unless one of the name is there that is in use.
    async fn from_snapshot(
        self: &Arc<Self>,
        work: &mut Work<'_>,
        item: ItemTree,
        mapped: bool,
    ) -> Option<ItemTree> {
        let old = work.item.name;
        let mut new = None;
        let found = match mapped {
            true => self.live(work, "persistentvolumes", "", old).await,
            false => Ok(None),
        };
        let standing = match found {
            Ok(Some(_)) => {
                let name = clone_name(old, &self.request);
                let standing = self.await_volume(work, &name).await;
                new = Some(name);
                standing
            }
            Ok(None) => self.await_volume(work, old).await,
            Err(message) => Err(message),
        };
        match standing {
            Err(message) => work.fail(message),
            Ok(Standing::Absent) => return self.make_volume(work, item, new).await,
            Ok(Standing::Ours) => {
                match self.ledger.resumes() {
                    true => work.set(ItemAction::Created),
                    false => work.keep("this restore has made it before"),
                }
                if let Some(name) = new {
                    self.volumes.turn(old, ClaimVolume::Renamed(name.clone()));
                    work.name = Some(name);
                }
            }
            Ok(Standing::Live) if new.is_none() => return Some(item),
            Ok(Standing::Live) => work.fail("not restored: the name of its copy is taken"),
            // It is put off.
            Ok(Standing::Going(_)) => {}
        }
        None
    }

    /// Looks at the volume of a name until it neither goes nor belongs to what goes. Gives `Going` for an item that is
    /// put off.
    async fn await_volume(&self, work: &mut Work<'_>, name: &str) -> Result<Standing, String> {
        let deadline = Instant::now() + self.options.terminating_timeout;
        let mut told = false;
        loop {
            let what = match self.stands(work, name).await? {
                Standing::Going(what) => what,
                other => return Ok(other),
            };
            if work.may_put_off() {
                work.delay.put_off();
                return Ok(Standing::Going(what));
            }
            if let Some(rehearsal) = &self.rehearsal {
                let limit = rehearsal.waits_for();
                return Err(format!(
                    "volume {name} has to be gone first, as {what}; a restore waits for up to {limit}s"
                ));
            }
            let limit = self.options.terminating_timeout.as_secs_f64();
            if !told {
                self.tell_wait(&format!(
                    "volume {name} to be gone, as {what}, for up to {limit}s"
                ));
                told = true;
            }
            if !self.pause(deadline, self.options.poll_interval).await {
                return Err(match self.is_cancelled() {
                    true => "cancelled while the volume in the cluster was waited for".to_owned(),
                    false => format!(
                        "not restored: the volume in the cluster is not gone after {limit}s, although {what}"
                    ),
                });
            }
        }
    }

    /// How the volume of a name stands. Mirrors `shouldRestore` in upstream's `pkg/restore/restore.go`.
    async fn stands(&self, work: &Work<'_>, name: &str) -> Result<Standing, String> {
        let Some(live) = self.live(work, "persistentvolumes", "", name).await? else {
            return Ok(Standing::Absent);
        };
        if live.head().deleting {
            return Ok(Standing::Going("it is being deleted".to_owned()));
        }
        let tree = live.tree().map_err(|e| chain(&e))?;
        if self.is_made_now(&live)
            || (self.ledger.resumes() && self.ledger.has_made(&self.request, &tree))
        {
            return Ok(Standing::Ours);
        }
        if tree.str_at("/status/phase") == "Released" {
            let policy = tree.str_at("/spec/persistentVolumeReclaimPolicy");
            return Ok(Standing::Going(format!(
                "its claim is gone (its reclaim policy is {policy:?})"
            )));
        }
        let namespace = tree.str_at("/spec/claimRef/namespace");
        let claim = tree.str_at("/spec/claimRef/name");
        if claim.is_empty() {
            return Ok(Standing::Live);
        }
        for (resource, namespace, name) in [
            ("persistentvolumeclaims", namespace, claim),
            ("namespaces", "", namespace),
        ] {
            let what = match resource {
                "namespaces" => "its claim's namespace",
                _ => "its claim",
            };
            match self.live(work, resource, namespace, name).await? {
                None => {
                    return Ok(Standing::Going(format!(
                        "{what} {} is gone",
                        place(namespace, name)
                    )));
                }
                Some(found) if found.head().deleting || found.head().phase == "Terminating" => {
                    return Ok(Standing::Going(format!(
                        "{what} {} is being deleted",
                        place(namespace, name)
                    )));
                }
                Some(_) => {}
            }
        }
        Ok(Standing::Live)
    }

    async fn live(
        &self,
        work: &Work<'_>,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<RawItem>, String> {
        let resource = GroupResource::core(resource);
        let served = work.stage.catalog.get(&resource);
        let served = served.ok_or_else(|| format!("the cluster does not serve {resource}"))?;
        let found = self.cluster.get(served, namespace, name).await;
        found.map_err(|e| chain(&e))
    }

    /// Makes a volume of the snapshot of a PersistentVolume, and the object stand for it.
    async fn make_volume(
        self: &Arc<Self>,
        work: &mut Work<'_>,
        item: ItemTree,
        new: Option<String>,
    ) -> Option<ItemTree> {
        let old = work.item.name;
        let record = self.request.known_volumes().snapshot(old)?.clone();
        let restorer = self.volumes.restorers.of(&record.spec.location)?;
        // From here on a second try would make a second volume.
        work.delay.rule_out();
        work.remade = true;
        let made = match self.rehearsal {
            Some(_) => {
                let snapshot = &record.status.provider_snapshot_id;
                work.draft
                    .subject_to
                    .push(format!("the volume made of snapshot {snapshot}"));
                Ok(item)
            }
            None => {
                let made = self.disk_of(Arc::clone(restorer), record.clone(), item);
                made.await
            }
        };
        let mut item = match made {
            Ok(item) => item,
            Err(message) => {
                work.fail(message);
                return None;
            }
        };
        let given = item.name().to_owned();
        // A name that the storage system's driver has given counts for more.
        let name = new.filter(|_| given == old).unwrap_or(given);
        if name != old {
            rename(&mut item, old, &name);
            self.volumes.turn(old, ClaimVolume::Renamed(name));
        }
        if self.rehearsal.is_none() {
            self.volumes.note(of_snapshot(&item, &record));
        }
        Some(item)
    }

    async fn disk_of(
        self: &Arc<Self>,
        restorer: Arc<dyn SnapshotRestorer>,
        record: NativeSnapshot,
        item: ItemTree,
    ) -> Result<ItemTree, String> {
        let snapshot = record.status.provider_snapshot_id.clone();
        let location = record.spec.location.clone();
        let (first, second) = (Arc::clone(&restorer), restorer);
        let old = item.name().to_owned();
        // An earlier attempt may have made it, and not the object that stands for it.
        let id = match self.ledger.volume(&old) {
            Some(id) => id,
            None => {
                let made = self.guard(async move {
                    let made = first.create_volume(&record).await;
                    made.map_err(|e| chain(&e))
                });
                let id = made.await.map_err(|reason| {
                    format!("no volume could be made of snapshot {snapshot:?} in location {location:?}: {reason}")
                })?;
                self.ledger.note_volume(&old, &id).await;
                id
            }
        };
        let volume = id.clone();
        let set = self.guard(async move {
            let set = second.set_volume_id(item, &volume).await;
            set.map_err(|e| chain(&e))
        });
        set.await.map_err(|reason| {
            format!("volume {id:?} was made of snapshot {snapshot:?} in location {location:?}, and the object cannot be made to stand for it: {reason}")
        })
    }

    /// Frees a claim of its binding and lets it follow its volume; gives what it does not get back.
    pub(super) fn settle_claim(&self, work: &mut Work<'_>, item: &mut ItemTree) -> Option<Loss> {
        if !work.item.resource.is("", "persistentvolumeclaims") {
            return None;
        }
        let archived = work.archived()?;
        let volume = archived.str_at("/spec/volumeName");
        if volume.is_empty() {
            return None;
        }
        let brought = has_own_source(item, &archived);
        let claim = (work.item.namespace, work.item.name);
        let decision = self.decide_volume(volume, Some(claim));
        let follows = self.volumes.turned(volume).unwrap_or(match decision.fate {
            VolumeFate::Provision => ClaimVolume::New,
            _ => ClaimVolume::Same,
        });
        prepare_claim(item, &follows);
        decision.loss.filter(|_| !brought)
    }

    /// The volume that a claim names which comes to another namespace than it had.
    pub(super) fn volume_of_moved(&self, work: &Work<'_>, item: &ItemTree) -> Option<String> {
        let moved = work.item.resource.is("", "persistentvolumeclaims")
            && work.item.namespace != work.namespace;
        let volume = item.str_at("/spec/volumeName");
        (moved && !volume.is_empty()).then(|| volume.to_owned())
    }

    /// Warns of a claim whose volume another claim has in the cluster: it stays Pending.
    pub(super) async fn warn_of_taken_volume(&self, work: &mut Work<'_>, volume: &str) {
        let name = work.name.clone();
        let name = name.as_deref().unwrap_or(work.item.name).to_owned();
        let live = match self.live(work, "persistentvolumes", "", volume).await {
            Ok(Some(live)) => live.tree().map_err(|e| chain(&e)),
            Ok(None) => return,
            Err(message) => Err(message),
        };
        let live = match live {
            Ok(live) => live,
            Err(message) => {
                return work.warn(format!(
                    "whether its volume {volume} is free could not be looked at: {message}"
                ));
            }
        };
        let holder = live.str_at("/spec/claimRef/name");
        let space = live.str_at("/spec/claimRef/namespace");
        if !holder.is_empty() && (space, holder) != (work.namespace, name.as_str()) {
            let holder = place(space, holder);
            work.warn(format!(
                "it stays Pending: its volume {volume} belongs to claim {holder} in the cluster"
            ));
        }
    }

    /// Records what a created claim or pod does not get back.
    pub(super) fn record_lost_data(&self, work: &mut Work<'_>, lost: Option<Loss>) {
        if let Some(loss) = lost {
            work.fail(loss);
        }
        if !work.item.resource.is("", "pods") || !self.request.restores_volumes() {
            return;
        }
        let known = self.request.known_volumes();
        if let Some(method) = known.pod_files(work.item.namespace, work.item.name) {
            return work.fail(format!("volumes of the pod have lost their data: it was backed up by {method}, which this version cannot restore"));
        }
        let archived = work.archived();
        let told = archived.map(|pod| pod.annotations()).unwrap_or_default();
        let named: Vec<&str> = told
            .keys()
            .filter_map(|key| key.strip_prefix(annotations::POD_VOLUME_SNAPSHOT_PREFIX))
            .collect();
        if !named.is_empty() {
            work.fail(format!("volumes {} of the pod have lost their data: it was backed up by restic, which this version cannot restore", named.join(", ")));
        }
    }
}
