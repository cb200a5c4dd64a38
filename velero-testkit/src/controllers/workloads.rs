//! Deployments, ReplicaSets, StatefulSets, DaemonSets and Jobs.

use std::sync::Arc;

use serde_json::{Value, json};

use super::adopt::adopt;
use super::{controlled_by, make, save};
use crate::registry::Resource;
use crate::server::Inner;
use crate::store::{State, Stored, prefix};

/// The objects of a table that an object controls.
fn controlled(state: &State, table: &str, owner: &Stored) -> Vec<Arc<Stored>> {
    let prefix = prefix(Some(owner.identity().0));
    state
        .range(table, &prefix)
        .filter(|o| !o.deleting && o.owners.contains(&owner.uid))
        .cloned()
        .collect()
}

/// A short text that stands for a template.
fn hash(template: &Value) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let text = template.to_string();
    let mut sum = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut out = String::new();
    for _ in 0..10 {
        out.push(char::from(LETTERS[usize::try_from(sum % 27).unwrap_or(0)]));
        sum /= 27;
    }
    out
}

fn ready(pods: &[Arc<Stored>]) -> usize {
    pods.iter()
        .filter(|p| p.tree()["status"]["phase"] == "Running")
        .count()
}

fn replicas(tree: &Value) -> usize {
    match &tree["spec"]["replicas"] {
        Value::Null => 1,
        given => number(given),
    }
}

/// Sets numbers of a status; zero is left out, as Go does.
fn numbers(tree: &mut Value, counts: &[(&str, usize)]) {
    if !tree["status"].is_object() {
        tree["status"] = json!({});
    }
    for (key, count) in counts {
        if *count == 0 {
            crate::objects::remove(&mut tree["status"], key);
        } else {
            tree["status"][*key] = (*count).into();
        }
    }
    tree["status"]["observedGeneration"] = tree["metadata"]["generation"].clone();
}

/// The annotation that counts the templates of a Deployment.
const REVISION: &str = "deployment.kubernetes.io/revision";

/// One ReplicaSet for the present template, none with replicas for older ones.
pub(super) fn deployment(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    live: &Arc<Stored>,
) {
    let mut tree = live.full(resource);
    let namespace = live.identity().0.to_owned();
    let hash = hash(&tree["spec"]["template"]);
    let name = format!("{}-{hash}", live.name());
    adopt(inner, state, resource, live, "replicasets.apps");
    let sets = controlled(state, "replicasets.apps", live);
    let Some(set_resource) = state.registry.by_table("replicasets.apps") else {
        return;
    };
    if !sets.iter().any(|s| s.name() == name) {
        let revision = (sets.len() + 1).to_string();
        let mut set = set_of(&tree, &hash, &revision);
        set["metadata"]["name"] = name.clone().into();
        set["metadata"]["ownerReferences"] = controlled_by(resource, live);
        tree["metadata"]["annotations"][REVISION] = revision.into();
        make(inner, state, "apps/v1", "ReplicaSet", Some(&namespace), set);
    }
    let (mut total, mut running) = (0, 0);
    for set in controlled(state, "replicasets.apps", live) {
        let mut set_tree = set.full(&set_resource);
        let is_current = set.name() == name;
        let wanted = if is_current { replicas(&tree) } else { 0 };
        if replicas(&set_tree) != wanted {
            set_tree["spec"]["replicas"] = wanted.into();
            save(inner, state, &set_resource, &set, set_tree);
        } else if is_current {
            total = number(&set_tree["status"]["replicas"]);
            running = number(&set_tree["status"]["readyReplicas"]);
        }
    }
    let counts = [
        ("replicas", total),
        ("updatedReplicas", total),
        ("readyReplicas", running),
        ("availableReplicas", running),
        ("unavailableReplicas", total.saturating_sub(running)),
    ];
    numbers(&mut tree, &counts);
    if running == replicas(&tree) && tree["status"]["conditions"].is_null() {
        let now = crate::clock::seconds(inner.now());
        tree["status"]["conditions"] = json!([{
            "type": "Available", "status": "True", "reason": "MinimumReplicasAvailable",
            "message": "Deployment has minimum availability.", "lastTransitionTime": now, "lastUpdateTime": now,
        }]);
    }
    save(inner, state, resource, live, tree);
}

/// The ReplicaSet of a Deployment's present template, without name and owner.
fn set_of(deployment: &Value, hash: &str, revision: &str) -> Value {
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"]["pod-template-hash"] = hash.into();
    let mut selector = deployment["spec"]["selector"].clone();
    selector["matchLabels"]["pod-template-hash"] = hash.into();
    json!({
        "metadata": {"labels": template["metadata"]["labels"], "annotations": {REVISION: revision}},
        "spec": {"replicas": replicas(deployment), "selector": selector, "template": template},
    })
}

/// A count, or zero.
fn number(value: &Value) -> usize {
    let number = value.as_u64().and_then(|n| usize::try_from(n).ok());
    number.unwrap_or(0)
}

/// A pod made from a template.
fn pod(template: &Value, name: Value, resource: &Resource, owner: &Stored) -> Value {
    let mut pod = template.clone();
    if !pod["metadata"].is_object() {
        pod["metadata"] = json!({});
    }
    match name {
        Value::String(name) => pod["metadata"]["name"] = name.into(),
        _ => pod["metadata"]["generateName"] = format!("{}-", owner.name()).into(),
    }
    pod["metadata"]["ownerReferences"] = controlled_by(resource, owner);
    pod
}

/// As many pods as replicas.
pub(super) fn replica_set(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    live: &Arc<Stored>,
) {
    let mut tree = live.full(resource);
    let namespace = live.identity().0.to_owned();
    adopt(inner, state, resource, live, "pods");
    let pods = controlled(state, "pods", live);
    let wanted = replicas(&tree);
    for _ in pods.len()..wanted {
        let made = pod(&tree["spec"]["template"], Value::Null, resource, live);
        make(inner, state, "v1", "Pod", Some(&namespace), made);
    }
    for extra in pods.iter().skip(wanted) {
        crate::effects::remove_quietly(inner, state, "pods", &extra.key);
    }
    let pods = controlled(state, "pods", live);
    let running = ready(&pods);
    numbers(
        &mut tree,
        &[
            ("fullyLabeledReplicas", pods.len()),
            ("readyReplicas", running),
            ("availableReplicas", running),
        ],
    );
    tree["status"]["replicas"] = pods.len().into();
    save(inner, state, resource, live, tree);
}

/// Pods with numbers, and claims for each.
pub(super) fn stateful_set(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    live: &Arc<Stored>,
) {
    let mut tree = live.full(resource);
    adopt(inner, state, resource, live, "pods");
    let wanted = replicas(&tree);
    let revision = format!("{}-{}", live.name(), hash(&tree["spec"]["template"]));
    for index in 0..wanted {
        numbered_pod(inner, state, resource, live, &tree, (index, &revision));
    }
    for pod in &controlled(state, "pods", live) {
        let index = pod.name().rsplit('-').next();
        let index = index.and_then(|n| n.parse::<usize>().ok());
        if index.is_some_and(|n| n >= wanted) {
            crate::effects::remove_quietly(inner, state, "pods", &pod.key);
        }
    }
    let pods = controlled(state, "pods", live);
    let running = ready(&pods);
    numbers(
        &mut tree,
        &[
            ("readyReplicas", running),
            ("currentReplicas", pods.len()),
            ("updatedReplicas", pods.len()),
        ],
    );
    tree["status"]["replicas"] = pods.len().into();
    tree["status"]["availableReplicas"] = running.into();
    tree["status"]["currentRevision"] = revision.clone().into();
    tree["status"]["updateRevision"] = revision.into();
    tree["status"]["collisionCount"] = 0.into();
    save(inner, state, resource, live, tree);
}

/// Makes the pod of a StatefulSet with one number, and its claims, where they are missing.
fn numbered_pod(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    live: &Arc<Stored>,
    tree: &Value,
    (index, revision): (usize, &str),
) {
    let namespace = live.identity().0.to_owned();
    let name = format!("{}-{index}", live.name());
    let is_there = |state: &State, table: &str, name: &str| {
        let key = crate::store::key(Some(&namespace), name);
        state.get(table, &key).is_some()
    };
    if is_there(state, "pods", &name) {
        return;
    }
    let template = &tree["spec"]["template"];
    let mut made = pod(template, name.clone().into(), resource, live);
    let labels = &mut made["metadata"]["labels"];
    labels["statefulset.kubernetes.io/pod-name"] = name.clone().into();
    labels["apps.kubernetes.io/pod-index"] = index.to_string().into();
    labels["controller-revision-hash"] = revision.into();
    let mut volumes = made["spec"]["volumes"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let templates = tree["spec"]["volumeClaimTemplates"].as_array();
    for template in templates.into_iter().flatten() {
        let volume = template["metadata"]["name"].as_str().unwrap_or_default();
        let claim = format!("{volume}-{name}");
        volumes.push(json!({"name": volume, "persistentVolumeClaim": {"claimName": claim}}));
        if is_there(state, "persistentvolumeclaims", &claim) {
            continue;
        }
        let labels = &tree["spec"]["selector"]["matchLabels"];
        let body = json!({"metadata": {"name": claim, "labels": labels}, "spec": template["spec"]});
        let kind = "PersistentVolumeClaim";
        make(inner, state, "v1", kind, Some(&namespace), body);
    }
    if !volumes.is_empty() {
        made["spec"]["volumes"] = volumes.into();
    }
    make(inner, state, "v1", "Pod", Some(&namespace), made);
}

/// One pod, as there is one node.
pub(super) fn daemon_set(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    live: &Arc<Stored>,
) {
    let mut tree = live.full(resource);
    let namespace = live.identity().0.to_owned();
    adopt(inner, state, resource, live, "pods");
    if controlled(state, "pods", live).is_empty() {
        let made = pod(&tree["spec"]["template"], Value::Null, resource, live);
        make(inner, state, "v1", "Pod", Some(&namespace), made);
    }
    let pods = controlled(state, "pods", live);
    let running = ready(&pods);
    numbers(
        &mut tree,
        &[
            ("numberAvailable", running),
            ("updatedNumberScheduled", pods.len()),
        ],
    );
    for (key, count) in [
        ("currentNumberScheduled", pods.len()),
        ("desiredNumberScheduled", 1),
        ("numberMisscheduled", 0),
        ("numberReady", running),
    ] {
        tree["status"][key] = count.into();
    }
    save(inner, state, resource, live, tree);
}

/// One pod, and the end of the Job when it has succeeded.
pub(super) fn job(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    live: &Arc<Stored>,
) {
    let mut tree = live.full(resource);
    if tree["spec"]["suspend"] == Value::Bool(true) || tree["status"]["completionTime"].is_string()
    {
        return;
    }
    let namespace = live.identity().0.to_owned();
    let now = crate::clock::seconds(inner.now());
    let pods = controlled(state, "pods", live);
    if pods.is_empty() {
        let made = pod(&tree["spec"]["template"], Value::Null, resource, live);
        make(inner, state, "v1", "Pod", Some(&namespace), made);
        tree["status"]["startTime"] = now.into();
        tree["status"]["active"] = 1.into();
    } else if pods
        .iter()
        .any(|p| p.tree()["status"]["phase"] == "Succeeded")
    {
        crate::objects::remove(&mut tree["status"], "active");
        tree["status"]["succeeded"] = 1.into();
        tree["status"]["completionTime"] = now.clone().into();
        tree["status"]["conditions"] = json!([{
            "type": "Complete", "status": "True", "reason": "CompletionsReached", "message": "Reached expected number of succeeded pods",
            "lastProbeTime": now, "lastTransitionTime": now,
        }]);
    }
    save(inner, state, resource, live, tree);
}
