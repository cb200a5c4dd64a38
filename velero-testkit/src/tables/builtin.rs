//! Columns of built-in kinds, and how their cells are made.

use serde_json::Value;

use super::columns::{Column, made, path, since, wide};

fn length(value: &Value) -> usize {
    value.as_object().map_or_else(
        || value.as_array().map_or(0, Vec::len),
        serde_json::Map::len,
    )
}

fn words(value: &Value) -> String {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(",")
}

fn or_none(text: &str) -> Value {
    if text.is_empty() {
        "<none>".into()
    } else {
        text.into()
    }
}

fn of_total(ready: &Value, total: &Value) -> Value {
    format!(
        "{}/{}",
        ready.as_i64().unwrap_or(0),
        total.as_i64().unwrap_or(0)
    )
    .into()
}

fn pod_ready(tree: &Value) -> Value {
    let statuses = tree["status"]["containerStatuses"].as_array();
    let ready = statuses
        .into_iter()
        .flatten()
        .filter(|s| s["ready"] == Value::Bool(true))
        .count();
    format!("{ready}/{}", length(&tree["spec"]["containers"])).into()
}

fn pod_status(tree: &Value) -> Value {
    if tree["metadata"]["deletionTimestamp"].is_string() {
        return "Terminating".into();
    }
    if tree["status"]["phase"] == "Succeeded" {
        return "Completed".into();
    }
    let reason = tree["status"]["reason"].as_str().filter(|r| !r.is_empty());
    reason
        .or_else(|| tree["status"]["phase"].as_str())
        .unwrap_or("Unknown")
        .into()
}

fn pod_restarts(tree: &Value) -> Value {
    let statuses = tree["status"]["containerStatuses"].as_array();
    let sum: i64 = statuses
        .into_iter()
        .flatten()
        .filter_map(|s| s["restartCount"].as_i64())
        .sum();
    sum.to_string().into()
}

fn service_ports(tree: &Value) -> Value {
    let ports = tree["spec"]["ports"].as_array().into_iter().flatten();
    let texts: Vec<String> = ports
        .map(|p| {
            let protocol = p["protocol"].as_str().unwrap_or("TCP");
            match p["nodePort"].as_u64().filter(|n| *n > 0) {
                Some(node) => format!("{}:{node}/{protocol}", p["port"]),
                None => format!("{}/{protocol}", p["port"]),
            }
        })
        .collect();
    or_none(&texts.join(","))
}

fn external_ip(tree: &Value) -> Value {
    let spec = &tree["spec"];
    if spec["type"] == "ExternalName" {
        return spec["externalName"].clone();
    }
    let ingress = tree["status"]["loadBalancer"]["ingress"]
        .as_array()
        .into_iter()
        .flatten();
    let mut all: Vec<&str> = ingress
        .filter_map(|i| i["ip"].as_str().or_else(|| i["hostname"].as_str()))
        .collect();
    all.extend(
        spec["externalIPs"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str),
    );
    match (all.is_empty(), spec["type"] == "LoadBalancer") {
        (true, true) => "<pending>".into(),
        (true, false) => "<none>".into(),
        (false, _) => all.join(",").into(),
    }
}

pub(super) fn selector(tree: &Value) -> Value {
    let spec = &tree["spec"]["selector"];
    let labels = spec
        .get("matchLabels")
        .unwrap_or(spec)
        .as_object()
        .into_iter()
        .flatten();
    or_none(
        &labels
            .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(","),
    )
}

pub(super) fn containers(tree: &Value, field: &str) -> Value {
    let spec = tree
        .pointer("/spec/template/spec/containers")
        .and_then(Value::as_array);
    spec.into_iter()
        .flatten()
        .filter_map(|c| c[field].as_str())
        .collect::<Vec<_>>()
        .join(",")
        .into()
}

fn modes(value: &Value) -> Value {
    let short = |mode: &str| match mode {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        _ => "RWOP",
    };
    let all = value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    all.map(short).collect::<Vec<_>>().join(",").into()
}

fn claim_of(tree: &Value) -> Value {
    let claim = &tree["spec"]["claimRef"];
    match (claim["namespace"].as_str(), claim["name"].as_str()) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}").into(),
        _ => "".into(),
    }
}

fn terminating_or(tree: &Value) -> Value {
    if tree["metadata"]["deletionTimestamp"].is_string() {
        "Terminating".into()
    } else {
        tree["status"]["phase"].clone()
    }
}

fn node_status(tree: &Value) -> Value {
    let conditions = tree["status"]["conditions"].as_array();
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|c| c["type"] == "Ready");
    match ready.and_then(|c| c["status"].as_str()) {
        Some("True") => "Ready".into(),
        Some("False") => "NotReady".into(),
        _ => "Unknown".into(),
    }
}

fn job_status(tree: &Value) -> Value {
    let conditions = tree["status"]["conditions"].as_array();
    let holds = |kind: &str| {
        conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == kind && c["status"] == "True")
    };
    for (kind, text) in [
        ("Complete", "Complete"),
        ("Failed", "Failed"),
        ("Suspended", "Suspended"),
    ] {
        if holds(kind) {
            return text.into();
        }
    }
    "Running".into()
}

pub(super) fn default_class(tree: &Value) -> Value {
    let name = tree["metadata"]["name"].as_str().unwrap_or_default();
    let marked =
        tree["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true";
    if marked {
        format!("{name} (default)").into()
    } else {
        name.into()
    }
}

fn event_object(tree: &Value) -> Value {
    let object = if tree["involvedObject"].is_object() {
        &tree["involvedObject"]
    } else {
        &tree["regarding"]
    };
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    format!("{kind}/{}", object["name"].as_str().unwrap_or_default()).into()
}

fn hosts(tree: &Value) -> Value {
    let rules = tree["spec"]["rules"].as_array().into_iter().flatten();
    let all: Vec<&str> = rules.filter_map(|r| r["host"].as_str()).collect();
    if all.is_empty() {
        "*".into()
    } else {
        all.join(",").into()
    }
}

/// Columns of the core group.
pub(super) fn core(named: (&str, &str)) -> Option<Vec<Column>> {
    Some(match named {
        ("", "pods") => vec![
            made("Ready", pod_ready),
            made("Status", pod_status),
            made("Restarts", pod_restarts),
            wide(path("IP", ".status.podIP")),
            wide(path("Node", ".spec.nodeName")),
        ],
        ("", "services") => vec![
            path("Type", ".spec.type"),
            made("Cluster-IP", |t| {
                or_none(t["spec"]["clusterIP"].as_str().unwrap_or_default())
            }),
            made("External-IP", external_ip),
            made("Port(s)", service_ports),
            wide(made("Selector", selector)),
        ],
        ("", "namespaces") => vec![path("Status", ".status.phase")],
        ("", "nodes") => vec![
            made("Status", node_status),
            path("Version", ".status.nodeInfo.kubeletVersion"),
        ],
        ("", "configmaps") => {
            vec![made("Data", |t| {
                (length(&t["data"]) + length(&t["binaryData"]))
                    .to_string()
                    .into()
            })]
        }
        ("", "secrets") => vec![
            path("Type", ".type"),
            made("Data", |t| length(&t["data"]).to_string().into()),
        ],
        ("" | "events.k8s.io", "events") => vec![
            since("Last Seen", ".metadata.creationTimestamp"),
            path("Type", ".type"),
            path("Reason", ".reason"),
            made("Object", event_object),
            made("Message", |t| {
                t.get("message")
                    .or_else(|| t.get("note"))
                    .cloned()
                    .unwrap_or_default()
            }),
        ],
        ("", "endpoints") => vec![made("Endpoints", |t| {
            let subsets = t["subsets"].as_array().into_iter().flatten();
            let all: Vec<&str> = subsets
                .flat_map(|s| s["addresses"].as_array().into_iter().flatten())
                .filter_map(|a| a["ip"].as_str())
                .collect();
            or_none(&all.join(","))
        })],
        ("", "replicationcontrollers") => vec![made("Desired", |t| {
            t["spec"]["replicas"].to_string().into()
        })],
        _ => return None,
    })
}

/// Columns of volumes.
pub(super) fn storage(named: (&str, &str)) -> Option<Vec<Column>> {
    Some(match named {
        ("", "persistentvolumeclaims") => vec![
            made("Status", terminating_or),
            path("Volume", ".spec.volumeName"),
            path("Capacity", ".status.capacity.storage"),
            made("Access Modes", |t| modes(&t["status"]["accessModes"])),
            path("StorageClass", ".spec.storageClassName"),
            wide(path("VolumeMode", ".spec.volumeMode")),
        ],
        ("", "persistentvolumes") => vec![
            path("Capacity", ".spec.capacity.storage"),
            made("Access Modes", |t| modes(&t["spec"]["accessModes"])),
            path("Reclaim Policy", ".spec.persistentVolumeReclaimPolicy"),
            made("Status", terminating_or),
            made("Claim", claim_of),
            path("StorageClass", ".spec.storageClassName"),
        ],
        ("storage.k8s.io", "storageclasses") => vec![
            path("Provisioner", ".provisioner"),
            path("ReclaimPolicy", ".reclaimPolicy"),
            path("VolumeBindingMode", ".volumeBindingMode"),
        ],
        ("storage.k8s.io", "csinodes") => vec![made("Drivers", |t| {
            length(&t["spec"]["drivers"]).to_string().into()
        })],
        ("storage.k8s.io", "csidrivers") => vec![made("Modes", |t| {
            words(&t["spec"]["volumeLifecycleModes"]).into()
        })],
        _ => return None,
    })
}

/// A count, as text; one that is not there is zero.
fn count(value: &Value) -> Value {
    value.as_i64().unwrap_or(0).to_string().into()
}

fn suspended(tree: &Value) -> Value {
    if tree["spec"]["suspend"] == Value::Bool(true) {
        "True".into()
    } else {
        "False".into()
    }
}

fn scaled(tree: &Value) -> Value {
    let target = &tree["spec"]["scaleTargetRef"];
    let text = |key: &str| target[key].as_str().unwrap_or_default();
    format!("{}/{}", text("kind"), text("name")).into()
}

/// Columns of what runs pods.
pub(super) fn workloads(named: (&str, &str)) -> Option<Vec<Column>> {
    let ready = || {
        made("Ready", |t| {
            of_total(&t["status"]["readyReplicas"], &t["spec"]["replicas"])
        })
    };
    Some(match named {
        ("apps", "deployments") => vec![
            ready(),
            made("Up-to-date", |t| count(&t["status"]["updatedReplicas"])),
            made("Available", |t| count(&t["status"]["availableReplicas"])),
        ],
        ("apps", "statefulsets") => vec![ready()],
        ("apps", "replicasets") => vec![
            made("Desired", |t| t["spec"]["replicas"].to_string().into()),
            made("Current", |t| count(&t["status"]["replicas"])),
            made("Ready", |t| count(&t["status"]["readyReplicas"])),
        ],
        ("apps", "daemonsets") => vec![
            made("Desired", |t| count(&t["status"]["desiredNumberScheduled"])),
            made("Ready", |t| count(&t["status"]["numberReady"])),
        ],
        ("batch", "jobs") => vec![
            made("Status", job_status),
            made("Completions", |t| {
                of_total(&t["status"]["succeeded"], &t["spec"]["completions"])
            }),
        ],
        ("batch", "cronjobs") => vec![
            path("Schedule", ".spec.schedule"),
            made("Suspend", suspended),
            made("Active", |t| {
                length(&t["status"]["active"]).to_string().into()
            }),
            since("Last Schedule", ".status.lastScheduleTime"),
        ],
        ("policy", "poddisruptionbudgets") => vec![
            path("Min Available", ".spec.minAvailable"),
            path("Max Unavailable", ".spec.maxUnavailable"),
        ],
        ("autoscaling", _) => vec![
            made("Reference", scaled),
            made("MinPods", |t| t["spec"]["minReplicas"].to_string().into()),
            made("MaxPods", |t| t["spec"]["maxReplicas"].to_string().into()),
        ],
        _ => return None,
    })
}

/// Columns of the rest.
pub(super) fn others(named: (&str, &str)) -> Option<Vec<Column>> {
    Some(match named {
        ("networking.k8s.io", "ingresses") => {
            vec![
                path("Class", ".spec.ingressClassName"),
                made("Hosts", hosts),
            ]
        }
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => {
            vec![made("Role", |t| {
                let role = &t["roleRef"];
                format!(
                    "{}/{}",
                    role["kind"].as_str().unwrap_or_default(),
                    role["name"].as_str().unwrap_or_default()
                )
                .into()
            })]
        }
        ("rbac.authorization.k8s.io", "roles" | "clusterroles") | ("apiextensions.k8s.io", _) => {
            vec![path("Created At", ".metadata.creationTimestamp")]
        }
        ("scheduling.k8s.io", "priorityclasses") => vec![path("Value", ".value")],
        ("apiregistration.k8s.io", "apiservices") => vec![path("Service", ".spec.service.name")],
        ("networking.k8s.io", "networkpolicies") => {
            vec![made("Pod-Selector", |t| {
                or_none(&selector_text(&t["spec"]["podSelector"]))
            })]
        }
        ("discovery.k8s.io", "endpointslices") => vec![path("AddressType", ".addressType")],
        ("coordination.k8s.io", "leases") => vec![path("Holder", ".spec.holderIdentity")],
        _ => return None,
    })
}

fn selector_text(value: &Value) -> String {
    let labels = value["matchLabels"].as_object().into_iter().flatten();
    labels
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect::<Vec<_>>()
        .join(",")
}
