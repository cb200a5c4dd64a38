//! Archives, engines and requests for tests.

use std::io::Cursor;
use std::time::Duration;

use serde_json::{Value, json};
use velero_cluster::{Cluster, ClusterOptions, LimiterOptions};
use velero_core::api::Restore;
use velero_core::archive::{ArchiveWriter, ArchiveWriterOptions, ItemPath};
use velero_core::result::{ResultsFile, Severity};
use velero_core::{Catalog, GroupResource};
use velero_restore::{RestoreEngine, RestoreOptions, RestoreRequest, RestoreResult, RestoreRun};
use velero_testkit::ApiServer;

/// An archive of objects, in the order given.
pub(crate) fn archive(items: &[Value]) -> Vec<u8> {
    let mut writer =
        ArchiveWriter::new(Vec::new(), ArchiveWriterOptions::default().level(1)).unwrap();
    for item in items {
        add(&mut writer, &path_of(item), item.to_string().as_bytes());
    }
    writer.finish().unwrap()
}

pub(crate) fn add(writer: &mut ArchiveWriter<Vec<u8>>, path: &ItemPath, json: &[u8]) {
    writer.append(path, "v1", true, json).unwrap();
}

/// Where an object lies in an archive; kinds are named as Kubernetes does.
pub(crate) fn path_of(item: &Value) -> ItemPath {
    let text = |pointer: &str| {
        item.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let version = text("/apiVersion");
    let group = version
        .split_once('/')
        .map_or("", |(group, _)| group)
        .to_owned();
    let kind = text("/kind").to_lowercase();
    let plural = match kind.strip_suffix('s') {
        _ if kind == "endpoints" => kind.clone(),
        Some(_) => format!("{kind}es"),
        None => format!("{kind}s"),
    };
    ItemPath::new(
        GroupResource::new(group, plural),
        text("/metadata/namespace"),
        text("/metadata/name"),
    )
}

pub(crate) fn object(version: &str, kind: &str, namespace: &str, name: &str) -> Value {
    let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object
}

pub(crate) fn config_map(namespace: &str, name: &str) -> Value {
    let mut map = object("v1", "ConfigMap", namespace, name);
    map["data"] = json!({"key": name});
    map["metadata"]["uid"] = json!("1b4e28ba-2fa1-11d2-883f-0016d3cca427");
    map["metadata"]["resourceVersion"] = json!("77");
    map["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    map["metadata"]["managedFields"] = json!([managed(
        "kubectl-create",
        json!({"f:data": {".": {}, "f:key": {}}})
    )]);
    map
}

pub(crate) fn managed(manager: &str, fields: Value) -> Value {
    json!({"manager": manager, "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1", "fieldsV1": fields})
}

pub(crate) fn namespace(name: &str) -> Value {
    let mut namespace = object("v1", "Namespace", "", name);
    namespace["metadata"]["labels"] = json!({"kubernetes.io/metadata.name": name, "team": "green"});
    namespace["metadata"]["annotations"] = json!({"note": "kept"});
    namespace["spec"] = json!({"finalizers": ["kubernetes"]});
    namespace["status"] = json!({"phase": "Active"});
    namespace
}

/// A request for a restore called `r1` of a backup called `b1`, with more fields of its spec.
pub(crate) fn request(mut spec: Value) -> RestoreRequest {
    if spec.get("backupName").is_none() {
        spec["backupName"] = json!("b1");
    }
    let restore: Restore = serde_json::from_value(
        json!({"metadata": {"name": "r1", "namespace": "velero"}, "spec": spec}),
    )
    .unwrap();
    RestoreRequest::resolve(restore).unwrap()
}

/// Options under which nothing waits long.
pub(crate) fn options() -> RestoreOptions {
    let mut options = RestoreOptions::default()
        .poll_interval(Duration::from_millis(20))
        .resource_timeout(Duration::from_secs(5))
        .terminating_timeout(Duration::from_secs(5))
        .action_timeout(Duration::from_secs(5));
    options.default_account_timeout = Duration::from_millis(50);
    options
}

pub(crate) async fn cluster(server: &ApiServer) -> Cluster {
    let options = ClusterOptions::default().limiter(LimiterOptions::default());
    Cluster::connect_with(server.client(), options)
        .await
        .unwrap()
}

pub(crate) async fn engine(server: &ApiServer) -> RestoreEngine {
    RestoreEngine::new(cluster(server).await).options(options())
}

/// Restores items with default actions.
pub(crate) async fn restore(server: &ApiServer, items: &[Value], spec: Value) -> RestoreResult {
    restore_bytes(server, archive(items), &request(spec)).await
}

pub(crate) async fn restore_bytes(
    server: &ApiServer,
    archive: Vec<u8>,
    request: &RestoreRequest,
) -> RestoreResult {
    run(&engine(server).await, archive, request).await
}

/// Restores an archive with an engine of its own.
pub(crate) async fn run(
    engine: &RestoreEngine,
    archive: Vec<u8>,
    request: &RestoreRequest,
) -> RestoreResult {
    engine
        .run(request, Cursor::new(archive), RestoreRun::default())
        .await
        .unwrap()
}

/// Restores items with an engine of its own and an empty spec.
pub(crate) async fn run_items(engine: &RestoreEngine, items: &[Value]) -> RestoreResult {
    run(engine, archive(items), &request(json!({}))).await
}

/// The records of one weight as `scope: line`, sorted.
pub(crate) fn lines(result: &RestoreResult, severity: Severity) -> Vec<String> {
    let file = ResultsFile::from_records(&result.records);
    let scoped = if severity == Severity::Error {
        file.errors
    } else {
        file.warnings
    };
    // Lines of a results file begin with a space, as the peer's do.
    let line = |scope: &str, text: &String| format!("{scope}: {}", text.trim_start());
    let mut out: Vec<String> = scoped.velero.iter().map(|l| line("velero", l)).collect();
    out.extend(scoped.cluster.iter().map(|l| line("cluster", l)));
    for (namespace, lines) in &scoped.namespaces {
        out.extend(lines.iter().map(|l| line(namespace, l)));
    }
    out.sort();
    out
}

pub(crate) fn errors(result: &RestoreResult) -> Vec<String> {
    lines(result, Severity::Error)
}

pub(crate) fn warnings(result: &RestoreResult) -> Vec<String> {
    lines(result, Severity::Warning)
}

/// Asserts that there are no records.
#[track_caller]
pub(crate) fn assert_clean(result: &RestoreResult) {
    assert_eq!((errors(result), warnings(result)), (Vec::new(), Vec::new()));
}

pub(crate) fn entries(result: &RestoreResult, kind: &str) -> Vec<String> {
    let mut entries: Vec<String> = result
        .resource_list
        .entries(kind)
        .iter()
        .map(|e| (*e).to_owned())
        .collect();
    entries.sort();
    entries
}

/// What an empty cluster serves.
pub(crate) async fn catalog() -> Catalog {
    cluster(&ApiServer::new()).await.catalog()
}
