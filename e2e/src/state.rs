//! The state of a cluster as a list of objects, in a form that can be compared with that of another.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kube::{
    Client,
    discovery::{ApiResource, Discovery, verbs},
};
use serde_json::{Value, json};
use velero_testkit::compare::{ALLOWED, compare};

use crate::scope::is_outside;

/// How long nothing may change until a cluster counts as at rest.
const QUIET: Duration = Duration::from_secs(2);

/// Reads all objects of a cluster, without those of which each cluster has its own.
pub(crate) async fn read(client: &Client) -> Result<Vec<Value>> {
    let discovery = Discovery::new(client.clone())
        .run()
        .await
        .context("discovery")?;
    let mut objects = Vec::new();
    for group in discovery.groups() {
        for (kind, capabilities) in group.recommended_resources() {
            // What cannot be created, such as a ComponentStatus, is a view and no object.
            let is_stored = [verbs::LIST, verbs::CREATE, verbs::DELETE]
                .iter()
                .all(|verb| capabilities.supports_operation(verb));
            if is_stored {
                objects.extend(list(client, &kind).await?);
            }
        }
    }
    objects.retain(|object| !is_outside(object));
    Ok(objects)
}

async fn list(client: &Client, kind: &ApiResource) -> Result<Vec<Value>> {
    let prefix = match kind.group.is_empty() {
        true => format!("/api/{}", kind.version),
        false => format!("/apis/{}/{}", kind.group, kind.version),
    };
    let request = http::Request::get(format!("{prefix}/{}", kind.plural)).body(Vec::new())?;
    let mut answer: Value = client
        .request(request)
        .await
        .with_context(|| format!("cannot list {}", kind.plural))?;
    let Value::Array(mut items) = answer["items"].take() else {
        return Ok(Vec::new());
    };
    for item in &mut items {
        item["apiVersion"] = json!(kind.api_version);
        item["kind"] = json!(kind.kind);
    }
    Ok(items)
}

/// Waits until controllers have come to rest, and gives the state then.
///
/// At rest means: workloads have all their pods ready, claims are bound, and nothing has changed for two seconds.
///
/// # Errors
/// When they do not within `deadline`; the text names what is not ready or still changes.
pub(crate) async fn at_rest(client: &Client, deadline: Duration) -> Result<Vec<Value>> {
    at_rest_where(client, deadline, |_| true).await
}

/// As [`at_rest`], but that only workloads, claims and namespaces that `counts` says have to be ready: others may lack what
/// they need.
///
/// # Errors
/// As [`at_rest`].
pub(crate) async fn at_rest_where(
    client: &Client,
    deadline: Duration,
    counts: impl Fn(&Value) -> bool,
) -> Result<Vec<Value>> {
    let end = Instant::now() + deadline;
    let mut last = read(client).await?;
    loop {
        tokio::time::sleep(QUIET).await;
        let now = read(client).await?;
        let mut restless: Vec<String> = now
            .iter()
            .filter(|object| counts(object) && !is_at_rest(object))
            .map(|object| format!("{} is not ready", identity(object)))
            .collect();
        restless.extend(
            compare(&last, &now, ALLOWED)
                .iter()
                .map(ToString::to_string),
        );
        if restless.is_empty() {
            return Ok(now);
        }
        ensure!(
            Instant::now() < end,
            "the cluster has not come to rest within {deadline:?}: {}",
            restless.join(", ")
        );
        last = now;
    }
}

fn is_at_rest(object: &Value) -> bool {
    let status = &object["status"];
    let wanted = object["spec"]["replicas"].as_i64();
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    match text(object, "/kind") {
        "Deployment" | "StatefulSet" | "ReplicaSet" => {
            wanted.is_none_or(|wanted| count("readyReplicas") == wanted)
        }
        "DaemonSet" => count("numberReady") == count("desiredNumberScheduled"),
        "Pod" => matches!(text(object, "/status/phase"), "Running" | "Succeeded"),
        "PersistentVolumeClaim" | "PersistentVolume" => text(object, "/status/phase") == "Bound",
        "Job" => {
            object["spec"]["suspend"] == json!(true)
                || !text(object, "/status/completionTime").is_empty()
        }
        "Namespace" => text(object, "/status/phase") == "Active",
        _ => true,
    }
}

/// `Kind namespace/name`.
#[must_use]
pub(crate) fn identity(object: &Value) -> String {
    let (kind, namespace) = (text(object, "/kind"), text(object, "/metadata/namespace"));
    match namespace {
        "" => format!("{kind} {}", name(object)),
        _ => format!("{kind} {namespace}/{}", name(object)),
    }
}

/// The string at a JSON pointer, empty when there is none.
#[must_use]
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// `metadata.name`.
#[must_use]
pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}
