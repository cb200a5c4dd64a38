//! Pods.

use serde_json::{Value, json};

use crate::objects::meta;
use crate::status::ApiError;
use crate::store::State;

/// Completes a new pod: phase, priority, tolerations, and the token of its ServiceAccount.
pub(crate) fn new_pod(state: &mut State, tree: &mut Value, seed: bool) -> Result<(), ApiError> {
    if seed && tree["status"]["phase"].is_string() {
        return Ok(());
    }
    tree["status"] = json!({"phase": "Pending", "qosClass": qos(&tree["spec"])});
    let spec = &mut tree["spec"];
    if spec["serviceAccountName"]
        .as_str()
        .is_none_or(str::is_empty)
    {
        spec["serviceAccountName"] = "default".into();
        spec["serviceAccount"] = "default".into();
    }
    if spec["priority"].is_null() {
        spec["priority"] = 0.into();
        spec["preemptionPolicy"] = "PreemptLowerPriority".into();
    }
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    for key in [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ] {
        if !tolerations
            .iter()
            .any(|t| t["key"] == key && (t["effect"] == "NoExecute" || t["effect"].is_null()))
        {
            tolerations.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
        }
    }
    spec["tolerations"] = tolerations.into();
    token(state, tree)
}

/// Quality of service of a pod, from requests and limits.
fn qos(spec: &Value) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    for list in ["containers", "initContainers"] {
        for container in spec[list].as_array().into_iter().flatten() {
            let (requests, limits) = (
                &container["resources"]["requests"],
                &container["resources"]["limits"],
            );
            any |= requests.as_object().is_some_and(|o| !o.is_empty())
                || limits.as_object().is_some_and(|o| !o.is_empty());
            for key in ["cpu", "memory"] {
                let limit = limits.get(key);
                guaranteed &= limit.is_some() && requests.get(key).is_none_or(|r| Some(r) == limit);
            }
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// Mounts the token of the ServiceAccount, as the ServiceAccount admission plugin does.
fn token(state: &mut State, tree: &mut Value) -> Result<(), ApiError> {
    let (namespace, name) = (
        meta(tree, "namespace").to_owned(),
        meta(tree, "name").to_owned(),
    );
    let account = tree["spec"]["serviceAccountName"]
        .as_str()
        .unwrap_or("default")
        .to_owned();
    let Some(found) = state.get(
        "serviceaccounts",
        &crate::store::key(Some(&namespace), &account),
    ) else {
        let why = format!(
            "error looking up service account {namespace}/{account}: serviceaccount \"{account}\" not found"
        );
        return Err(ApiError::forbidden("pods", "", &name, &why));
    };
    let off = Value::Bool(false);
    let own = &tree["spec"]["automountServiceAccountToken"];
    if *own == off || (own.is_null() && found.tree()["automountServiceAccountToken"] == off) {
        return Ok(());
    }
    let volumes = tree["spec"]["volumes"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let given = volumes.iter().find_map(|v| {
        v["name"]
            .as_str()
            .filter(|n| n.starts_with("kube-api-access-"))
            .map(str::to_owned)
    });
    let volume = given
        .clone()
        .unwrap_or_else(|| format!("kube-api-access-{}", state.ids.suffix()));
    if mount(&mut tree["spec"], &volume) && given.is_none() {
        let mut volumes = volumes;
        volumes.push(json!({"name": volume, "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"items": [{"key": "ca.crt", "path": "ca.crt"}], "name": "kube-root-ca.crt"}},
            {"downwardAPI": {"items": [{"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}, "path": "namespace"}]}},
        ]}}));
        tree["spec"]["volumes"] = volumes.into();
    }
    Ok(())
}

/// Mounts a volume in all containers where nothing else lies in that place; says whether there was one.
fn mount(spec: &mut Value, volume: &str) -> bool {
    const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let given = container["volumeMounts"].as_array();
            let mut mounts = given.cloned().unwrap_or_default();
            if mounts.iter().any(|m| m["mountPath"] == MOUNT) {
                continue;
            }
            mounts.push(json!({"mountPath": MOUNT, "name": volume, "readOnly": true}));
            container["volumeMounts"] = mounts.into();
            mounted = true;
        }
    }
    mounted
}
