//! The bare POST loop over the objects that a restore has created: what a restore of them cannot beat.
//!
//! The loop that loads a cluster writes its Deployments last, so that it is over when the controllers begin. A restore
//! brings back their pods and claims long before its end and shares the processors with what the controllers make of
//! them. This loop does so, too: the same objects, kind by kind in the order of a restore.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::MultiGzDecoder;
use http::Request;
use kube::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{load::Body, post, report::Counted};

/// Name of the part in tables.
pub(crate) const PART: &str = "again";
/// Kinds of the loads that a restore puts first; all others follow in the order of their names.
const FIRST: [&str; 12] = [
    "customresourcedefinitions.apiextensions.k8s.io",
    "namespaces",
    "persistentvolumeclaims",
    "roles.rbac.authorization.k8s.io",
    "serviceaccounts",
    "rolebindings.rbac.authorization.k8s.io",
    "secrets",
    "configmaps",
    "pods",
    "replicasets.apps",
    "endpoints",
    "services",
];
/// How long the API server may take to serve a kind whose definition it has.
const SERVED: Duration = Duration::from_secs(30);

/// Arguments of the loop.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    kubeconfig: PathBuf,
    /// The archive of the backup.
    #[arg(long)]
    archive: PathBuf,
    /// The list of resources of the restore.
    #[arg(long)]
    list: PathBuf,
    /// Requests under way at a time.
    #[arg(long)]
    in_flight: usize,
}

/// Creates the objects and prints how many in which time.
pub(crate) async fn run(args: &Args) -> Result<()> {
    let kinds = read(&args.archive, &created(&args.list)?)?;
    let client = post::client(&args.kubeconfig).await?;
    let objects = kinds.values().map(Vec::len).sum();
    ensure!(objects > 0, "the restore has created nothing");
    let start = Instant::now();
    for bodies in kinds.into_values() {
        create_all(&client, bodies, args.in_flight).await?;
    }
    Counted {
        objects,
        seconds: start.elapsed().as_secs_f64(),
    }
    .print()
}

/// One kind; the first object waits until the kind is served.
async fn create_all(client: &Client, bodies: Vec<Body>, in_flight: usize) -> Result<()> {
    let bodies = Arc::new(bodies);
    let Some(first) = bodies.first() else {
        return Ok(());
    };
    let end = Instant::now() + SERVED;
    while let Err(error) = create(client, first).await {
        let is_missing = error
            .downcast_ref::<kube::Error>()
            .is_some_and(|error| matches!(error, kube::Error::Api(status) if status.code == 404));
        if !is_missing || Instant::now() > end {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let next = Arc::new(AtomicUsize::new(1));
    let mut workers: JoinSet<Result<()>> = JoinSet::new();
    for _ in 0..in_flight {
        let (client, next, bodies) = (client.clone(), next.clone(), bodies.clone());
        workers.spawn(async move {
            while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                create(&client, body).await?;
            }
            Ok(())
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    Ok(())
}

async fn create(client: &Client, body: &Body) -> Result<()> {
    let request = Request::post(&body.path)
        .header("Content-Type", "application/json")
        .body(body.json.clone())?;
    match client.request_text(request).await {
        Ok(_) => Ok(()),
        Err(error) => Err(anyhow::Error::new(error).context(format!("POST {}", body.path))),
    }
}

/// What a restore has created: kind as `apps/v1/Deployment`, and `namespace/name`.
fn created(list: &Path) -> Result<HashSet<(String, String)>> {
    let file = File::open(list).with_context(|| format!("cannot open {}", list.display()))?;
    let list: BTreeMap<String, Vec<String>> = serde_json::from_reader(MultiGzDecoder::new(file))?;
    let entries = list.into_iter().flat_map(|(kind, entries)| {
        let of_kind = |entry: String| {
            let name = entry.strip_suffix("(created)")?.to_owned();
            Some((kind.clone(), name))
        };
        entries.into_iter().filter_map(of_kind).collect::<Vec<_>>()
    });
    Ok(entries.collect())
}

/// The objects of an archive that were created, by the place of their kind.
fn read(
    archive: &Path,
    created: &HashSet<(String, String)>,
) -> Result<BTreeMap<(usize, String), Vec<Body>>> {
    let file = File::open(archive).with_context(|| format!("cannot open {}", archive.display()))?;
    let mut archive = tar::Archive::new(MultiGzDecoder::new(file));
    let mut kinds: BTreeMap<(usize, String), Vec<Body>> = BTreeMap::new();
    for entry in archive.entries()? {
        let entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let parts: Vec<&str> = path.split('/').collect();
        let (resource, namespace) = match parts[..] {
            ["resources", resource, "cluster", _] => (resource, ""),
            ["resources", resource, "namespaces", namespace, _] => (resource, namespace),
            _ => continue,
        };
        let object: Value = serde_json::from_reader(entry).with_context(|| path.clone())?;
        let (api, kind) = (text(&object["apiVersion"])?, text(&object["kind"])?);
        let name = text(&object["metadata"]["name"])?;
        let id = match namespace {
            "" => name.to_owned(),
            _ => format!("{namespace}/{name}"),
        };
        if !created.contains(&(format!("{api}/{kind}"), id)) {
            continue;
        }
        let place = FIRST.iter().position(|first| *first == resource);
        let place = (place.unwrap_or(FIRST.len()), resource.to_owned());
        let path = path_of(api, namespace, resource);
        let json = serde_json::to_vec(&anew(&object))?;
        kinds.entry(place).or_default().push(Body { path, json });
    }
    Ok(kinds)
}

fn text(value: &Value) -> Result<&str> {
    match value.as_str() {
        Some(text) => Ok(text),
        None => bail!("an object without its name or kind: {value}"),
    }
}

fn path_of(api: &str, namespace: &str, resource: &str) -> String {
    let root = if api.contains('/') { "apis" } else { "api" };
    let plural = resource.split('.').next().unwrap_or_default();
    match namespace {
        "" => format!("/{root}/{api}/{plural}"),
        _ => format!("/{root}/{api}/namespaces/{namespace}/{plural}"),
    }
}

/// An object as a restore creates it: without what the cluster has set that it came from.
fn anew(object: &Value) -> Value {
    let mut out = object.clone();
    let from = &object["metadata"];
    let mut metadata = json!({"name": from["name"]});
    for field in ["namespace", "labels", "annotations"] {
        if !from[field].is_null() {
            metadata[field] = from[field].clone();
        }
    }
    if let Some(notes) = metadata["annotations"].as_object_mut() {
        notes.retain(|key, _| !key.starts_with("pv.kubernetes.io/") && !key.starts_with("volume."));
    }
    out["metadata"] = metadata;
    let Some(fields) = out.as_object_mut() else {
        return out;
    };
    fields.remove("status");
    if let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut) {
        for field in ["volumeName", "clusterIP", "clusterIPs", "nodeName"] {
            spec.remove(field);
        }
        let has_token = |entry: &Value| {
            let name = entry["name"].as_str().unwrap_or_default();
            name.starts_with("kube-api-access-")
        };
        if let Some(volumes) = spec.get_mut("volumes").and_then(Value::as_array_mut) {
            volumes.retain(|volume| !has_token(volume));
        }
        let containers = spec.get_mut("containers").and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if let Some(mounts) = container["volumeMounts"].as_array_mut() {
                mounts.retain(|mount| !has_token(mount));
            }
        }
    }
    out
}
