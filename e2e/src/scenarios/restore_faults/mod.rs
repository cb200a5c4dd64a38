//! What goes wrong between a restore and a real API server: the run ends, all that can be restored is, and the result says
//! what is missing.

mod definitions;
mod outages;
mod refusals;

use std::{io::Cursor, time::Duration};

use anyhow::{Context as _, Result, ensure};
use http::{Method, Request};
use kube::Client;
use serde_json::{Value, json};
use velero_restore::{
    Cluster, RestoreEngine, RestoreOptions, RestoreRequest, RestoreResult, RestoreRun,
    velero_core::{
        GroupResource,
        api::Restore,
        archive::{ArchiveWriter, ArchiveWriterOptions, ItemPath},
        result::Record,
    },
};

use crate::{
    Context, ControlPlane, Kubectl, Options,
    gate::{Gate, gated, plain_client},
};

/// Longest time for one restore, whatever happens in it.
const DEADLINE: Duration = Duration::from_secs(150);

/// The API server goes and comes back: under the library, while hooks wait, and under the operator.
pub(super) async fn go_and_come_back(cx: &Context) -> Result<()> {
    outages::restart(cx).await.context("creations")?;
    outages::watch(cx).await.context("a watch that is lost")?;
    outages::operator(cx).await.context("under the operator")
}

/// One fault after the other.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let options = Options {
        nodes: 0,
        scheduler: false,
        audit: false,
        ..Options::default()
    };
    let plane = cx.control_plane(options).await?;
    let faults = Faults {
        kubectl: Kubectl::new(&plane)?,
        client: plain_client(plane.kubeconfig()).await?,
        plane: &plane,
    };
    faults.definitions().await.context("definitions")?;
    faults
        .never_served()
        .await
        .context("a definition that is never served")?;
    faults.storm().await.context("refusals")?;
    faults
        .webhook_of_the_archive()
        .await
        .context("a webhook that comes along")?;
    faults
        .webhook_of_the_cluster()
        .await
        .context("a webhook that is there")?;
    faults.namespace().await.context("a namespace that goes")?;
    faults.sizes_and_kinds().await.context("sizes and kinds")?;
    plane.stop().await;
    Ok(())
}

struct Faults<'a> {
    plane: &'a ControlPlane,
    kubectl: Kubectl,
    client: Client,
}

fn lines(result: &RestoreResult) -> Vec<String> {
    result.records.iter().map(Record::line).collect()
}

fn clean(result: &RestoreResult) -> Result<()> {
    ensure!(result.records.is_empty(), "{:?}", lines(result));
    Ok(())
}

fn text<'a>(item: &'a Value, at: &str) -> &'a str {
    item.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

/// An archive of objects; kinds are named as Kubernetes does.
fn archive(items: &[Value]) -> Result<Vec<u8>> {
    let mut writer = ArchiveWriter::new(Vec::new(), ArchiveWriterOptions::default())?;
    for item in items {
        let kind = text(item, "/kind").to_lowercase();
        let plural = match kind.as_str() {
            "ingress" => "ingresses".to_owned(),
            _ => format!("{kind}s"),
        };
        let group = text(item, "/apiVersion")
            .split_once('/')
            .map_or("", |(group, _)| group);
        let (namespace, name) = (
            text(item, "/metadata/namespace"),
            text(item, "/metadata/name"),
        );
        let path = ItemPath::new(GroupResource::new(group, plural), namespace, name);
        writer.append(&path, "v1", true, item.to_string().as_bytes())?;
    }
    Ok(writer.finish()?)
}

fn object(version: &str, kind: &str, namespace: &str, name: &str) -> Value {
    let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = namespace.into();
    }
    object
}

fn map(namespace: &str, name: &str) -> Value {
    let mut map = object("v1", "ConfigMap", namespace, name);
    map["data"] = json!({"name": name});
    map
}

fn maps(namespace: &str, count: usize) -> Vec<Value> {
    (0..count)
        .map(|n| map(namespace, &format!("m{n:04}")))
        .collect()
}

fn service(namespace: &str) -> Value {
    let mut service = object("v1", "Service", namespace, "web");
    service["spec"] = json!({"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "selector": {"app": "web"}});
    service
}

/// Restores objects with the library. `gate` sees each write first; answers with the code `refusal` are counted.
async fn restore(
    client: &Client,
    items: &[Value],
    gate: Gate,
    refusal: u16,
    options: RestoreOptions,
) -> Result<(RestoreResult, usize)> {
    let (client, refusals) = gated(client, gate, Some(Method::POST), refusal);
    let cluster = Cluster::connect(client).await?;
    let engine = RestoreEngine::new(cluster).options(options);
    let restore: Restore = serde_json::from_value(
        json!({"metadata": {"name": "r", "namespace": "velero"}, "spec": {"backupName": "b"}}),
    )?;
    let request = RestoreRequest::resolve(restore)?;
    let run = engine.run(
        &request,
        Cursor::new(archive(items)?),
        RestoreRun::default(),
    );
    let result = tokio::time::timeout(DEADLINE, run)
        .await
        .context("the restore does not end")??;
    Ok((result, refusals.count()))
}

async fn count(client: &Client, uri: &str) -> Result<usize> {
    let request = Request::get(uri).body(Vec::new())?;
    let list: Value = client.request(request).await?;
    let items = list["items"].as_array().context("no list")?;
    Ok(items
        .iter()
        .filter(|item| text(item, "/metadata/name") != "kube-root-ca.crt")
        .count())
}

#[allow(clippy::print_stderr)]
fn eprint_line(text: &str) {
    eprintln!("{text}");
}
