//! Looking at the cluster until the new volumes of all claims are as they should be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use serde_json::Value;
use velero_cluster::{Cluster, Error, ErrorKind, ListOptions, ListScope, PatchKind, WriteOptions};
use velero_core::artifact::{OperationPhase, RestoreItemOperation};
use velero_core::operation::OperationCounts;
use velero_core::result::{Record, Severity, chain};
use velero_core::{ApiResource, GroupResource, ItemTree, Timestamp};

use super::sight::{ClaimSight, ClassSight, Step, VolumeSight, step};
use super::wanted::NewVolume;
use crate::{RestoreEngine, RestoreOptions, RestoreResult, RestoreRun};

/// Objects of a kind that are read one by one; more of them are listed.
const FEW: usize = 8;
/// Volumes that are changed at the same time.
const AT_ONCE: usize = 8;
/// How long a pod is waited for that uses a claim whose storage class waits for one.
const PATIENCE: Duration = Duration::from_secs(10);

/// A claim by namespace and name.
type Claim = (String, String);

/// The new volumes of a restore that have not got the reclaim policy and the labels of those they replace.
///
/// They are waited for as long as [`RestoreOptions::resource_timeout`], all at the same time and from the first look on.
pub struct NewVolumes {
    cluster: Cluster,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    limit: Duration,
    /// When they were first looked at.
    began: Option<Timestamp>,
    left: BTreeMap<Claim, NewVolume>,
}

impl fmt::Debug for NewVolumes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewVolumes")
            .field("left", &self.left.keys())
            .field("began", &self.began)
            .finish_non_exhaustive()
    }
}

impl NewVolumes {
    /// Takes volumes up; `run` tells the time.
    pub fn new(
        cluster: Cluster,
        volumes: Vec<NewVolume>,
        options: &RestoreOptions,
        run: &RestoreRun,
    ) -> Self {
        let by_claim =
            |volume: NewVolume| ((volume.namespace.clone(), volume.claim.clone()), volume);
        Self {
            cluster,
            clock: Arc::clone(&run.clock),
            limit: options.resource_timeout,
            began: None,
            left: volumes.into_iter().map(by_claim).collect(),
        }
    }

    /// How many volumes are left.
    pub fn left(&self) -> usize {
        self.left.len()
    }

    /// How many volumes are left, by the namespace of their claims.
    pub fn waiting(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (namespace, _) in self.left.keys() {
            *counts.entry(namespace.clone()).or_default() += 1;
        }
        counts
    }

    /// Looks at all of them once, and changes those that can be; gives what has gone wrong. Volumes whose time is over
    /// are given up.
    ///
    /// A claim one of whose `operations` has not ended well is not filled: its volume is left alone.
    pub async fn look(&mut self, operations: &[RestoreItemOperation]) -> Vec<Record> {
        let now = (self.clock)();
        let waited = Duration::try_from(now.duration_since(*self.began.get_or_insert(now)));
        let waited = waited.unwrap_or_default();
        self.drop_unfilled(operations);
        let mut records = Vec::new();
        if self.left.is_empty() {
            return records;
        }
        let mut look = Look::new(&self.cluster);
        look.read(&self.left).await;
        let mut patches = Vec::new();
        for (claim, wanted) in &self.left {
            match look.step(claim, wanted, waited < PATIENCE.min(self.limit)) {
                Step::Patch(body) => patches.push((claim.clone(), look.volume_of(claim), body)),
                other => look.steps.push((claim.clone(), other)),
            }
        }
        look.patch(patches).await;
        for (claim, found) in look.steps {
            let (severity, message) = match found {
                Step::Wait(_) if waited < self.limit => continue,
                Step::Wait(what) => (Severity::Error, self.too_late(&claim, &what)),
                Step::Fail(what) => (Severity::Error, what),
                Step::Warn(what) => (Severity::Warning, what),
                Step::Done | Step::Patch(_) => {
                    self.left.remove(&claim);
                    continue;
                }
            };
            records.push(self.end(&claim, severity, &message));
        }
        records
    }

    /// Gives up all that are left, for a reason such as `the restore was cancelled`.
    pub fn give_up(&mut self, reason: &str) -> Vec<Record> {
        let claims: Vec<Claim> = self.left.keys().cloned().collect();
        let mut records = Vec::new();
        for claim in claims {
            let message = format!("its volume was not given {}: {reason}", self.wish(&claim));
            records.push(self.end(&claim, Severity::Error, &message));
        }
        records
    }

    fn drop_unfilled(&mut self, operations: &[RestoreItemOperation]) {
        for operation in operations {
            let item = &operation.spec.resource_identifier;
            let is_filled = operation.status.phase == OperationPhase::Completed;
            if is_filled || !item.group_resource.is("", "persistentvolumeclaims") {
                continue;
            }
            let (namespace, name) = (item.namespace.clone(), item.name.clone());
            if self.left.remove(&(namespace, name)).is_some() {
                tracing::warn!(
                    namespace = item.namespace,
                    name = item.name,
                    operation = operation.spec.operation_id,
                    "the volume of the claim stays as it is, as its operation has not ended well"
                );
            }
        }
    }

    /// What the volume of a claim should have got, in words.
    fn wish(&self, claim: &Claim) -> String {
        let policy = self.left.get(claim).map(|wanted| &wanted.reclaim_policy);
        match policy.filter(|policy| !policy.is_empty()) {
            Some(policy) => {
                format!("reclaim policy {policy:?} and the labels of the one it replaces")
            }
            None => "the labels of the one it replaces".to_owned(),
        }
    }

    fn too_late(&self, claim: &Claim, what: &str) -> String {
        let limit = self.limit.as_secs_f64();
        format!(
            "its volume was not given {} within {limit}s: {what}",
            self.wish(claim)
        )
    }

    fn end(&mut self, claim: &Claim, severity: Severity, message: &str) -> Record {
        self.left.remove(claim);
        let resource = GroupResource::core("persistentvolumeclaims");
        let record = Record::item(severity, resource, &claim.0, &claim.1, message);
        record.log();
        record
    }
}

/// What one look has brought.
struct Look<'a> {
    cluster: &'a Cluster,
    /// `None` is a claim that is gone.
    claims: BTreeMap<Claim, Option<ClaimSight>>,
    volumes: HashMap<String, VolumeSight>,
    classes: HashMap<String, ClassSight>,
    /// Why claims could not be read.
    faults: BTreeMap<Claim, Step>,
    steps: Vec<(Claim, Step)>,
}

impl<'a> Look<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        Self {
            cluster,
            claims: BTreeMap::new(),
            volumes: HashMap::new(),
            classes: HashMap::new(),
            faults: BTreeMap::new(),
            steps: Vec::new(),
        }
    }

    /// Reads the claims, then what decides about them.
    async fn read(&mut self, left: &BTreeMap<Claim, NewVolume>) {
        let mut by_namespace: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (namespace, name) in left.keys() {
            by_namespace.entry(namespace).or_default().insert(name);
        }
        for (namespace, names) in by_namespace {
            let read = objects(
                self.cluster,
                ("", "persistentvolumeclaims"),
                namespace,
                &names,
            );
            let found = match read.await {
                Ok(found) => found,
                Err(error) => {
                    let fault = failed(&error, "the claim cannot be read");
                    let claim =
                        |name: &&str| ((namespace.to_owned(), (*name).to_owned()), fault.clone());
                    self.faults.extend(names.iter().map(claim));
                    continue;
                }
            };
            for name in names {
                let sight = found.get(name).map(ClaimSight::of);
                let claim = (namespace.to_owned(), name.to_owned());
                self.claims.insert(claim, sight);
            }
        }
        self.read_volumes().await;
        self.read_classes().await;
    }

    async fn read_volumes(&mut self) {
        let bound = self
            .claims
            .values()
            .flatten()
            .filter(|claim| claim.is_bound());
        let names: BTreeSet<&str> = bound.map(|claim| claim.volume.as_str()).collect();
        match objects(self.cluster, ("", "persistentvolumes"), "", &names).await {
            Ok(found) => {
                let sights = found
                    .iter()
                    .map(|(name, tree)| (name.clone(), VolumeSight::of(tree)));
                self.volumes = sights.collect();
            }
            Err(error) => self.fail_all(
                ClaimSight::is_bound,
                &failed(&error, "its volume cannot be read"),
            ),
        }
    }

    /// Reads the storage classes of claims that are not bound. One that cannot be read is one that does not wait.
    async fn read_classes(&mut self) {
        let unbound = self
            .claims
            .values()
            .flatten()
            .filter(|claim| !claim.is_bound());
        let names: BTreeSet<&str> = unbound
            .map(|claim| claim.class.as_str())
            .filter(|c| !c.is_empty())
            .collect();
        match objects(
            self.cluster,
            ("storage.k8s.io", "storageclasses"),
            "",
            &names,
        )
        .await
        {
            Ok(found) => {
                let sights = found
                    .iter()
                    .map(|(name, tree)| (name.clone(), ClassSight::of(tree)));
                self.classes = sights.collect();
            }
            Err(error) => tracing::warn!(error = chain(&error), "storage classes cannot be read"),
        }
    }

    fn fail_all(&mut self, which: fn(&ClaimSight) -> bool, fault: &Step) {
        for (claim, sight) in &self.claims {
            if sight.as_ref().is_some_and(which) {
                self.faults.insert(claim.clone(), fault.clone());
            }
        }
    }

    fn step(&self, claim: &Claim, wanted: &NewVolume, patient: bool) -> Step {
        if let Some(fault) = self.faults.get(claim) {
            return fault.clone();
        }
        match self.claims.get(claim) {
            Some(Some(sight)) => {
                let class = self.classes.get(&sight.class);
                step(
                    wanted,
                    sight,
                    class,
                    self.volumes.get(&sight.volume),
                    patient,
                )
            }
            _ => Step::Warn("it was deleted while its volume was waited for".to_owned()),
        }
    }

    fn volume_of(&self, claim: &Claim) -> String {
        let sight = self.claims.get(claim).and_then(Option::as_ref);
        sight.map(|sight| sight.volume.clone()).unwrap_or_default()
    }

    /// Changes volumes; what comes of it is a step of their claims.
    async fn patch(&mut self, patches: Vec<(Claim, String, Value)>) {
        let cluster = self.cluster;
        let patch = |(claim, volume, body): (Claim, String, Value)| async move {
            let end = match patch(cluster, &volume, &body).await {
                Ok(()) => {
                    let (namespace, name) = (claim.0.as_str(), claim.1.as_str());
                    tracing::info!(
                        namespace,
                        name,
                        volume,
                        "the new volume of the claim has what the old one had"
                    );
                    Step::Done
                }
                Err(error) => failed(&error, "its volume cannot be changed"),
            };
            (claim, end)
        };
        let ends: Vec<_> = stream::iter(patches)
            .map(patch)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        self.steps.extend(ends);
    }
}

/// What an error of the API server comes to: it passes, or it does not.
fn failed(error: &Error, what: &str) -> Step {
    let message = format!("{what}: {}", chain(error));
    // What was changed or deleted meanwhile is looked at again.
    let passes =
        error.is_retryable() || matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound);
    match passes {
        true => Step::Wait(message),
        false => Step::Fail(message),
    }
}

fn served(cluster: &Cluster, (group, resource): (&str, &str)) -> Result<ApiResource, Error> {
    let resource = GroupResource::new(group, resource);
    cluster
        .catalog()
        .get(&resource)
        .cloned()
        .ok_or(Error::Unserved { resource })
}

async fn patch(cluster: &Cluster, volume: &str, body: &Value) -> Result<(), Error> {
    let resource = served(cluster, ("", "persistentvolumes"))?;
    let (kind, body, options) = (
        PatchKind::Merge,
        body.to_string().into(),
        WriteOptions::default(),
    );
    let patched = cluster.patch(&resource, "", volume, kind, None, body, &options);
    patched.await.map(|_| ())
}

/// Reads objects by name: a few one by one, many by a list, of which only they are kept.
async fn objects(
    cluster: &Cluster,
    resource: (&str, &str),
    namespace: &str,
    names: &BTreeSet<&str>,
) -> Result<HashMap<String, ItemTree>, Error> {
    let mut found = HashMap::new();
    if names.is_empty() {
        return Ok(found);
    }
    let resource = served(cluster, resource)?;
    if names.len() <= FEW {
        for name in names {
            if let Some(item) = cluster.get(&resource, namespace, name).await? {
                keep(&mut found, &item);
            }
        }
        return Ok(found);
    }
    let scope = match namespace {
        "" => ListScope::all(),
        _ => ListScope::namespace(namespace),
    };
    let mut pages = cluster.pages(&resource, scope, ListOptions::default());
    while let Some(page) = pages.next().await? {
        let wanted = page
            .items
            .iter()
            .filter(|item| names.contains(item.head().name.as_str()));
        wanted.for_each(|item| keep(&mut found, item));
    }
    Ok(found)
}

/// Keeps an object. One that is no tree cannot come from an API server that has sent its head.
fn keep(found: &mut HashMap<String, ItemTree>, item: &velero_core::RawItem) {
    if let Ok(tree) = item.tree() {
        found.insert(item.head().name.clone(), tree);
    }
}

impl RestoreEngine {
    /// Waits for the new volumes of a restore whose hooks have ended, unless operations go on that fill them.
    pub(crate) async fn finish_volumes(&self, result: &mut RestoreResult, run: &RestoreRun) {
        if result.new_volumes.is_empty() || !OperationCounts::of(&result.operations).all_ended() {
            return;
        }
        let (cluster, volumes) = (self.cluster().clone(), result.new_volumes.clone());
        let mut volumes = NewVolumes::new(cluster, volumes, &self.options, run);
        let mut pause = self.options.poll_interval;
        let longest = pause.saturating_mul(10);
        loop {
            result
                .records
                .extend(volumes.look(&result.operations).await);
            if volumes.left() == 0 {
                return;
            }
            let count = volumes.left();
            tracing::debug!(count, "waiting for the new volumes of claims");
            run.progress
                .waiting(&format!("the new volumes of {count} claims to be bound"));
            tokio::select! {
                biased;
                () = run.cancel.cancelled() => {
                    result.records.extend(volumes.give_up("the restore was cancelled"));
                    return;
                }
                () = tokio::time::sleep(pause) => pause = pause.saturating_mul(2).min(longest),
            }
        }
    }
}
