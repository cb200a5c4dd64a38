//! Volumes that are made of native snapshots, by a storage system that is not there.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use velero_core::ItemTree;
use velero_core::action::ActionError;
use velero_core::api::RestorePhase;
use velero_core::archive::{ArchiveWriter, ArchiveWriterOptions};
use velero_core::volume::{NativeSnapshot, SnapshotRestorer};
use velero_restore::{BackupVolumes, RestoreEngine, RestoreResult};
use velero_testkit::ApiServer;

use crate::common::*;
use crate::volumes::{claim, live_claim, volume};

/// A storage system that notes what it is asked for.
#[derive(Clone, Default)]
pub(crate) struct Disks {
    calls: Arc<Mutex<Vec<String>>>,
    /// The name that a PersistentVolume gets.
    renames: Option<&'static str>,
    /// The call that does not end well, and how.
    fails: Option<(&'static str, Failing)>,
}

#[derive(Clone, Copy)]
enum Failing {
    Refuses,
    Panics,
    Hangs,
}

impl Disks {
    async fn call(&self, what: &str, text: String) -> Result<(), ActionError> {
        self.calls.lock().unwrap().push(format!("{what} {text}"));
        match self.fails.filter(|(call, _)| *call == what) {
            Some((_, Failing::Refuses)) => return Err(ActionError::new("quota")),
            Some((_, Failing::Panics)) => panic!("no such luck"),
            Some((_, Failing::Hangs)) => std::future::pending().await,
            None => {}
        }
        Ok(())
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }
}

#[async_trait]
impl SnapshotRestorer for Disks {
    fn location(&self) -> &str {
        "disks"
    }

    async fn create_volume(&self, snapshot: &NativeSnapshot) -> Result<String, ActionError> {
        let (spec, id) = (&snapshot.spec, &snapshot.status.provider_snapshot_id);
        let text = format!(
            "{id} {} {} {:?}",
            spec.volume_type, spec.volume_az, spec.volume_iops
        );
        self.call("create", text).await?;
        Ok("vol-new".to_owned())
    }

    async fn set_volume_id(&self, mut volume: ItemTree, id: &str) -> Result<ItemTree, ActionError> {
        self.call("set", format!("{} {id}", volume.name())).await?;
        *volume.at_mut("/spec/hostPath/path").unwrap() = id.into();
        if let Some(name) = self.renames {
            volume.metadata_mut().insert("name".into(), name.into());
        }
        Ok(volume)
    }
}

const MADE: [&str; 2] = ["create snap-1 gp3 z1 Some(100)", "set pv1 vol-new"];

/// What a backup tells of `pv1`, with or without a record of its snapshot.
pub(crate) fn told(record: bool, location: &str, snapshot: &str) -> BackupVolumes {
    let written = json!({
        "spec": {"backupName": "b1", "backupUID": "u", "location": location, "persistentVolumeName": "pv1",
            "providerVolumeID": "vol-old", "volumeType": "gp3", "volumeAZ": "z1", "volumeIOPS": 100},
        "status": {"providerSnapshotID": snapshot, "phase": "Completed"},
    });
    let snapshots = if record { json!([written]) } else { json!([]) };
    let infos = json!([{"pvName": "pv1", "pvcName": "data", "pvcNamespace": "shop", "backupMethod": "NativeSnapshot"}]);
    BackupVolumes {
        infos: serde_json::from_value(infos).unwrap(),
        snapshots: serde_json::from_value(snapshots).unwrap(),
        ..BackupVolumes::default()
    }
}

async fn restore_with(
    engine: RestoreEngine,
    disks: &Disks,
    volume: Value,
    spec: Value,
) -> RestoreResult {
    let request = request(spec).volumes(told(true, "disks", "snap-1"));
    let engine = engine.snapshot_restorer(disks.clone());
    run(
        &engine,
        archive(&[namespace("shop"), volume, claim()]),
        &request,
    )
    .await
}

fn live_volume(server: &ApiServer, name: &str) -> Option<Value> {
    server.store().get("v1", "PersistentVolume", None, name)
}

fn path_of_disk(volume: &Value) -> &str {
    volume["spec"]["hostPath"]["path"].as_str().unwrap()
}

#[tokio::test]
async fn a_volume_is_made_of_its_snapshot_whatever_its_policy() {
    for policy in ["Delete", "Retain"] {
        let (server, disks) = (ApiServer::new(), Disks::default());
        let result = restore_with(engine(&server).await, &disks, volume(policy), json!({})).await;
        assert_clean(&result);
        assert_eq!(disks.calls(), MADE, "{policy}");
        let live = live_volume(&server, "pv1").unwrap();
        assert_eq!(path_of_disk(&live), "vol-new");
        let reference = &live["spec"]["claimRef"];
        assert_eq!(
            (&reference["name"], reference.get("uid")),
            (&json!("data"), None)
        );
        assert!(
            live["metadata"]["annotations"]
                .get("velero.io/original-pv-name")
                .is_none()
        );
        assert_eq!(live_claim(&server, "shop")["spec"]["volumeName"], "pv1");
    }
}

fn told_of(result: &RestoreResult) -> Value {
    serde_json::to_value(&result.volumes).unwrap()
}

/// As the peer tells it: the claim where the restore has made it, the volume by its new name.
#[tokio::test]
async fn what_was_made_of_a_snapshot_is_in_the_volume_information() {
    let entry = |claim: Option<&str>, volume: &str| {
        let mut entry = json!({"pvName": volume, "restoreMethod": "NativeSnapshot", "snapshotDataMoved": false,
            "nativeSnapshotInfo": {"snapshotHandle": "snap-1", "volumeType": "gp3", "volumeAZ": "z1", "iops": "100", "Phase": ""}});
        if let Some(namespace) = claim {
            entry["pvcName"] = json!("data");
            entry["pvcNamespace"] = json!(namespace);
        }
        entry
    };
    for (spec, renames, expected) in [
        (json!({}), None, Some(entry(Some("shop"), "pv1"))),
        (
            json!({"namespaceMapping": {"shop": "copy"}}),
            None,
            Some(entry(Some("copy"), "pv1")),
        ),
        (json!({}), Some("vol-7"), Some(entry(Some("shop"), "vol-7"))),
        (
            json!({"excludedResources": ["persistentvolumeclaims"]}),
            None,
            Some(entry(None, "pv1")),
        ),
        (json!({"restorePVs": false}), None, None),
    ] {
        let server = ApiServer::new();
        let disks = Disks {
            renames,
            ..Disks::default()
        };
        let result = restore_with(
            engine(&server).await,
            &disks,
            volume("Delete"),
            spec.clone(),
        )
        .await;
        let expected = expected.map_or_else(|| json!([]), |entry| json!([entry]));
        assert_eq!(told_of(&result), expected, "{spec}");
    }
    // What could not be made has no data.
    let disks = Disks {
        fails: Some(("create", Failing::Refuses)),
        ..Disks::default()
    };
    let result = restore_with(
        engine(&ApiServer::new()).await,
        &disks,
        volume("Delete"),
        json!({}),
    )
    .await;
    assert_eq!(told_of(&result), json!([]));
}

#[tokio::test]
async fn a_live_volume_with_a_snapshot_is_not_touched() {
    for claimed in [true, false] {
        let (server, disks) = (ApiServer::new(), Disks::default());
        let mut live = volume("Delete");
        live["spec"]["hostPath"]["path"] = json!("/in-use");
        live["status"] = json!({"phase": "Bound"});
        if claimed {
            server.store().seed_value(claim()).unwrap();
        } else {
            live["spec"].as_object_mut().unwrap().remove("claimRef");
            live["status"] = json!({"phase": "Available"});
        }
        let before = server.store().seed_value(live).unwrap();
        let result = restore_with(engine(&server).await, &disks, volume("Delete"), json!({})).await;
        assert!(errors(&result).is_empty(), "{:?}", errors(&result));
        assert_eq!(disks.calls(), Vec::<String>::new());
        assert_eq!(live_volume(&server, "pv1").unwrap(), before, "{claimed}");
        assert_eq!(entries(&result, "v1/PersistentVolume"), ["pv1(failed)"]);
    }
}

/// Seeds a volume that is about to go; what it waits for is in the message.
fn seed_going(server: &ApiServer, case: &str) {
    let deleting = |mut object: Value| {
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        object["metadata"]["finalizers"] = json!(["example.com/wait"]);
        object
    };
    let mut live = volume("Delete");
    live["spec"]["claimRef"] =
        json!({"kind": "PersistentVolumeClaim", "namespace": "old", "name": "data", "uid": "u"});
    live["status"] = json!({"phase": "Bound"});
    let mut other = claim();
    other["metadata"]["namespace"] = json!("old");
    match case {
        "is being deleted" => live = deleting(live),
        "its claim is gone" => live["status"] = json!({"phase": "Released"}),
        "its claim old/data is gone" => {}
        "its claim old/data is being deleted" => {
            server.store().seed_value(deleting(other)).unwrap();
        }
        "its claim's namespace old is being deleted" => {
            server.store().seed_value(other).unwrap();
            server.store().remove("v1", "Namespace", None, "old");
            let mut old = deleting(namespace("old"));
            old["status"] = json!({"phase": "Terminating"});
            server.store().seed_value(old).unwrap();
        }
        _ => {
            server.store().seed_value(other).unwrap();
            server.store().remove("v1", "Namespace", None, "old");
        }
    }
    server.store().seed_value(live).unwrap();
}

const GOING: [&str; 6] = [
    "is being deleted",
    "its claim is gone",
    "its claim old/data is gone",
    "its claim old/data is being deleted",
    "its claim's namespace old is being deleted",
    "its claim's namespace old is gone",
];

#[tokio::test]
async fn a_volume_that_goes_is_waited_for_and_made_of_its_snapshot() {
    for case in GOING {
        let (server, disks) = (ApiServer::new(), Disks::default());
        seed_going(&server, case);
        let going = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(disks.calls(), Vec::<String>::new(), "{case}");
            assert!(server.store().remove("v1", "PersistentVolume", None, "pv1"));
        };
        let restored = restore_with(engine(&server).await, &disks, volume("Delete"), json!({}));
        let (result, ()) = tokio::join!(restored, going);
        assert_clean(&result);
        assert_eq!(disks.calls(), MADE, "{case}");
    }
}

#[tokio::test]
async fn a_volume_that_stays_is_an_error_after_the_timeout() {
    for case in GOING {
        let (server, disks) = (ApiServer::new(), Disks::default());
        seed_going(&server, case);
        let options = options().terminating_timeout(Duration::from_millis(100));
        let engine = engine(&server).await.options(options);
        let result = restore_with(engine, &disks, volume("Delete"), json!({})).await;
        let errors = errors(&result);
        assert!(
            errors.len() == 1
                && errors[0].starts_with("cluster: resource: /persistentvolumes name: /pv1")
                && errors[0].contains("is not gone after 0.1s")
                && errors[0].contains(case),
            "{case}: {errors:?}"
        );
        assert_eq!(disks.calls(), Vec::<String>::new());
        assert_eq!(entries(&result, "v1/PersistentVolume"), ["pv1(failed)"]);
        assert_eq!(
            entries(&result, "v1/PersistentVolumeClaim"),
            ["shop/data(created)"]
        );
    }
}

#[tokio::test]
async fn a_mapped_volume_whose_name_is_taken_gets_another_and_its_claim_follows() {
    let (server, disks) = (ApiServer::new(), Disks::default());
    let before = server.store().seed_value(volume("Delete")).unwrap();
    let spec = json!({"namespaceMapping": {"shop": "copy"}});
    let result = restore_with(
        engine(&server).await,
        &disks,
        volume("Delete"),
        spec.clone(),
    )
    .await;
    assert_clean(&result);
    assert_eq!(disks.calls(), MADE);
    assert_eq!(live_volume(&server, "pv1").unwrap(), before);
    let claim = live_claim(&server, "copy");
    let name = claim["spec"]["volumeName"].as_str().unwrap();
    assert!(name.starts_with("velero-clone-"), "{name}");
    let copy = live_volume(&server, name).unwrap();
    assert_eq!(path_of_disk(&copy), "vol-new");
    assert_eq!(
        copy["metadata"]["annotations"]["velero.io/original-pv-name"],
        "pv1"
    );
    assert_eq!(copy["spec"]["claimRef"]["namespace"], "copy");
    assert_eq!(
        entries(&result, "v1/PersistentVolume"),
        [format!("{name}(created)")]
    );

    // The same restore, begun again after it was cut short, finds what it had made.
    server
        .store()
        .remove("v1", "PersistentVolumeClaim", Some("copy"), "data");
    let again = restore_with(engine(&server).await, &disks, volume("Delete"), spec).await;
    assert_clean(&again);
    assert_eq!(disks.calls(), MADE);
    assert_eq!(live_claim(&server, "copy")["spec"]["volumeName"], name);
}

#[tokio::test]
async fn a_mapped_volume_whose_name_is_free_keeps_it() {
    let (server, disks) = (ApiServer::new(), Disks::default());
    let spec = json!({"namespaceMapping": {"shop": "copy"}});
    assert_clean(&restore_with(engine(&server).await, &disks, volume("Delete"), spec).await);
    let live = live_volume(&server, "pv1").unwrap();
    assert_eq!(live["spec"]["claimRef"]["namespace"], "copy");
    assert_eq!(live_claim(&server, "copy")["spec"]["volumeName"], "pv1");
}

#[tokio::test]
async fn a_name_that_the_storage_system_gives_is_followed_too() {
    for taken in [false, true] {
        let server = ApiServer::new();
        let disks = Disks {
            renames: Some("disk-7"),
            ..Disks::default()
        };
        let mut spec = json!({});
        let mut target = "shop";
        if taken {
            server.store().seed_value(volume("Delete")).unwrap();
            (spec, target) = (json!({"namespaceMapping": {"shop": "copy"}}), "copy");
        }
        assert_clean(&restore_with(engine(&server).await, &disks, volume("Delete"), spec).await);
        let live = live_volume(&server, "disk-7").unwrap();
        assert_eq!(
            live["metadata"]["annotations"]["velero.io/original-pv-name"],
            "pv1"
        );
        assert_eq!(live_claim(&server, target)["spec"]["volumeName"], "disk-7");
        assert_eq!(live_volume(&server, "pv1").is_some(), taken);
    }
}

#[tokio::test]
async fn what_goes_wrong_in_a_storage_system_stays_at_its_volume() {
    for (call, failing, expected) in [
        (
            "create",
            Failing::Refuses,
            ["of snapshot \"snap-1\" in location \"disks\"", "quota"],
        ),
        (
            "create",
            Failing::Panics,
            ["of snapshot \"snap-1\"", "it panicked"],
        ),
        (
            "create",
            Failing::Hangs,
            ["of snapshot \"snap-1\"", "no answer within 0.2s"],
        ),
        (
            "set",
            Failing::Refuses,
            [
                "volume \"vol-new\" was made of snapshot \"snap-1\"",
                "quota",
            ],
        ),
    ] {
        let server = ApiServer::new();
        let disks = Disks {
            fails: Some((call, failing)),
            ..Disks::default()
        };
        let options = options().action_timeout(Duration::from_millis(200));
        let engine = engine(&server).await.options(options);
        let result = restore_with(engine, &disks, volume("Delete"), json!({})).await;
        let errors = errors(&result);
        assert!(
            errors.len() == 1 && expected.iter().all(|text| errors[0].contains(text)),
            "{errors:?}"
        );
        assert!(live_volume(&server, "pv1").is_none());
        // Not an empty volume: it waits for the one that it had.
        assert_eq!(live_claim(&server, "shop")["spec"]["volumeName"], "pv1");
        assert_eq!(result.phase(), RestorePhase::PartiallyFailed);
    }
}

#[tokio::test]
async fn without_data_wanted_or_to_be_had_a_snapshotted_volume_is_told() {
    // restorePVs, record, location and snapshot of the record; the error, and whether the volume comes as it was.
    for (wants, record, location, snapshot, error, as_it_was) in [
        (Some(false), true, "disks", "snap-1", None, true),
        (Some(false), false, "", "", None, true),
        (
            None,
            false,
            "",
            "",
            Some("the backup has no record of the snapshot"),
            true,
        ),
        (
            Some(true),
            true,
            "east",
            "snap-1",
            Some("in location \"east\""),
            false,
        ),
        (None, true, "disks", "", Some("the snapshot failed"), false),
    ] {
        let (server, disks) = (ApiServer::new(), Disks::default());
        let engine = engine(&server).await.snapshot_restorer(disks.clone());
        let request =
            request(json!({"restorePVs": wants})).volumes(told(record, location, snapshot));
        let items = archive(&[namespace("shop"), volume("Delete"), claim()]);
        let result = run(&engine, items, &request).await;
        let errors = errors(&result);
        assert_eq!(errors.len(), usize::from(error.is_some()), "{errors:?}");
        if let Some(text) = error {
            assert!(
                errors[0].starts_with("shop: resource: /persistentvolumeclaims name: /data")
                    && errors[0].contains("by NativeSnapshot")
                    && errors[0].contains(text),
                "{errors:?}"
            );
        }
        assert_eq!(disks.calls(), Vec::<String>::new());
        let claim = live_claim(&server, "shop");
        let names = claim["spec"].get("volumeName").is_some();
        let path = live_volume(&server, "pv1").map(|live| path_of_disk(&live).to_owned());
        assert_eq!(
            (names, path.as_deref()),
            (as_it_was, as_it_was.then_some("/x")),
            "{wants:?} {record} {location}"
        );
    }
}

/// The peer makes a second object for the disk of the first.
#[tokio::test]
async fn two_volumes_never_stand_for_one_disk() {
    let (server, disks) = (ApiServer::new(), Disks::default());
    let before = server.store().seed_value(volume("Delete")).unwrap();
    let spec = json!({"restorePVs": false, "namespaceMapping": {"shop": "copy"}});
    let result = restore_with(engine(&server).await, &disks, volume("Delete"), spec).await;
    let warnings = warnings(&result);
    assert!(
        errors(&result).is_empty()
            && warnings.len() == 1
            && warnings[0].contains("may stand for the same disk"),
        "{warnings:?}"
    );
    assert_eq!(
        server.store().list("v1", "PersistentVolume", None),
        [before]
    );
    assert!(
        live_claim(&server, "copy")["spec"]
            .get("volumeName")
            .is_none()
    );
}

#[tokio::test]
async fn a_volume_without_a_name_is_an_error() {
    let (server, disks) = (ApiServer::new(), Disks::default());
    let mut nameless = volume("Delete");
    nameless["metadata"].as_object_mut().unwrap().remove("name");
    let mut writer = ArchiveWriter::new(Vec::new(), ArchiveWriterOptions::default()).unwrap();
    add(
        &mut writer,
        &path_of(&volume("Delete")),
        nameless.to_string().as_bytes(),
    );
    let engine = engine(&server).await.snapshot_restorer(disks.clone());
    let request = request(json!({})).volumes(told(true, "disks", "snap-1"));
    let result = run(&engine, writer.finish().unwrap(), &request).await;
    let errors = errors(&result);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].starts_with("cluster: resource: /persistentvolumes name: /pv1"),
        "{errors:?}"
    );
    assert_eq!(disks.calls(), Vec::<String>::new());
}
