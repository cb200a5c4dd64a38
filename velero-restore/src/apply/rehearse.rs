//! A run in which nothing is written: what would become of each item, asked of the API server by dry-run writes.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, mpsc};
use velero_cluster::WriteOptions;
use velero_core::action::RestoreItemAction;
use velero_core::plan::{ItemId, ItemVerdict, LiveObject, RestorePlan, Verdict};
use velero_core::result::{Record, chain};
use velero_core::{ApiResource, Catalog, GroupResource, ItemTree, RawItem};

use super::before::Before;
use super::create::{is_default_account, json_of, rest_of};
use super::existing::After;
use super::item::{ItemEnd, Work};
use super::run::{Run, Stage};
use super::waves::{apply_wave, permits};
use crate::Error;
use crate::compare::same;
use crate::index::{ArchiveIndex, IndexedItem, Spool, is_crd};
use crate::merge_account::merge_patch;
use crate::plan::{LeftOut, LeftOuts, selected_faults};
use crate::result::ItemAction;
use crate::verify::{Finding, content, differences};

/// What is said of an object that cannot be changed where the policy is `recreate`.
const RECREATE: &str = "recreate: the object in the cluster cannot be changed into the one in the backup; it is deleted and created anew";

/// What makes a run one that only looks.
pub(crate) struct Rehearsal {
    /// What the cluster serves by now; the run's own catalogue has what definitions of the archive bring, too.
    served: Catalog,
    /// How long the restore would wait for what is being deleted.
    terminating: Duration,
    findings: mpsc::Sender<Finding>,
    /// Items that would come and that others may not be created without.
    made: Mutex<HashSet<ItemId>>,
}

impl Rehearsal {
    pub(crate) fn new(
        served: Catalog,
        terminating: Duration,
        findings: mpsc::Sender<Finding>,
    ) -> Self {
        Self {
            served,
            terminating,
            findings,
            made: Mutex::default(),
        }
    }

    /// How many seconds the restore would wait for what is being deleted.
    pub(super) fn waits_for(&self) -> u64 {
        self.terminating.as_secs()
    }

    /// Tells a finding; nobody taking it any more ends the run elsewhere.
    async fn tell(&self, item: ItemVerdict) {
        let _ = self.findings.send(Finding::Item(Box::new(item))).await;
    }

    async fn tell_made(&self, item: ItemVerdict) {
        let _ = self.findings.send(Finding::Made(Box::new(item))).await;
    }

    fn makes(&self, id: ItemId) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.insert(id);
    }

    fn has_made(&self, id: ItemId) -> bool {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.contains(&id)
    }
}

/// What is known of an item while a run only looks.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// What would be recorded.
    pub(super) reasons: Vec<String>,
    /// Actions that were left out.
    pub(super) subject_to: Vec<String>,
    unverified: bool,
    before: Before,
    found: ItemVerdict,
}

/// What is left of a run that only looked.
pub(crate) struct Rehearsed {
    pub(crate) index: ArchiveIndex,
    pub(crate) spool: Spool,
    /// What was noted beside the items.
    pub(crate) records: Vec<Record>,
    pub(crate) cancelled: bool,
}

/// Goes through a plan without writing.
///
/// # Errors
/// When the spool fails.
pub(crate) async fn rehearse(
    run: &Arc<Run>,
    plan: &RestorePlan,
    actions: &[Arc<dyn RestoreItemAction>],
) -> Result<(), Error> {
    let stage = Arc::new(Stage::new(&run.cluster, &run.request, actions));
    let permits = permits(&run.options);
    let bytes = Arc::new(Semaphore::new(permits));
    for wave in &plan.waves {
        apply_wave(run, &stage, wave, &bytes, permits).await?;
    }
    run.tell_left_out(plan).await;
    Ok(())
}

impl Run {
    /// Makes it a run that only looks. Its cluster must be one that writes nothing.
    pub(crate) fn rehearsing(mut self, rehearsal: Rehearsal) -> Self {
        self.rehearsal = Some(rehearsal);
        // Nothing is waited for, so that there is no later either.
        self.later.close();
        self
    }

    /// What is left of a run that only looked.
    ///
    /// # Errors
    /// When something still reads the spool.
    pub(crate) fn into_rehearsed(self) -> Result<Rehearsed, Error> {
        let cancelled = self.is_cancelled();
        let (index, spool, records) = self.into_archive()?;
        Ok(Rehearsed {
            index,
            spool,
            records,
            cancelled,
        })
    }

    /// Finds out what creating the object would come to.
    pub(super) async fn rehearse(&self, work: &mut Work<'_>, mut item: ItemTree) {
        let Some(rehearsal) = &self.rehearsal else {
            return;
        };
        work.draft.found.wanted = digest(item.as_value());
        let stage = work.stage;
        let served = stage.catalog.by_kind(item.api_version(), item.kind());
        let Some(resource) = served.filter(|r| self.will_be_served(rehearsal, r)) else {
            return work.fail(format!(
                "the cluster does not serve {} {}",
                item.api_version(),
                item.kind()
            ));
        };
        let is_new_namespace = !work.namespace.is_empty()
            && self
                .ensure_namespace(stage, work.namespace, work.item.namespace)
                .await
                == Ok(true);
        if is_new_namespace && is_default_account(&item) {
            return self.rehearse_default_account(work, resource, &item);
        }
        if is_new_namespace {
            let why = format!("the restore creates its namespace {}", work.namespace);
            return work.presume(why);
        }
        if rehearsal
            .served
            .by_kind(item.api_version(), item.kind())
            .is_none()
        {
            let definition = format!("{}.{}", resource.plural, resource.group);
            return work.presume(format!(
                "its definition {definition} comes with the restore"
            ));
        }
        let listed = self.bulk.take(work.item.id, &item);
        if listed.is_none()
            && is_default_account(&item)
            && let Ok(Some(live)) = self
                .cluster
                .get(resource, work.namespace, item.name())
                .await
        {
            self.bulk.met(work.item.resource);
            self.meet(work, resource, &item, live, None).await;
            return;
        }
        let rest = rest_of(work, resource, &mut item);
        if let Some(live) = listed
            && self.meet(work, resource, &item, live, None).await
        {
            return;
        }
        let options = WriteOptions::default().field_manager(rest.manager());
        let body = json_of(&item);
        match self
            .cluster
            .create(resource, work.namespace, item.name(), body, &options)
            .await
        {
            Ok(_) => {
                self.bulk.missed(work.item.resource);
                work.set(ItemAction::Created);
            }
            Err(error) => self.refused(work, resource, &item, error).await,
        }
    }

    /// Whether a resource is served when its items come: by now, or by a definition that would be there.
    fn will_be_served(&self, rehearsal: &Rehearsal, resource: &ApiResource) -> bool {
        if rehearsal
            .served
            .by_kind(&resource.api_version(), &resource.kind)
            .is_some()
        {
            return true;
        }
        let gr = resource.group_resource();
        let mut defining = self
            .index
            .definitions()
            .iter()
            .filter(|(_, brings)| brings.iter().any(|r| r.group_resource() == gr));
        defining.any(|(id, _)| rehearsal.has_made(*id))
    }

    /// The account that a new namespace gets from the cluster before the restore comes to it.
    fn rehearse_default_account(
        &self,
        work: &mut Work<'_>,
        resource: &ApiResource,
        item: &ItemTree,
    ) {
        work.draft.unverified = true;
        let made = json!({"apiVersion": resource.api_version(), "kind": resource.kind,
            "metadata": {"namespace": work.namespace, "name": item.name()}});
        let why = "the cluster makes its own in the namespace that the restore creates";
        match ItemTree::new(made) {
            Ok(made) if same(&made, item) || merge_patch(&made, item).is_none() => work.keep(why),
            _ => {
                work.draft
                    .reasons
                    .push(format!("{why}; it gets what the backup has beyond that"));
                work.set(ItemAction::Updated);
            }
        }
    }

    /// What is behind a refusal: an object that is there, something that comes with the same restore, or a real one.
    async fn refused(
        &self,
        work: &mut Work<'_>,
        resource: &ApiResource,
        item: &ItemTree,
        error: velero_cluster::Error,
    ) {
        if !self.says_why(work, &error) {
            return;
        }
        match self.read_refused(work, resource, item, &error).await {
            Ok(Some(live)) => {
                self.meet(work, resource, item, live, Some(error)).await;
            }
            Ok(None) => match self.comes_along(work, item, &error) {
                Some(what) => work.presume(format!(
                    "the restore creates {what}, without which it is refused: {}",
                    chain(&error)
                )),
                None => work.fail(chain(&error)),
            },
            Err(message) => work.fail(message),
        }
    }

    /// What is made of an object that is there; `false` when it has gone meanwhile.
    async fn meet(
        &self,
        work: &mut Work<'_>,
        resource: &ApiResource,
        item: &ItemTree,
        live: RawItem,
        refused: Option<velero_cluster::Error>,
    ) -> bool {
        let head = live.head();
        let mut found = LiveObject {
            uid: head.uid.clone(),
            resource_version: head.resource_version.clone(),
            content: String::new(),
        };
        if let Ok(tree) = live.tree() {
            let (told, more) = differences(&tree, item);
            work.draft.found.differences = told;
            work.draft.found.more_differences = more;
            work.draft.before = self.known_before(&tree, item);
            found.content = content(tree)
                .map(|value| digest(&value))
                .unwrap_or_default();
        }
        work.draft.found.live = Some(found);
        match self.existing(work, resource, item, live, refused).await {
            After::Done => true,
            After::Replace(live, is_valid) => {
                if self
                    .may_replace(work, resource, item, &live, is_valid)
                    .await
                {
                    work.draft.reasons.push(RECREATE.to_owned());
                    work.set(ItemAction::Updated);
                }
                true
            }
            After::Gone => {
                work.exists = false;
                work.draft.before = Before::Nothing;
                work.draft.found = ItemVerdict {
                    wanted: std::mem::take(&mut work.draft.found.wanted),
                    ..ItemVerdict::default()
                };
                false
            }
        }
    }

    /// What an object is refused for want of, where that is created by the same restore.
    fn comes_along(
        &self,
        work: &Work<'_>,
        item: &ItemTree,
        error: &velero_cluster::Error,
    ) -> Option<String> {
        let rehearsal = self.rehearsal.as_ref()?;
        let message = chain(error).to_lowercase();
        let rbac = |kind: &str| GroupResource::new("rbac.authorization.k8s.io", kind);
        let namespace = work.item.namespace;
        let needs = match (item.kind(), item.str_at("/roleRef/kind")) {
            ("Pod", _) => vec![
                (
                    GroupResource::core("serviceaccounts"),
                    namespace,
                    item.str_at("/spec/serviceAccountName"),
                ),
                (
                    GroupResource::new("scheduling.k8s.io", "priorityclasses"),
                    "",
                    item.str_at("/spec/priorityClassName"),
                ),
            ],
            ("RoleBinding" | "ClusterRoleBinding", "ClusterRole") => {
                vec![(rbac("clusterroles"), "", item.str_at("/roleRef/name"))]
            }
            ("RoleBinding", _) => vec![(rbac("roles"), namespace, item.str_at("/roleRef/name"))],
            _ => return None,
        };
        let is_made = |(resource, namespace, name): &(GroupResource, &str, &str)| {
            !name.is_empty()
                && message.contains(&name.to_lowercase())
                && self
                    .index
                    .find(resource, namespace, name)
                    .is_some_and(|id| rehearsal.has_made(id))
        };
        let found = needs.into_iter().find(is_made);
        found.map(|(resource, _, name)| format!("{resource} {name}"))
    }

    /// Tells what would become of an item, and ends its work.
    pub(super) async fn tell_verdict(&self, mut work: Work<'_>) -> ItemEnd {
        let end = ItemEnd {
            exists: work.exists,
            records: work.records,
            ..ItemEnd::default()
        };
        let Some(rehearsal) = &self.rehearsal else {
            return end;
        };
        let draft = std::mem::take(&mut work.draft);
        // An action that was left out may be what makes it acceptable.
        let is_open = !draft.subject_to.is_empty()
            && draft.found.live.is_none()
            && work.action.is_none()
            && work.records;
        let verdict = match work.action {
            Some(ItemAction::Created) => Verdict::Create,
            Some(ItemAction::Updated) => Verdict::Update,
            Some(ItemAction::Skipped) => Verdict::SkipIdentical,
            _ if is_open => Verdict::Create,
            _ if !work.records => Verdict::Excluded,
            _ if work.left && !work.errors => Verdict::Conflict,
            _ => Verdict::Blocked,
        };
        let mut item = ItemVerdict {
            resource: work.item.resource.to_string(),
            kind: format!("{}/{}", work.item.api_version, work.item.kind),
            namespace: work.namespace.to_owned(),
            name: work.item.name.to_owned(),
            verdict,
            unverified: draft.unverified || is_open,
            subject_to: draft.subject_to,
            error: work.errors && !is_open,
            reason: draft.reasons.join("; "),
            ..draft.found
        };
        if item.reason.is_empty() && matches!(verdict, Verdict::Excluded | Verdict::SkipIdentical) {
            item.reason = work.skipped.to_owned();
        }
        if item.reason.is_empty() && verdict == Verdict::Blocked {
            item.reason = "what it needs has problems of its own".to_owned();
            item.error = true;
        }
        if verdict == Verdict::SkipIdentical {
            item.differences.clear();
            item.more_differences = 0;
        }
        let is_made = match verdict {
            Verdict::Create => is_needed_by_others(work.item.resource),
            Verdict::Update => is_crd(work.item.resource),
            _ => false,
        };
        if is_made {
            rehearsal.makes(work.item.id);
        }
        match draft.before {
            Before::Nothing => rehearsal.tell(item).await,
            Before::Made => rehearsal.tell_made(item).await,
            Before::Provided => {}
        }
        end
    }

    /// Looks for a namespace; one that is being deleted is not waited for.
    pub(super) async fn rehearse_namespace(
        &self,
        stage: &Stage,
        target: &str,
        source: &str,
    ) -> Result<bool, String> {
        let Some(rehearsal) = &self.rehearsal else {
            return Ok(false);
        };
        let mut ensured = self.find_or_create(stage, target, source).await;
        if ensured.is_err() && self.is_being_deleted(stage, target).await {
            let limit = rehearsal.waits_for();
            ensured = Err(format!(
                "namespace {target} is being deleted; a restore waits for up to {limit}s until it is gone"
            ));
        }
        if ensured == Ok(true) {
            rehearsal.tell(of_namespace(target, Verdict::Create)).await;
        }
        ensured
    }

    async fn is_being_deleted(&self, stage: &Stage, target: &str) -> bool {
        let Some(resource) = stage.catalog.get(&GroupResource::core("namespaces")) else {
            return false;
        };
        let live = self.cluster.get(resource, "", target).await;
        matches!(live, Ok(Some(live)) if live.head().deleting || live.head().phase == "Terminating")
    }

    /// Tells what would become of a namespace that is an item. A new one is told where it is looked for first.
    pub(super) async fn tell_namespace(
        &self,
        item: &IndexedItem<'_>,
        ensured: &Result<bool, String>,
    ) {
        let Some(rehearsal) = &self.rehearsal else {
            return;
        };
        let target = self.request.target_namespace(item.name);
        let mut found = of_namespace(target, Verdict::SkipIdentical);
        match ensured {
            Ok(true) => return,
            Ok(false) => match self.namespaces.difference(target) {
                Some(differs) => {
                    let ItemVerdict {
                        name,
                        resource,
                        kind,
                        ..
                    } = found;
                    found = ItemVerdict {
                        name,
                        resource,
                        kind,
                        ..differs
                    };
                }
                None => found.reason = "it is there, as it is in the backup".to_owned(),
            },
            Err(message) => {
                found.verdict = Verdict::Blocked;
                found.error = true;
                found.reason = message.clone();
            }
        }
        rehearsal.tell(found).await;
    }

    /// Tells of the items that nobody came to, and of entries that are no items.
    async fn tell_left_out(&self, plan: &RestorePlan) {
        let Some(rehearsal) = &self.rehearsal else {
            return;
        };
        let left_outs = LeftOuts::new(&self.index, &self.request, &rehearsal.served, plan);
        for item in self.index.items() {
            if self.is_cancelled() {
                return;
            }
            if self.states.is_touched(item.id) {
                continue;
            }
            let target = left_outs.target(&item);
            let mut found = ItemVerdict {
                resource: item.resource.to_string(),
                kind: format!("{}/{}", item.api_version, item.kind),
                namespace: target.0.to_owned(),
                name: target.1.to_owned(),
                verdict: Verdict::Excluded,
                ..ItemVerdict::default()
            };
            match left_outs.of(&item) {
                LeftOut::Excluded(reason) => found.reason = reason.to_string(),
                LeftOut::Unserved(message) => {
                    found.verdict = Verdict::Blocked;
                    found.error = true;
                    found.reason = message;
                }
            }
            rehearsal.tell(found).await;
        }
        for fault in selected_faults(&self.index, left_outs.filters()) {
            let found = ItemVerdict {
                resource: fault.resource.to_string(),
                namespace: self.request.target_namespace(&fault.namespace).to_owned(),
                name: fault.name.clone(),
                verdict: Verdict::Blocked,
                error: true,
                reason: format!("cannot be decoded: {}", fault.message),
                ..ItemVerdict::default()
            };
            rehearsal.tell(found).await;
        }
    }
}

impl Work<'_> {
    /// Says that the object would be created, which the API server cannot be asked about yet.
    fn presume(&mut self, why: String) {
        self.draft.unverified = true;
        self.draft.reasons.push(why);
        self.set(ItemAction::Created);
    }
}

fn of_namespace(name: &str, verdict: Verdict) -> ItemVerdict {
    ItemVerdict {
        resource: "namespaces".to_owned(),
        kind: "v1/Namespace".to_owned(),
        name: name.to_owned(),
        verdict,
        ..ItemVerdict::default()
    }
}

/// Kinds without whose objects the API server refuses others.
fn is_needed_by_others(resource: &GroupResource) -> bool {
    matches!(
        (resource.group.as_str(), resource.resource.as_str()),
        ("", "serviceaccounts")
            | ("scheduling.k8s.io", "priorityclasses")
            | ("rbac.authorization.k8s.io", "roles" | "clusterroles")
            | ("apiextensions.k8s.io", "customresourcedefinitions")
    )
}

/// A short digest of a value; keys are sorted in it.
pub(crate) fn digest(value: &serde_json::Value) -> String {
    let hash = Sha256::digest(value.to_string().as_bytes());
    hash.iter().take(8).fold(String::new(), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}
