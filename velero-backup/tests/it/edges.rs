//! Single facts of the peer that no other test shows.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use velero_backup::{ArchiveBase, BackupEngine, BackupOptions, PrepareDefaults, prepare};
use velero_core::action::{
    ActionError, BackupMap, BackupOperation, BackupOutcome, ResourceSelector,
};
use velero_core::api::{Backup, BackupPhase, PodVolumeBackup};
use velero_core::archive::{ArchiveReader, EntryKind};
use velero_core::volume::{PodVolume, PodVolumeBackups, VolumeProperties, VolumeSnapshotter};
use velero_core::{GroupResource, ItemTree, ResourceIdentifier};
use velero_testkit::ApiServer;

use crate::gate::{Pass, behind};
use crate::support::*;

#[test]
fn kinds_of_snapshots_leave_the_includes() {
    let (snapshots, contents) = (
        "volumesnapshots.snapshot.storage.k8s.io",
        "volumesnapshotcontents.snapshot.storage.k8s.io",
    );
    for (given, included, excluded) in [
        (
            json!({"includedResources": ["pods", snapshots, contents]}),
            ("includedResources", json!(["pods"])),
            ("excludedResources", json!([snapshots, contents])),
        ),
        (
            json!({"includedNamespaceScopedResources": [snapshots, "pods"]}),
            ("includedNamespaceScopedResources", json!(["pods"])),
            ("excludedNamespaceScopedResources", json!([snapshots])),
        ),
        (
            json!({"includedClusterScopedResources": [contents, "nodes"]}),
            ("includedClusterScopedResources", json!(["nodes"])),
            ("excludedClusterScopedResources", json!([contents])),
        ),
        // Another spelling of the same kind stays, as in the peer.
        (
            json!({"includedClusterScopedResources": ["vsc"]}),
            ("includedClusterScopedResources", json!(["vsc"])),
            ("excludedClusterScopedResources", json!([contents])),
        ),
    ] {
        let mut backup = backup(given.clone());
        let defaults = PrepareDefaults::default();
        prepare(&mut backup, &[], &Default::default(), start(), &defaults);
        let spec = serde_json::to_value(&backup.spec).unwrap();
        assert_eq!(spec[included.0], included.1, "{given}");
        assert_eq!(spec[excluded.0], excluded.1, "{given}");
    }
}

#[tokio::test]
async fn a_pattern_without_a_match_stores_nothing_by_any_filter() {
    let server = world();
    for more in [
        json!({}),
        json!({"labelSelector": {"matchLabels": {"app": "x"}}}),
        json!({"includedNamespaceScopedResources": ["*"]}),
        json!({"excludedResources": ["secrets"], "includeClusterResources": false}),
    ] {
        let mut spec = more.clone();
        spec["includedNamespaces"] = json!(["x-*"]);
        let done = back_up(&server, spec).await;
        // The format version is the only entry.
        assert_eq!((done.entries, done.result.total), (1, 0), "{more}");
    }
}

#[tokio::test]
async fn a_name_in_one_of_several_kinds_of_that_plural_is_found() {
    let server = ApiServer::new();
    let group = "example.com";
    seed(&server, definition("deployments", "Deployment", group));
    let api = |version: &str, name: &str| {
        let mut one = object(version, "Deployment", "default", name, json!({}));
        one["spec"] = json!({"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}});
        one
    };
    seed(&server, api("apps/v1", "here"));
    seed(&server, api("example.com/v1", "a"));
    seed(&server, api("example.com/v1", "there"));
    let spec = json!({"orderedResources": {"deployments": "default/there,default/here"}});
    let done = back_up(&server, spec).await;
    assert!(done.result.records.is_empty(), "{:?}", done.lines());
    let first = "deployments.example.com/namespaces/default/there";
    assert!(done.at(first) < done.at("deployments.example.com/namespaces/default/a"));
}

/// Everything that is called for volumes.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<String>>>);

impl Calls {
    fn note(&self, call: String) {
        self.0.lock().unwrap().push(call);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A location that knows every volume.
struct Disks(&'static str, Calls);

#[async_trait]
impl VolumeSnapshotter for Disks {
    fn location(&self) -> &str {
        self.0
    }

    async fn volume_id(&self, volume: &ItemTree) -> Result<Option<String>, ActionError> {
        Ok(Some(volume.name().to_owned()))
    }

    async fn properties(&self, _: &str, _: &str) -> Result<VolumeProperties, ActionError> {
        Ok(VolumeProperties::default())
    }

    async fn create_snapshot(
        &self,
        id: &str,
        _: &str,
        _: &BTreeMap<String, String>,
    ) -> Result<String, ActionError> {
        self.1.note(format!("{} takes {id}", self.0));
        Ok(format!("snap-{id}"))
    }
}

struct Copier(Calls);

#[async_trait]
impl PodVolumeBackups for Copier {
    async fn create(
        &self,
        _: &Backup,
        volume: PodVolume<'_>,
    ) -> Result<PodVolumeBackup, ActionError> {
        let (pod, name) = (volume.pod, volume.volume);
        self.0.note(format!("copy of {}/{name}", pod.name()));
        let mut copy = PodVolumeBackup::default();
        copy.spec.pod.namespace = Some(pod.namespace().to_owned());
        copy.spec.pod.name = Some(pod.name().to_owned());
        copy.spec.volume = name.to_owned();
        copy.status.phase = Some(velero_core::api::DataMovePhase::Completed);
        Ok(copy)
    }

    async fn wait(
        &self,
        created: &[PodVolumeBackup],
        _: Duration,
    ) -> Result<Vec<PodVolumeBackup>, ActionError> {
        Ok(created.to_vec())
    }
}

/// One running pod in `shop` that asks for its files to be copied, with labels, its claim and its volume.
fn one_pod(labels: Value) -> ApiServer {
    let server = ApiServer::new();
    seed(&server, namespace("shop", json!({})));
    let mut web = pod("shop", "web", Some("data"), labels);
    web["metadata"]["annotations"] = json!({"backup.velero.io/backup-volumes": "data"});
    web["spec"]["nodeName"] = json!("n1");
    web["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/d"}]);
    web["status"] = json!({"phase": "Running"});
    seed(&server, web);
    seed(&server, claim("shop", "data", "pv-1", json!({})));
    let mut pv = volume("pv-1", "shop", "data", json!({}));
    pv["spec"].as_object_mut().unwrap().remove("hostPath");
    pv["spec"]["awsElasticBlockStore"] = json!({"volumeID": "v"});
    seed(&server, pv);
    server
}

async fn plugged(server: &ApiServer, calls: &Calls) -> BackupEngine {
    engine(server)
        .await
        .volume_snapshotter(Disks("first", calls.clone()))
        .volume_snapshotter(Disks("second", calls.clone()))
        .pod_volumes(Copier(calls.clone()))
}

#[tokio::test]
async fn pods_that_are_not_backed_up_keep_no_snapshot_away() {
    for (labels, expected) in [
        (json!({}), "copy of web/data"),
        // Of two locations that know the volume the first one takes it.
        (
            json!({"velero.io/exclude-from-backup": "true"}),
            "first takes pv-1",
        ),
    ] {
        let (server, calls) = (one_pod(labels.clone()), Calls::default());
        let done = run_with(&plugged(&server, &calls).await, json!({})).await;
        assert_eq!(calls.take(), [expected], "{labels}");
        assert!(done.has("persistentvolumes/cluster/pv-1") && done.result.records.is_empty());
    }
}

#[tokio::test]
async fn how_much_is_held_changes_no_decision_about_volumes() {
    let mut decided = Vec::new();
    for held in [16 << 20, 1000, 0] {
        let (server, calls) = (one_pod(json!({})), Calls::default());
        for at in 0..6 {
            let (name, pv) = (format!("c{at}"), format!("pv-c{at}"));
            seed(&server, claim("shop", &name, &pv, json!({})));
            seed(&server, volume(&pv, "shop", &name, json!({})));
            let mut user = pod("shop", &format!("p{at}"), Some(&name), json!({}));
            user["status"] = json!({"phase": "Running"});
            seed(&server, user);
        }
        let options = BackupOptions::default().held_bytes(held);
        let engine = plugged(&server, &calls).await.options(options);
        let done = run_with(&engine, json!({})).await;
        let mut calls = calls.take();
        calls.sort();
        decided.push((
            calls,
            serde_json::to_value(&done.result.volume_infos).unwrap(),
        ));
    }
    assert_eq!(decided[0].0.len(), 7, "{:?}", decided[0]);
    assert!(decided.iter().all(|one| *one == decided[0]), "{decided:#?}");
}

#[tokio::test]
async fn volumes_that_are_stored_once_more_are_not_decided_on_again() {
    let (server, calls) = (one_pod(json!({})), Calls::default());
    seed(&server, map("shop", "plain", json!({})));
    let core = GroupResource::core;
    let again = [
        ResourceIdentifier::cluster(core("persistentvolumes"), "pv-1"),
        ResourceIdentifier::namespaced(core("persistentvolumeclaims"), "shop", "data"),
        ResourceIdentifier::namespaced(core("pods"), "shop", "web"),
    ];
    let maps = ResourceSelector::resources(["configmaps"]);
    let starts = BackupMap::new("example.com/starts", maps, move |item: ItemTree| {
        let outcome = BackupOutcome::unchanged();
        Ok(match item.name() {
            "plain" => outcome.started(BackupOperation::new("op").then_read(again.clone())),
            _ => outcome,
        })
    });
    let engine = plugged(&server, &calls).await.action(starts);
    let done = run_with(&engine, json!({"includedNamespaces": ["shop"]})).await;
    assert_eq!(calls.take(), ["copy of web/data"]);
    let mut backup = backup(json!({}));
    backup.status.phase = Some(BackupPhase::Finalizing);
    let operations = &done.result.item_operations;
    let (base, kept) = (ArchiveBase::Tail, Kept::default());
    let result = engine.finalize(&backup, operations, base, kept, run());
    let result = result.await.unwrap();
    assert_eq!((result.stored, result.records.len()), (3, 0), "{result:?}");
    assert_eq!(calls.take(), Vec::<String>::new());
}

/// The entries of an archive that are definitions, and their API versions.
fn definitions(archive: &[u8]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    ArchiveReader::new(archive)
        .for_each(|kind, data| {
            if let EntryKind::Item(path) = kind {
                let path = path.to_string();
                let item: Value = serde_json::from_slice(&data).unwrap();
                if let Some(rest) = path.strip_prefix("resources/customresourcedefinitions.") {
                    let version = item["apiVersion"].as_str().unwrap();
                    found.insert(rest.to_owned(), version.to_owned());
                }
            }
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    found
}

/// An engine for a cluster that serves definitions as `v1beta1`, too, and has one that was made so.
async fn with_old_definitions(server: &ApiServer) -> BackupEngine {
    const OLD: &str = "apiextensions.k8s.io/v1beta1";
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let ask = http::Request::get("/apis").header("accept", accept);
    let ask = ask.body(Vec::new()).unwrap();
    let mut groups: Value = server.client().request(ask).await.unwrap();
    let mut all = groups["items"].as_array_mut().unwrap().iter_mut();
    let group = all
        .find(|group| group["metadata"]["name"] == "apiextensions.k8s.io")
        .unwrap();
    let mut old = group["versions"][0].clone();
    old["version"] = "v1beta1".into();
    for resource in old["resources"].as_array_mut().unwrap() {
        resource["responseKind"]["version"] = "v1beta1".into();
    }
    group["versions"].as_array_mut().unwrap().push(old);

    let mut made = definition("books", "Book", "example.com");
    made["spec"]["preserveUnknownFields"] = true.into();
    let mut made_old = made.clone();
    made_old["apiVersion"] = OLD.into();
    let list = |version: &str, item: &Value| {
        json!({"apiVersion": version, "kind": "CustomResourceDefinitionList", "metadata": {"resourceVersion": "1"}, "items": [item]})
            .to_string()
    };
    let (new_list, old_list) = (list("apiextensions.k8s.io/v1", &made), list(OLD, &made_old));
    let (groups, one) = (groups.to_string(), made_old.to_string());
    behind(server, move |uri| {
        let path = uri.split('?').next().unwrap_or_default();
        match path.strip_prefix("/apis/apiextensions.k8s.io/") {
            _ if path == "/apis" => Pass::Answer(groups.clone()),
            Some("v1/customresourcedefinitions") => Pass::Answer(new_list.clone()),
            Some("v1beta1/customresourcedefinitions") => Pass::Answer(old_list.clone()),
            Some("v1beta1/customresourcedefinitions/books.example.com") => {
                Pass::Answer(one.clone())
            }
            _ => Pass::Through,
        }
    })
    .await
}

#[tokio::test]
async fn definitions_keep_their_versions_where_all_are_read() {
    let server = world();
    let entries = |versions: [(&str, &str); 2]| {
        let at =
            |folder: &str| format!("apiextensions.k8s.io/{folder}cluster/books.example.com.json");
        BTreeMap::from(
            versions
                .map(|(folder, version)| (at(folder), format!("apiextensions.k8s.io/{version}"))),
        )
    };
    for (all, expected) in [
        (
            false,
            entries([("", "v1beta1"), ("v1-preferredversion/", "v1beta1")]),
        ),
        (true, {
            let mut both = entries([("", "v1"), ("v1-preferredversion/", "v1")]);
            both.extend(entries([("v1beta1/", "v1beta1"), ("", "v1")]));
            both
        }),
    ] {
        let options = BackupOptions::default().all_api_versions(all);
        let engine = with_old_definitions(&server).await.options(options);
        let request = engine.request(&backup(json!({}))).await.unwrap();
        let kept = Kept::default();
        let result = engine.run(&request, kept.clone(), run()).await.unwrap();
        assert!(result.records.is_empty(), "{:?}", result.records);
        assert_eq!(definitions(&kept.bytes()), expected, "{all}");
    }
}
