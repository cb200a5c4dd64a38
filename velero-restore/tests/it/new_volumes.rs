//! Volumes that are made anew for restored claims get what those had that they replace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use velero_core::artifact::{RestoreItemOperation, VolumeInfo};
use velero_core::result::{Record, ResultsFile};
use velero_core::{GroupResource, ResourceIdentifier, Timestamp};
use velero_restore::{NewVolume, NewVolumes, RestoreRun};
use velero_testkit::{ApiServer, Controllers, Fault, FaultAction};

use crate::common::*;
use crate::volumes::{claim, volume};

const CLAIMS: &str = "persistentvolumeclaims";
const VOLUMES: &str = "persistentvolumes";

fn info(claim: &str, method: &str, policy: &str) -> VolumeInfo {
    serde_json::from_value(json!({"pvName": "pv1", "pvcName": claim, "pvcNamespace": "shop", "backupMethod": method,
        "pvInfo": {"reclaimPolicy": policy, "labels": {"team": "green", "topology.kubernetes.io/zone": "old"}}}))
    .unwrap()
}

/// What volumes of claims of `shop` are to have.
fn wanted(claims: &[&str]) -> Vec<NewVolume> {
    let infos: Vec<VolumeInfo> = claims
        .iter()
        .map(|claim| info(claim, "CSISnapshot", "Retain"))
        .collect();
    let resource = || GroupResource::core(CLAIMS);
    let created: Vec<_> = claims
        .iter()
        .map(|name| ResourceIdentifier::namespaced(resource(), "shop", *name))
        .collect();
    NewVolume::all_of(&infos, &created, &BTreeMap::new())
}

/// Volumes that are followed by a clock of the test.
struct Bench {
    server: ApiServer,
    volumes: NewVolumes,
    seconds: Arc<AtomicI64>,
}

impl Bench {
    async fn new(server: ApiServer, claims: &[&str]) -> Self {
        let seconds = Arc::new(AtomicI64::new(1_000_000));
        let now = Arc::clone(&seconds);
        let run = RestoreRun::default()
            .clock(move || Timestamp::from_second(now.load(Ordering::Relaxed)).unwrap());
        let options = options().resource_timeout(Duration::from_secs(60));
        let volumes = NewVolumes::new(cluster(&server).await, wanted(claims), &options, &run);
        Self {
            server,
            volumes,
            seconds,
        }
    }

    /// A look, some seconds later; gives the records as lines.
    async fn look_after(&mut self, seconds: i64) -> Vec<String> {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
        lines(&self.volumes.look(&[]).await)
    }

    fn volume(&self, name: &str) -> Value {
        let store = self.server.store();
        store.get("v1", "PersistentVolume", None, name).unwrap()
    }
}

fn lines(records: &[Record]) -> Vec<String> {
    let file = ResultsFile::from_records(records);
    let line = |word: &str, line: &String| {
        format!(
            "{word}{}",
            line.trim_start_matches(" resource: /persistentvolumeclaims name: /")
        )
    };
    let mut out = Vec::new();
    for (namespace, found) in &file.errors.namespaces {
        out.extend(found.iter().map(|l| line(&format!("E {namespace} "), l)));
    }
    for (namespace, found) in &file.warnings.namespaces {
        out.extend(found.iter().map(|l| line(&format!("W {namespace} "), l)));
    }
    assert_eq!(out.len(), records.len());
    out
}

fn seed_class(server: &ApiServer, mode: &str) {
    let mut class = object("storage.k8s.io/v1", "StorageClass", "", "s");
    class["provisioner"] = json!("example.com/disks");
    class["volumeBindingMode"] = json!(mode);
    server.store().seed_value(class).unwrap();
}

fn seed_claim(server: &ApiServer, name: &str, volume: Option<&str>) {
    let mut seeded = claim();
    seeded["metadata"]["name"] = json!(name);
    seeded["spec"]["volumeName"] = json!(volume);
    let phase = volume.map_or("Pending", |_| "Bound");
    seeded["status"] = json!({"phase": phase});
    server.store().seed_value(seeded).unwrap();
}

fn seed_volume(server: &ApiServer, name: &str, claim: &str) {
    let mut seeded = volume("Delete");
    seeded["metadata"]["name"] = json!(name);
    seeded["metadata"]["labels"] = json!({"topology.kubernetes.io/zone": "new", "disk": "fast"});
    seeded["spec"]["claimRef"]["name"] = json!(claim);
    seeded["status"] = json!({"phase": "Bound"});
    server.store().seed_value(seeded).unwrap();
}

/// A claim with a volume of its own, which is bound to it.
fn seed_bound(server: &ApiServer, claim: &str) {
    let volume = format!("new-{claim}");
    seed_claim(server, claim, Some(&volume));
    seed_volume(server, &volume, claim);
}

#[tokio::test]
async fn a_restore_ends_when_new_volumes_have_what_the_old_ones_had() {
    for method in ["PodVolumeBackup", "CSISnapshot"] {
        let server = ApiServer::builder().controllers(Controllers::All).build();
        let mut claim = claim();
        claim["spec"]["storageClassName"] = json!("standard");
        let request = request(json!({"restorePVs": false, "namespaceMapping": {"shop": "copy"}}))
            .volume_infos([info("data", method, "Retain")]);
        let items = archive(&[namespace("shop"), volume("Retain"), claim]);
        let result = restore_bytes(&server, items, &request).await;
        assert_clean(&result);
        let live = crate::volumes::live_claim(&server, "copy");
        let name = live["spec"]["volumeName"].as_str().unwrap();
        let store = server.store();
        let volume = store.get("v1", "PersistentVolume", None, name).unwrap();
        assert_eq!(
            volume["spec"]["persistentVolumeReclaimPolicy"], "Retain",
            "{method}"
        );
        assert_eq!(volume["metadata"]["labels"], json!({"team": "green"}));
        assert_eq!(server.calls().count("patch", VOLUMES), 1);
    }
}

#[tokio::test]
async fn claims_that_were_there_keep_their_volumes_as_they_are() {
    let server = ApiServer::builder().controllers(Controllers::All).build();
    let mut there = claim();
    there["spec"]["storageClassName"] = json!("standard");
    there["spec"].as_object_mut().unwrap().remove("volumeName");
    server.store().seed_value(namespace("shop")).unwrap();
    server.store().seed_value(there.clone()).unwrap();
    let request = request(json!({})).volume_infos([info("data", "CSISnapshot", "Retain")]);
    restore_bytes(&server, archive(&[namespace("shop"), there]), &request).await;
    assert_eq!(server.calls().count("patch", VOLUMES), 0);
}

#[tokio::test]
async fn labels_of_the_new_volume_stay_and_those_of_the_old_one_come() {
    let server = ApiServer::new();
    seed_bound(&server, "data");
    let mut bench = Bench::new(server, &["data"]).await;
    assert_eq!(bench.look_after(0).await, Vec::<String>::new());
    let volume = bench.volume("new-data");
    assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    assert_eq!(
        volume["metadata"]["labels"],
        json!({"topology.kubernetes.io/zone": "new", "disk": "fast", "team": "green"})
    );
    assert_eq!(bench.volumes.left(), 0);
    // There is nothing left to be asked.
    bench.server.calls().reset();
    bench.look_after(1).await;
    assert_eq!(bench.server.calls().total(), 0);
}

#[tokio::test]
async fn a_volume_bound_elsewhere_is_an_error_and_the_others_are_changed() {
    let server = ApiServer::new();
    seed_bound(&server, "data");
    seed_claim(&server, "lost", Some("taken"));
    seed_volume(&server, "taken", "other");
    let mut bench = Bench::new(server, &["data", "lost"]).await;
    assert_eq!(
        bench.look_after(0).await,
        [
            "E shop lost error: /volume \"taken\" is bound to claim shop/other; its reclaim policy and labels stay as they are"
        ]
    );
    assert_eq!(bench.volumes.left(), 0);
    assert_eq!(
        bench.volume("taken")["spec"]["persistentVolumeReclaimPolicy"],
        "Delete"
    );
    assert_eq!(
        bench.volume("new-data")["spec"]["persistentVolumeReclaimPolicy"],
        "Retain"
    );
}

#[tokio::test]
async fn claims_are_waited_for_until_the_time_is_over() {
    let server = ApiServer::new();
    seed_class(&server, "Immediate");
    seed_claim(&server, "late", None);
    seed_claim(&server, "never", None);
    seed_claim(&server, "adrift", Some("not-there"));
    let mut bench = Bench::new(server, &["late", "never", "adrift"]).await;
    let nothing = Vec::<String>::new();
    assert_eq!(bench.look_after(0).await, nothing);
    assert_eq!(bench.volumes.waiting(), [("shop".to_owned(), 3)].into());
    assert_eq!(bench.look_after(59).await, nothing);
    let store = bench.server.store();
    assert!(store.remove("v1", "PersistentVolumeClaim", Some("shop"), "late"));
    seed_bound(&bench.server, "late");
    let found = bench.look_after(1).await;
    let late = "error: /its volume was not given reclaim policy \"Retain\" and the labels of the one it replaces within 60s: ";
    assert_eq!(
        found,
        [
            format!("E shop adrift {late}there is no volume \"not-there\""),
            format!("E shop never {late}the claim is not bound"),
        ]
    );
    assert_eq!(bench.volumes.left(), 0);
    assert_eq!(
        bench.volume("new-late")["spec"]["persistentVolumeReclaimPolicy"],
        "Retain"
    );
}

/// Their volume may never be made; that is no fault of the restore, but what it will be like is to be known.
#[tokio::test]
async fn claims_that_wait_for_a_pod_hold_nothing_up() {
    let server = ApiServer::new();
    seed_class(&server, "WaitForFirstConsumer");
    seed_claim(&server, "data", None);
    let mut bench = Bench::new(server, &["data"]).await;
    assert_eq!(bench.look_after(9).await, Vec::<String>::new());
    assert_eq!(bench.look_after(9).await, Vec::<String>::new());
    assert_eq!(bench.volumes.left(), 1);
    assert_eq!(
        bench.look_after(1).await,
        [
            "W shop data message: /its volume will have reclaim policy \"Delete\" instead of \"Retain\": it is made later, as no pod \
          uses it, for which storage class \"s\" waits"
        ]
    );
    assert_eq!(bench.volumes.left(), 0);
}

#[tokio::test]
async fn what_was_deleted_meanwhile_is_not_waited_for() {
    let mut bench = Bench::new(ApiServer::new(), &["data"]).await;
    assert_eq!(
        bench.look_after(0).await,
        ["W shop data message: /it was deleted while its volume was waited for"]
    );
    assert_eq!(bench.volumes.left(), 0);
}

#[tokio::test]
async fn volumes_of_claims_whose_operation_failed_stay_as_they_are() {
    for (phase, changed) in [("Completed", true), ("Failed", false)] {
        let server = ApiServer::new();
        seed_bound(&server, "data");
        let mut bench = Bench::new(server, &["data"]).await;
        let item = json!({"Group": "", "Resource": CLAIMS, "Namespace": "shop", "Name": "data"});
        let operation: RestoreItemOperation = serde_json::from_value(json!({
            "spec": {"restoreName": "r", "restoreUID": "u", "restoreItemAction": "velero.io/csi-pvc-restorer",
                "resourceIdentifier": item, "operationID": "dd-1"},
            "status": {"phase": phase},
        }))
        .unwrap();
        assert!(bench.volumes.look(&[operation]).await.is_empty());
        assert_eq!(bench.volumes.left(), 0);
        let patches = bench.server.calls().count("patch", VOLUMES);
        assert_eq!(patches, u64::from(changed), "{phase}");
    }
}

#[tokio::test]
async fn what_is_refused_is_an_error_and_what_passes_is_tried_again() {
    for (action, verb, resource, left, line) in [
        (
            FaultAction::Forbidden,
            "patch",
            VOLUMES,
            0,
            Some("its volume cannot be changed: "),
        ),
        (
            FaultAction::Forbidden,
            "get",
            VOLUMES,
            0,
            Some("its volume cannot be read: "),
        ),
        (
            FaultAction::Forbidden,
            "get",
            CLAIMS,
            0,
            Some("the claim cannot be read: "),
        ),
        (FaultAction::Conflict, "patch", VOLUMES, 1, None),
    ] {
        let server = ApiServer::new();
        seed_bound(&server, "data");
        let mut bench = Bench::new(server, &["data"]).await;
        let fault = Fault::new(action.clone())
            .verb(verb)
            .resource(resource)
            .times(1);
        bench.server.faults().add(fault);
        let found = bench.look_after(0).await;
        let told = format!("{action:?} {verb} {resource}: {found:?}");
        assert_eq!(bench.volumes.left(), left, "{told}");
        match line {
            Some(line) => assert!(found.len() == 1 && found[0].contains(line), "{told}"),
            None => assert!(found.is_empty(), "{told}"),
        }
        assert_eq!(bench.look_after(1).await, Vec::<String>::new());
        assert_eq!(bench.volumes.left(), 0);
        let policy = &bench.volume("new-data")["spec"]["persistentVolumeReclaimPolicy"];
        assert_eq!(
            policy,
            if line.is_none() { "Retain" } else { "Delete" },
            "{told}"
        );
    }
}

#[tokio::test]
async fn many_claims_are_two_lists_and_a_patch_each() {
    let server = ApiServer::new();
    let names: Vec<String> = (0..40).map(|n| format!("data-{n:02}")).collect();
    for name in &names {
        seed_bound(&server, name);
        seed_bound(&server, &format!("other-{name}"));
    }
    let claims: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut bench = Bench::new(server, &claims).await;
    bench.server.calls().reset();
    assert_eq!(bench.look_after(0).await, Vec::<String>::new());
    assert_eq!(bench.volumes.left(), 0);
    let calls = bench.server.calls();
    for (verb, resource, expected) in [
        ("list", CLAIMS, 1),
        ("list", VOLUMES, 1),
        ("get", CLAIMS, 0),
        ("get", VOLUMES, 0),
        ("patch", VOLUMES, 40),
    ] {
        assert_eq!(calls.count(verb, resource), expected, "{verb} {resource}");
    }
    for name in &names {
        let policy = |claim: &str| {
            bench.volume(&format!("new-{claim}"))["spec"]["persistentVolumeReclaimPolicy"].clone()
        };
        assert_eq!(
            (policy(name), policy(&format!("other-{name}"))),
            (json!("Retain"), json!("Delete"))
        );
    }
}

#[tokio::test]
async fn those_that_are_given_up_are_told() {
    let server = ApiServer::new();
    seed_claim(&server, "data", None);
    let mut bench = Bench::new(server, &["data"]).await;
    bench.look_after(0).await;
    assert_eq!(
        lines(&bench.volumes.give_up("the restore was cancelled")),
        [
            "E shop data error: /its volume was not given reclaim policy \"Retain\" and the labels of the one it replaces: the restore was cancelled"
        ]
    );
    assert_eq!(bench.volumes.left(), 0);
}
