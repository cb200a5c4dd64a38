//! Archives that Velero has written, and what Velero made of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use velero_core::api::RestorePhase;
use velero_core::artifact::VolumeInfo;
use velero_restore::RestoreResult;
use velero_testkit::ApiServer;
use velero_testkit::compare::{ALLOWED, Difference, compare};

use crate::common::*;

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../velero-testkit/fixtures/demo")
        .join(path)
}

fn state(name: &str) -> BTreeMap<String, Value> {
    serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap()
}

async fn restored(backup: &str, spec: Value) -> (ApiServer, RestoreResult) {
    let server = ApiServer::new();
    let dir = format!("bucket/backups/{backup}/{backup}");
    let archive = std::fs::read(fixture(&format!("{dir}.tar.gz"))).unwrap();
    let infos = std::fs::File::open(fixture(&format!("{dir}-volumeinfo.json.gz"))).unwrap();
    let infos: Vec<VolumeInfo> =
        serde_json::from_reader(flate2::read::GzDecoder::new(infos)).unwrap();
    let mut spec = spec;
    spec["backupName"] = json!(backup);
    let request = request(spec).volume_infos(infos);
    let result = restore_bytes(&server, archive, &request).await;
    (server, result)
}

/// Objects that only controllers make, which this server has none of.
fn made_by_controllers(key: &str) -> bool {
    key.starts_with("endpointslices.")
        || key.starts_with("persistentvolumes/")
        || key.contains("kube-root-ca.crt")
}

fn compared(server: &ApiServer, expected: &BTreeMap<String, Value>) -> Vec<Difference> {
    let wanted: Vec<Value> = expected
        .iter()
        .filter(|(key, _)| !made_by_controllers(key))
        .map(|(_, v)| v.clone())
        .collect();
    let mut got = Vec::new();
    for object in &wanted {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let namespace = object
            .pointer("/metadata/namespace")
            .and_then(Value::as_str);
        got.extend(server.store().get(
            text("/apiVersion"),
            text("/kind"),
            namespace,
            text("/metadata/name"),
        ));
    }
    compare(&wanted, &got, ALLOWED)
}

/// Differences that come from controllers running where the peer restored.
fn is_controllers_work(difference: &Difference) -> bool {
    let Difference::Changed { object, path, .. } = difference else {
        return false;
    };
    let kind = object.split(' ').next().unwrap_or_default();
    path.starts_with("metadata.ownerReferences")
        || path.starts_with("metadata.managedFields")
        || (kind == "v1/Pod" && path.contains("topology.kubernetes.io"))
        || (kind == "v1/PersistentVolumeClaim"
            && (path.contains("storage-provisioner") || path == "spec.volumeName"))
        || (kind == "v1/Endpoints"
            && (path.starts_with("subsets") || path.starts_with("metadata.annotations")))
}

#[tokio::test]
async fn the_peers_archive_gives_the_state_that_the_peer_restored() {
    let (server, result) = restored("demo-full", json!({})).await;
    let errors = errors(&result);
    let unexpected: Vec<&String> = errors.iter().filter(|e| !e.contains("velero.io")).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    let warnings = warnings(&result);
    assert!(warnings.is_empty(), "{warnings:#?}");
    let left: Vec<String> = compared(&server, &state("restored-state.json"))
        .iter()
        .filter(|d| !is_controllers_work(d))
        .map(ToString::to_string)
        .collect();
    assert!(left.is_empty(), "{left:#?}");
}

#[tokio::test]
async fn the_peers_archive_restores_into_another_namespace() {
    let (server, result) = restored("demo-ns", json!({"namespaceMapping": {"demo": "copy"}})).await;
    assert_clean(&result);
    assert_eq!(result.phase(), RestorePhase::Completed);
    let left: Vec<String> = compared(&server, &state("restored-mapped-state.json"))
        .iter()
        .filter(|d| !is_controllers_work(d))
        .map(ToString::to_string)
        .collect();
    assert!(left.is_empty(), "{left:#?}");
}

#[tokio::test]
async fn the_peers_archive_restored_twice_changes_nothing_the_second_time() {
    let server = ApiServer::new();
    let archive = std::fs::read(fixture("bucket/backups/demo-ns/demo-ns.tar.gz")).unwrap();
    let request = request(json!({"backupName": "demo-ns"}));
    assert_clean(&restore_bytes(&server, archive.clone(), &request).await);
    let version = server.store().resource_version();
    let again = restore_bytes(&server, archive, &request).await;
    assert_clean(&again);
    assert_eq!(
        (
            again.counts.created,
            again.counts.updated,
            again.counts.failed
        ),
        (0, 0, 0)
    );
    assert_eq!(server.store().resource_version(), version);
}
