//! The order of a restore on a real control plane: what refuses others comes last, and pods come before what makes pods.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    AuditEvent, AuditFilter, Context, ControlPlane, Kubectl, Options, Velero, eventually,
    site::SOON,
};

const SPACE: &str = "guarded";
/// Deployments, and pods of each; one more pod is nobody's.
const DEPLOYMENTS: usize = 8;
const REPLICAS: usize = 3;
const PODS: usize = DEPLOYMENTS * REPLICAS + 1;
const MAPS: usize = 30;
/// How long controllers are given to make what they must not make.
const PATIENCE: Duration = Duration::from_secs(10);
/// Who makes the pods of Deployments.
const MAKER: &str = "system:serviceaccount:kube-system:replicaset-controller";
/// What refuses others, as the audit log names it.
const GUARDS: [&str; 8] = [
    "resourcequotas",
    "apiservices.apiregistration.k8s.io",
    "mutatingadmissionpolicies.admissionregistration.k8s.io",
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    "validatingadmissionpolicybindings.admissionregistration.k8s.io",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
];

struct Place {
    plane: ControlPlane,
    kubectl: Kubectl,
    velero: Velero,
}

/// A namespace that admits nothing any more moves to another cluster.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let store = format!("file://{}", cx.scratch().join("waves").display());
    let source = place(cx).await?;
    fill(&source).await?;
    guard(&source).await?;
    source
        .velero
        .ok(&["direct", "backup", "waves", "--store", &store])
        .await?;
    source.plane.stop().await;

    let target = place(cx).await?;
    let audit = target.plane.audit().context("no audit log")?.from_now()?;
    let restored = target
        .velero
        .ok(&["direct", "restore", "waves", "--store", &store])
        .await?;
    for line in ["Warnings: 0", "Errors: 0"] {
        let words: Vec<String> = restored
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        ensure!(
            words.iter().any(|said| said == line),
            "no {line:?}:\n{restored}"
        );
    }
    let ready = target.are_ready();
    ready.await?;
    tokio::time::sleep(PATIENCE).await;
    ensure!(
        target.pods().await? == PODS,
        "there are {} pods",
        target.pods().await?
    );
    order(&audit.events(&AuditFilter::all_of("velero/"))?)?;
    let made = audit.events(&AuditFilter::of_user(MAKER))?;
    let made: Vec<&AuditEvent> = made
        .iter()
        .filter(|event| event.verb == "create" && event.resource() == "pods")
        .collect();
    ensure!(
        made.is_empty(),
        "pods were made beside those of the backup: {made:#?}"
    );
    adopted(&target).await?;
    locks(&target).await?;
    refuses(&target).await?;
    target.plane.stop().await;
    Ok(())
}

async fn place(cx: &Context) -> Result<Place> {
    let plane = cx.control_plane(Options::default()).await?;
    Ok(Place {
        kubectl: Kubectl::new(&plane)?,
        velero: cx.cli(&plane)?,
        plane,
    })
}

impl Place {
    /// Waits until all pods run.
    async fn are_ready(&self) -> Result<()> {
        let is_ready = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array();
            let ready = json!("Ready");
            let mut conditions = conditions.into_iter().flatten();
            conditions.any(|one| one["type"] == ready && one["status"] == "True")
        };
        eventually("all pods are ready", SOON * 2, || async {
            let pods = self.list("pods").await?;
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            ensure!(ready >= PODS, "{ready} of {} pods are ready", pods.len());
            Ok(Some(()))
        })
        .await
    }

    async fn pods(&self) -> Result<usize> {
        Ok(self.list("pods").await?.len())
    }

    async fn list(&self, kind: &str) -> Result<Vec<Value>> {
        let get = ["get", kind, "-n", SPACE, "-o", "json"];
        let mut list: Value = serde_json::from_str(&self.kubectl.ok(&get).await?)?;
        match list["items"].take() {
            Value::Array(items) => Ok(items),
            other => anyhow::bail!("no list of {kind}: {other}"),
        }
    }
}

fn object(version: &str, kind: &str, name: &str, mut body: Value) -> Value {
    body["apiVersion"] = version.into();
    body["kind"] = kind.into();
    body["metadata"] = json!({"name": name, "namespace": SPACE});
    body
}

/// Workloads and maps.
async fn fill(place: &Place) -> Result<()> {
    let containers = json!([{"name": "main", "image": "registry.example.com/web:1"}]);
    let mut objects = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}}),
        object(
            "v1",
            "Service",
            "guard",
            json!({"spec": {"ports": [{"port": 443}]}}),
        ),
        object(
            "v1",
            "Pod",
            "lone",
            json!({"spec": {"containers": containers}}),
        ),
    ];
    for n in 0..DEPLOYMENTS {
        let labels = json!({"app": format!("web-{n}")});
        objects.push(object(
            "apps/v1",
            "Deployment",
            &format!("web-{n}"),
            json!({"spec": {"replicas": REPLICAS, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}}}}),
        ));
    }
    for n in 0..MAPS {
        objects.push(object(
            "v1",
            "ConfigMap",
            &format!("m{n}"),
            json!({"data": {"n": n.to_string()}}),
        ));
    }
    place.kubectl.apply(&objects, &[]).await?;
    place.are_ready().await
}

/// A quota that is used up, a policy and webhooks that let nothing in.
async fn guard(place: &Place) -> Result<()> {
    let here = json!({"matchLabels": {"kubernetes.io/metadata.name": SPACE}});
    let rules = json!([
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps", "pods", "services"]},
        {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments", "replicasets"]},
    ]);
    let admission = "admissionregistration.k8s.io/v1";
    let hooks = |name: &str| {
        json!([{"name": name, "failurePolicy": "Fail", "sideEffects": "None", "timeoutSeconds": 2,
            "admissionReviewVersions": ["v1"], "namespaceSelector": here, "rules": rules,
            "clientConfig": {"service": {"name": "guard", "namespace": SPACE, "path": "/"}}}])
    };
    // The certificate authority's ConfigMap counts as well.
    let hard = json!({"pods": PODS.to_string(), "configmaps": (MAPS + 1).to_string(), "services": "1",
        "count/deployments.apps": DEPLOYMENTS.to_string(), "count/replicasets.apps": DEPLOYMENTS.to_string()});
    let quota = object(
        "v1",
        "ResourceQuota",
        "full",
        json!({"spec": {"hard": hard}}),
    );
    let cluster = |kind: &str, body: Value| {
        let mut object = object(admission, kind, "guard", body);
        object["metadata"] = json!({"name": "guard"});
        object
    };
    let policy = cluster(
        "ValidatingAdmissionPolicy",
        json!({"spec": {"failurePolicy": "Fail", "matchConstraints": {"namespaceSelector": here, "resourceRules": rules},
            "validations": [{"expression": "false", "message": "the shop is closed"}]}}),
    );
    let binding = cluster(
        "ValidatingAdmissionPolicyBinding",
        json!({"spec": {"policyName": "guard", "validationActions": ["Deny"]}}),
    );
    let validating = cluster(
        "ValidatingWebhookConfiguration",
        json!({"webhooks": hooks("validates.example.com")}),
    );
    let mutating = cluster(
        "MutatingWebhookConfiguration",
        json!({"webhooks": hooks("changes.example.com")}),
    );
    let mut guards = vec![quota, policy, binding, validating, mutating];
    guards.extend(changers());
    place.kubectl.apply(&guards, &[]).await?;
    eventually("the quota is used up", SOON, || async {
        let quotas = place.list("resourcequotas").await?;
        let status = &quotas.first().context("no quota")?["status"];
        Ok((status["used"] == status["hard"] && status["used"].is_object()).then_some(()))
    })
    .await
}

/// A policy that locks every new ConfigMap, also in a namespace that nothing else guards, and an API group that is announced.
fn changers() -> [Value; 3] {
    let (admission, name) = ("admissionregistration.k8s.io/v1", json!({"name": "locks"}));
    let here = json!({"key": "kubernetes.io/metadata.name", "operator": "In", "values": [SPACE, "default"]});
    let rules = json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]);
    let locks = json!([{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{immutable: true}"}}]);
    let policy = json!({"apiVersion": admission, "kind": "MutatingAdmissionPolicy", "metadata": name,
        "spec": {"failurePolicy": "Fail", "reinvocationPolicy": "Never", "mutations": locks,
            "matchConstraints": {"namespaceSelector": {"matchExpressions": [here]}, "resourceRules": rules}}});
    let binding = json!({"apiVersion": admission, "kind": "MutatingAdmissionPolicyBinding", "metadata": name,
        "spec": {"policyName": "locks"}});
    let group = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1.announced.example.com"},
        "spec": {"group": "announced.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100}});
    [policy, binding, group]
}

/// Of what was created: guards after all others, pods before ReplicaSets, those before Deployments.
fn order(events: &[AuditEvent]) -> Result<()> {
    let mut places: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let created = events
        .iter()
        .filter(|event| event.verb == "create" && event.code() == 201);
    for (at, event) in created.enumerate() {
        places.entry(event.resource()).or_insert((at, at)).1 = at;
    }
    let first = |kind: &str| {
        let place = places.get(kind);
        place.with_context(|| format!("no {kind} were created: {places:?}"))
    };
    for pair in ["pods", "replicasets.apps", "deployments.apps"].windows(2) {
        ensure!(
            first(pair[0])?.1 < first(pair[1])?.0,
            "{pair:?}: {places:?}"
        );
    }
    let others = places
        .iter()
        .filter(|(kind, _)| !GUARDS.contains(&kind.as_str()));
    let last = others.map(|(_, (_, last))| *last).max().unwrap_or_default();
    for guard in GUARDS {
        ensure!(first(guard)?.0 > last, "{guard}: {places:?}");
    }
    Ok(())
}

/// Pods have found their ReplicaSets again, and those their Deployments.
async fn adopted(place: &Place) -> Result<()> {
    for (kind, owner, expected) in [
        ("pods", "ReplicaSet", PODS - 1),
        ("replicasets", "Deployment", DEPLOYMENTS),
    ] {
        let items = place.list(kind).await?;
        let owned = items
            .iter()
            .filter(|item| item["metadata"]["ownerReferences"][0]["kind"] == owner)
            .count();
        ensure!(
            owned == expected,
            "{owned} of {} {kind} have a {owner}",
            items.len()
        );
    }
    Ok(())
}

/// What changes objects came after all that it would have changed, and is in force now.
async fn locks(place: &Place) -> Result<()> {
    let maps = place.list("configmaps").await?;
    let locked = maps.iter().filter(|map| map["immutable"] == true).count();
    // The certificate authority's ConfigMap may come at any time.
    ensure!(
        locked == 0 && maps.len() >= MAPS,
        "{locked} of {} ConfigMaps are locked",
        maps.len()
    );
    eventually("a new ConfigMap is locked", SOON, || async {
        let create = [
            "create",
            "configmap",
            "late",
            "-n",
            "default",
            "--dry-run=server",
            "-o",
            "json",
        ];
        let made: Value = serde_json::from_str(&place.kubectl.ok(&create).await?)?;
        Ok((made["immutable"] == true).then_some(()))
    })
    .await
}

/// The guards are in force: without this the scenario would not show what it says.
async fn refuses(place: &Place) -> Result<()> {
    let create = ["create", "configmap", "late", "-n", SPACE];
    let ended = place.kubectl.run(&create, "").await?;
    ensure!(
        ended.code != Some(0) && ended.stderr.contains("failed calling webhook"),
        "{ended:?}"
    );
    let delete = [
        "delete",
        "validatingwebhookconfiguration,mutatingwebhookconfiguration",
        "guard",
    ];
    place.kubectl.ok(&delete).await?;
    for (text, remove) in [
        (
            "the shop is closed",
            "validatingadmissionpolicybinding/guard",
        ),
        ("exceeded quota", ""),
    ] {
        eventually(&format!("a refusal: {text}"), SOON, || async {
            let ended = place.kubectl.run(&create, "").await?;
            ensure!(ended.code != Some(0), "it was created");
            Ok(ended.stderr.contains(text).then_some(()))
        })
        .await?;
        if !remove.is_empty() {
            place.kubectl.ok(&["delete", remove]).await?;
        }
    }
    Ok(())
}
