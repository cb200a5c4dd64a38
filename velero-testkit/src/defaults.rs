//! Defaults of built-in kinds: one table by type, and the rules that look at more than one field
//! (Go: `pkg/apis/*/v1/defaults.go` and `zz_generated.defaults.go`).

use std::collections::HashMap;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::registry::Resource;
use crate::schema::{Schema, Ty, TypeId};

/// (type, field, JSON): set where the field is absent.
const TABLE: &[(&str, &str, &str)] = &[
    (
        "core.v1.Container",
        "terminationMessagePath",
        "\"/dev/termination-log\"",
    ),
    ("core.v1.Container", "terminationMessagePolicy", "\"File\""),
    (
        "core.v1.EphemeralContainer",
        "terminationMessagePath",
        "\"/dev/termination-log\"",
    ),
    (
        "core.v1.EphemeralContainer",
        "terminationMessagePolicy",
        "\"File\"",
    ),
    ("core.v1.ContainerPort", "protocol", "\"TCP\""),
    ("core.v1.PodSpec", "dnsPolicy", "\"ClusterFirst\""),
    ("core.v1.PodSpec", "restartPolicy", "\"Always\""),
    ("core.v1.PodSpec", "securityContext", "{}"),
    ("core.v1.PodSpec", "terminationGracePeriodSeconds", "30"),
    ("core.v1.PodSpec", "schedulerName", "\"default-scheduler\""),
    ("core.v1.Probe", "timeoutSeconds", "1"),
    ("core.v1.Probe", "periodSeconds", "10"),
    ("core.v1.Probe", "successThreshold", "1"),
    ("core.v1.Probe", "failureThreshold", "3"),
    ("core.v1.GRPCAction", "service", "\"\""),
    ("core.v1.HTTPGetAction", "path", "\"/\""),
    ("core.v1.HTTPGetAction", "scheme", "\"HTTP\""),
    ("core.v1.SecretVolumeSource", "defaultMode", "420"),
    ("core.v1.ConfigMapVolumeSource", "defaultMode", "420"),
    ("core.v1.DownwardAPIVolumeSource", "defaultMode", "420"),
    ("core.v1.ProjectedVolumeSource", "defaultMode", "420"),
    (
        "core.v1.ServiceAccountTokenProjection",
        "expirationSeconds",
        "3600",
    ),
    ("core.v1.HostPathVolumeSource", "type", "\"\""),
    ("core.v1.ISCSIVolumeSource", "iscsiInterface", "\"default\""),
    (
        "core.v1.ISCSIPersistentVolumeSource",
        "iscsiInterface",
        "\"default\"",
    ),
    ("core.v1.RBDVolumeSource", "pool", "\"rbd\""),
    ("core.v1.RBDVolumeSource", "user", "\"admin\""),
    (
        "core.v1.RBDVolumeSource",
        "keyring",
        "\"/etc/ceph/keyring\"",
    ),
    ("core.v1.RBDPersistentVolumeSource", "pool", "\"rbd\""),
    ("core.v1.RBDPersistentVolumeSource", "user", "\"admin\""),
    (
        "core.v1.RBDPersistentVolumeSource",
        "keyring",
        "\"/etc/ceph/keyring\"",
    ),
    (
        "core.v1.AzureDiskVolumeSource",
        "cachingMode",
        "\"ReadWrite\"",
    ),
    ("core.v1.AzureDiskVolumeSource", "fsType", "\"ext4\""),
    ("core.v1.AzureDiskVolumeSource", "kind", "\"Shared\""),
    ("core.v1.AzureDiskVolumeSource", "readOnly", "false"),
    ("core.v1.ObjectFieldSelector", "apiVersion", "\"v1\""),
    ("core.v1.Secret", "type", "\"Opaque\""),
    (
        "core.v1.PersistentVolumeSpec",
        "persistentVolumeReclaimPolicy",
        "\"Retain\"",
    ),
    (
        "core.v1.PersistentVolumeSpec",
        "volumeMode",
        "\"Filesystem\"",
    ),
    ("core.v1.PersistentVolumeStatus", "phase", "\"Pending\""),
    (
        "core.v1.PersistentVolumeClaimSpec",
        "volumeMode",
        "\"Filesystem\"",
    ),
    (
        "core.v1.PersistentVolumeClaimStatus",
        "phase",
        "\"Pending\"",
    ),
    ("core.v1.EndpointPort", "protocol", "\"TCP\""),
    ("core.v1.NamespaceStatus", "phase", "\"Active\""),
    ("core.v1.ServiceSpec", "sessionAffinity", "\"None\""),
    ("core.v1.ServiceSpec", "type", "\"ClusterIP\""),
    ("core.v1.ServicePort", "protocol", "\"TCP\""),
    ("core.v1.ReplicationControllerSpec", "replicas", "1"),
    ("apps.v1.DeploymentSpec", "replicas", "1"),
    ("apps.v1.DeploymentSpec", "revisionHistoryLimit", "10"),
    ("apps.v1.DeploymentSpec", "progressDeadlineSeconds", "600"),
    ("apps.v1.DeploymentStrategy", "type", "\"RollingUpdate\""),
    ("apps.v1.DaemonSetSpec", "revisionHistoryLimit", "10"),
    (
        "apps.v1.DaemonSetUpdateStrategy",
        "type",
        "\"RollingUpdate\"",
    ),
    (
        "apps.v1.StatefulSetSpec",
        "podManagementPolicy",
        "\"OrderedReady\"",
    ),
    ("apps.v1.StatefulSetSpec", "replicas", "1"),
    ("apps.v1.StatefulSetSpec", "revisionHistoryLimit", "10"),
    (
        "apps.v1.StatefulSetSpec",
        "persistentVolumeClaimRetentionPolicy",
        "{\"whenDeleted\":\"Retain\",\"whenScaled\":\"Retain\"}",
    ),
    ("apps.v1.ReplicaSetSpec", "replicas", "1"),
    ("batch.v1.CronJobSpec", "concurrencyPolicy", "\"Allow\""),
    ("batch.v1.CronJobSpec", "suspend", "false"),
    ("batch.v1.CronJobSpec", "successfulJobsHistoryLimit", "3"),
    ("batch.v1.CronJobSpec", "failedJobsHistoryLimit", "1"),
    (
        "rbac.v1.RoleRef",
        "apiGroup",
        "\"rbac.authorization.k8s.io\"",
    ),
    ("storage.v1.StorageClass", "reclaimPolicy", "\"Delete\""),
    (
        "storage.v1.StorageClass",
        "volumeBindingMode",
        "\"Immediate\"",
    ),
    ("storage.v1.CSIDriverSpec", "attachRequired", "true"),
    ("storage.v1.CSIDriverSpec", "podInfoOnMount", "false"),
    ("storage.v1.CSIDriverSpec", "storageCapacity", "false"),
    (
        "storage.v1.CSIDriverSpec",
        "fsGroupPolicy",
        "\"ReadWriteOnceWithFSType\"",
    ),
    (
        "storage.v1.CSIDriverSpec",
        "volumeLifecycleModes",
        "[\"Persistent\"]",
    ),
    ("storage.v1.CSIDriverSpec", "requiresRepublish", "false"),
    ("storage.v1.CSIDriverSpec", "seLinuxMount", "false"),
    ("networking.v1.NetworkPolicyPort", "protocol", "\"TCP\""),
    (
        "networking.v1.IngressClassParametersReference",
        "scope",
        "\"Cluster\"",
    ),
    (
        "scheduling.v1.PriorityClass",
        "preemptionPolicy",
        "\"PreemptLowerPriority\"",
    ),
    ("discovery.v1.EndpointPort", "name", "\"\""),
    ("discovery.v1.EndpointPort", "protocol", "\"TCP\""),
    (
        "admissionregistration.v1.ValidatingWebhook",
        "failurePolicy",
        "\"Fail\"",
    ),
    (
        "admissionregistration.v1.ValidatingWebhook",
        "matchPolicy",
        "\"Equivalent\"",
    ),
    (
        "admissionregistration.v1.ValidatingWebhook",
        "namespaceSelector",
        "{}",
    ),
    (
        "admissionregistration.v1.ValidatingWebhook",
        "objectSelector",
        "{}",
    ),
    (
        "admissionregistration.v1.ValidatingWebhook",
        "timeoutSeconds",
        "10",
    ),
    (
        "admissionregistration.v1.MutatingWebhook",
        "failurePolicy",
        "\"Fail\"",
    ),
    (
        "admissionregistration.v1.MutatingWebhook",
        "matchPolicy",
        "\"Equivalent\"",
    ),
    (
        "admissionregistration.v1.MutatingWebhook",
        "namespaceSelector",
        "{}",
    ),
    (
        "admissionregistration.v1.MutatingWebhook",
        "objectSelector",
        "{}",
    ),
    (
        "admissionregistration.v1.MutatingWebhook",
        "timeoutSeconds",
        "10",
    ),
    (
        "admissionregistration.v1.MutatingWebhook",
        "reinvocationPolicy",
        "\"Never\"",
    ),
    (
        "admissionregistration.v1.RuleWithOperations",
        "scope",
        "\"*\"",
    ),
    ("admissionregistration.v1.ServiceReference", "port", "443"),
    (
        "admissionregistration.v1.ValidatingAdmissionPolicySpec",
        "failurePolicy",
        "\"Fail\"",
    ),
    (
        "admissionregistration.v1.MatchResources",
        "matchPolicy",
        "\"Equivalent\"",
    ),
    (
        "admissionregistration.v1.MatchResources",
        "namespaceSelector",
        "{}",
    ),
    (
        "admissionregistration.v1.MatchResources",
        "objectSelector",
        "{}",
    ),
    (
        "autoscaling.v2.HorizontalPodAutoscalerSpec",
        "minReplicas",
        "1",
    ),
    (
        "autoscaling.v2.HorizontalPodAutoscalerSpec",
        "metrics",
        "[{\"type\":\"Resource\",\"resource\":{\"name\":\"cpu\",\"target\":{\"type\":\"Utilization\",\"averageUtilization\":80}}}]",
    ),
    (
        "apiextensions.v1.CustomResourceDefinitionSpec",
        "conversion",
        "{\"strategy\":\"None\"}",
    ),
    ("apiextensions.v1.ServiceReference", "port", "443"),
    ("apiregistration.v1.ServiceReference", "port", "443"),
];

type Defaults = HashMap<&'static str, Vec<(&'static str, Value)>>;

fn table() -> &'static Defaults {
    static PARSED: OnceLock<Defaults> = OnceLock::new();
    PARSED.get_or_init(|| {
        let mut map: Defaults = HashMap::new();
        for (ty, field, text) in TABLE {
            map.entry(ty)
                .or_default()
                .push((field, serde_json::from_str(text).unwrap_or_default()));
        }
        map
    })
}

fn absent(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    }
}

fn set(tree: &mut Value, field: &str, default: impl Into<Value>) {
    if tree.is_object() && absent(tree.get(field)) {
        tree[field] = default.into();
    }
}

/// Fills the defaults of an object of a built-in kind.
pub(crate) fn apply(resource: &Resource, tree: &mut Value) {
    let Some(root) = &resource.root else { return };
    walk(&root.schema, root.id, tree);
    if resource.is("", "pods") {
        pod(tree);
    }
}

fn walk(schema: &Schema, id: TypeId, value: &mut Value) {
    match (schema.ty(id), &mut *value) {
        (Ty::Struct(s), Value::Object(map)) => {
            if let Some(defaults) = table().get(s.name.as_ref()) {
                for (field, default) in defaults {
                    if absent(map.get(*field)) {
                        map.insert((*field).to_owned(), default.clone());
                    }
                }
            }
            for (key, child) in map.iter_mut() {
                if matches!(child, Value::Object(_) | Value::Array(_)) {
                    walk(schema, schema.child(id, key), child);
                }
            }
            special(&s.name, value);
        }
        (Ty::Map { elem, .. }, Value::Object(map)) => map
            .values_mut()
            .for_each(|child| walk(schema, *elem, child)),
        (Ty::List { elem, .. }, Value::Array(items)) => items
            .iter_mut()
            .for_each(|child| walk(schema, *elem, child)),
        _ => {}
    }
}

/// Rules that look at several fields of a type.
fn special(name: &str, tree: &mut Value) {
    match name {
        "core.v1.Container" | "core.v1.EphemeralContainer" => {
            let policy = pull_policy(tree["image"].as_str().unwrap_or_default());
            set(tree, "imagePullPolicy", policy);
        }
        "core.v1.PodSpec" => {
            let account = tree["serviceAccountName"].clone();
            let old = tree["serviceAccount"].clone();
            if !absent(Some(&account)) {
                tree["serviceAccount"] = account;
            } else if !absent(Some(&old)) {
                tree["serviceAccountName"] = old;
            }
        }
        "core.v1.Volume" => {
            if tree.as_object().is_some_and(|v| v.len() <= 1) {
                tree["emptyDir"] = json!({});
            }
        }
        "core.v1.ServiceSpec" => service(tree),
        "core.v1.ReplicationController" => {
            let labels = tree["spec"]["template"]["metadata"]["labels"].clone();
            if labels.is_object() {
                set(&mut tree["spec"], "selector", labels.clone());
                set(&mut tree["metadata"], "labels", labels);
            }
        }
        "core.v1.NodeStatus" => {
            if tree["capacity"].is_object() {
                let capacity = tree["capacity"].clone();
                set(tree, "allocatable", capacity);
            }
        }
        "core.v1.LimitRangeItem" if tree["type"] == "Container" => limit_range(tree),
        "apps.v1.DeploymentStrategy" if tree["type"] == "RollingUpdate" => {
            set(tree, "rollingUpdate", json!({}));
            set(&mut tree["rollingUpdate"], "maxUnavailable", "25%");
            set(&mut tree["rollingUpdate"], "maxSurge", "25%");
        }
        "apps.v1.DaemonSetUpdateStrategy" if tree["type"] == "RollingUpdate" => {
            set(tree, "rollingUpdate", json!({}));
            set(&mut tree["rollingUpdate"], "maxUnavailable", 1);
            set(&mut tree["rollingUpdate"], "maxSurge", 0);
        }
        "apps.v1.StatefulSetUpdateStrategy" => {
            if absent(tree.get("type")) {
                tree["type"] = "RollingUpdate".into();
                set(tree, "rollingUpdate", json!({}));
            }
            if tree["type"] == "RollingUpdate" && tree["rollingUpdate"].is_object() {
                set(&mut tree["rollingUpdate"], "partition", 0);
            }
        }
        "apps.v1.StatefulSetSpec" => {
            // Claim templates carry their kind in what the server returns.
            for claim in tree["volumeClaimTemplates"]
                .as_array_mut()
                .into_iter()
                .flatten()
            {
                set(claim, "apiVersion", "v1");
                set(claim, "kind", "PersistentVolumeClaim");
            }
        }
        "batch.v1.Job" => {
            let labels = tree["spec"]["template"]["metadata"]["labels"].clone();
            if labels.is_object() && tree["metadata"].is_object() {
                set(&mut tree["metadata"], "labels", labels);
            }
            if tree["spec"].is_object() {
                job(&mut tree["spec"]);
            }
        }
        "core.v1.Namespace" => {
            let name = tree["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if !name.is_empty() {
                tree["metadata"]["labels"]["kubernetes.io/metadata.name"] = name.into();
            }
        }
        "core.v1.Secret" => string_data(tree),
        "apps.v1.DaemonSet" => {
            let annotations = &mut tree["metadata"]["annotations"];
            set_new(annotations, "deprecated.daemonset.template.generation", "0");
        }
        "apiextensions.v1.CustomResourceDefinitionNames" => {
            let kind = tree["kind"].as_str().unwrap_or_default().to_owned();
            if !kind.is_empty() {
                set(tree, "singular", kind.to_lowercase());
                set(tree, "listKind", format!("{kind}List"));
            }
        }
        "rbac.v1.Subject" => {
            if matches!(tree["kind"].as_str(), Some("User" | "Group")) {
                set(tree, "apiGroup", "rbac.authorization.k8s.io");
            }
        }
        "networking.v1.NetworkPolicySpec" => {
            if absent(tree.get("policyTypes")) {
                let egress = tree["egress"].as_array().is_some_and(|e| !e.is_empty());
                tree["policyTypes"] = if egress {
                    json!(["Ingress", "Egress"])
                } else {
                    json!(["Ingress"])
                };
            }
        }
        _ => {}
    }
}

/// Like [`set`], for an object that may be absent itself.
fn set_new(tree: &mut Value, field: &str, default: &str) {
    if absent(tree.get(field)) && (tree.is_null() || tree.is_object()) {
        tree[field] = default.into();
    }
}

/// `stringData` is written into `data`.
fn string_data(tree: &mut Value) {
    use base64::Engine as _;
    let Some(Value::Object(texts)) = crate::objects::remove(tree, "stringData") else {
        return;
    };
    for (key, value) in texts {
        let raw = value.as_str().unwrap_or_default();
        tree["data"][key] = base64::engine::general_purpose::STANDARD.encode(raw).into();
    }
}

/// `Always` for images without a tag or with `latest`.
fn pull_policy(image: &str) -> &'static str {
    let last = image.rsplit('/').next().unwrap_or_default();
    if last.contains('@') {
        return "IfNotPresent";
    }
    match last.split_once(':') {
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn host_ports(spec: &mut Value) {
    for list in ["containers", "initContainers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            for port in container["ports"].as_array_mut().into_iter().flatten() {
                let number = port["containerPort"].clone();
                set(port, "hostPort", number);
            }
            drop_null(container, "ports");
        }
        drop_null(spec, list);
    }
}

/// Takes away what indexing put there.
fn drop_null(tree: &mut Value, key: &str) {
    if let Some(map) = tree.as_object_mut()
        && map.get(key).is_some_and(Value::is_null)
    {
        map.remove(key);
    }
}

fn service(spec: &mut Value) {
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if spec["sessionAffinity"] == "None" {
        crate::objects::remove(spec, "sessionAffinityConfig");
    } else if spec["sessionAffinity"] == "ClientIP"
        && absent(spec.pointer("/sessionAffinityConfig/clientIP/timeoutSeconds"))
    {
        spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": 10800}});
    }
    if let Some(ports) = spec.get_mut("ports").and_then(Value::as_array_mut) {
        for port in ports {
            let number = port["port"].clone();
            if absent(port.get("targetPort")) || port["targetPort"] == 0 {
                port["targetPort"] = number;
            }
        }
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP"
            && spec["externalIPs"]
                .as_array()
                .is_some_and(|l| !l.is_empty()))
    {
        set(spec, "externalTrafficPolicy", "Cluster");
    }
    drop_null(spec, "externalIPs");
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        set(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", true);
    }
}

fn limit_range(item: &mut Value) {
    let fill = |item: &mut Value, target: &str, source: &str| {
        for (key, value) in item[source].as_object().cloned().into_iter().flatten() {
            if item[target].get(&key).is_none() {
                item[target][key] = value;
            }
        }
    };
    fill(item, "default", "max");
    fill(item, "defaultRequest", "default");
    fill(item, "defaultRequest", "min");
    for key in ["default", "defaultRequest", "max", "min"] {
        drop_null(item, key);
    }
}

fn job(spec: &mut Value) {
    set(spec, "completionMode", "NonIndexed");
    set(spec, "suspend", false);
    set(spec, "manualSelector", false);
    if absent(spec.get("completions")) && absent(spec.get("parallelism")) {
        spec["completions"] = 1.into();
    }
    set(spec, "parallelism", 1);
    let indexed = !absent(spec.get("backoffLimitPerIndex"));
    set(
        spec,
        "backoffLimit",
        if indexed { i64::from(i32::MAX) } else { 6 },
    );
    let failed = !absent(spec.get("podFailurePolicy"));
    set(
        spec,
        "podReplacementPolicy",
        if failed {
            "Failed"
        } else {
            "TerminatingOrFailed"
        },
    );
}

/// Rules of pods that do not hold for templates.
fn pod(tree: &mut Value) {
    let spec = &mut tree["spec"];
    set(spec, "enableServiceLinks", true);
    if spec["hostNetwork"] == Value::Bool(true) {
        host_ports(spec);
    }
    for list in ["containers", "initContainers"] {
        let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        for container in containers {
            let limits = container["resources"]["limits"]
                .as_object()
                .cloned()
                .unwrap_or_default();
            for (key, value) in limits {
                if container["resources"]["requests"].get(&key).is_none() {
                    container["resources"]["requests"][key] = value;
                }
            }
            if let Some(resources) = container.get_mut("resources") {
                drop_null(resources, "limits");
                drop_null(resources, "requests");
            }
        }
    }
}
