//! How the types read and write objects.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use velero_core::{GoDuration, api::*};

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn write<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap()
}

/// What Go programs write for an object that nothing is set in.
#[test]
fn empty_objects_look_like_those_of_go() {
    #[track_caller]
    fn check<K: VeleroKind>(spec: Value, status: Value) {
        let written = write(&K::default());
        assert_eq!(written["kind"], K::KIND);
        assert_eq!(written["apiVersion"], K::API_VERSION);
        assert_eq!(written["metadata"], json!({}));
        assert_eq!(written["spec"], spec, "{}", K::KIND);
        assert_eq!(written["status"], status, "{}", K::KIND);
    }
    let backup = json!({
        "metadata": {}, "ttl": "0s", "hooks": {}, "csiSnapshotTimeout": "0s", "itemOperationTimeout": "0s",
    });
    check::<Backup>(backup.clone(), json!({}));
    check::<Restore>(
        json!({"hooks": {}, "itemOperationTimeout": "0s"}),
        json!({}),
    );
    check::<Schedule>(json!({"template": backup, "schedule": ""}), json!({}));
    check::<BackupStorageLocation>(
        json!({"provider": "", "objectStorage": {"bucket": ""}}),
        json!({}),
    );
    check::<VolumeSnapshotLocation>(json!({"provider": ""}), json!({}));
    check::<BackupRepository>(
        json!({"volumeNamespace": "", "backupStorageLocation": "", "repositoryType": "", "maintenanceFrequency": "0s"}),
        json!({}),
    );
    check::<DeleteBackupRequest>(json!({"backupName": ""}), json!({}));
    check::<DownloadRequest>(json!({"target": {"kind": "", "name": ""}}), json!({}));
    check::<ServerStatusRequest>(json!({}), json!({}));
    check::<PodVolumeBackup>(
        json!({
            "node": "", "pod": {}, "volume": "", "backupStorageLocation": "", "repoIdentifier": "", "uploaderType": "",
        }),
        json!({"progress": {}}),
    );
    check::<PodVolumeRestore>(
        json!({
            "pod": {}, "volume": "", "backupStorageLocation": "", "repoIdentifier": "", "uploaderType": "",
            "snapshotID": "", "sourceNamespace": "",
        }),
        json!({"progress": {}}),
    );
    check::<DataUpload>(
        json!({
            "snapshotType": "", "csiSnapshot": null, "sourcePVC": "", "backupStorageLocation": "", "sourceNamespace": "",
            "operationTimeout": "0s",
        }),
        json!({"progress": {}}),
    );
    check::<DataDownload>(
        json!({
            "targetVolume": {"pvc": "", "pv": "", "namespace": ""}, "backupStorageLocation": "", "snapshotID": "",
            "sourceNamespace": "", "operationTimeout": "0s",
        }),
        json!({"progress": {}}),
    );
}

#[test]
fn fields_are_written_in_the_order_of_go() {
    let text = serde_json::to_string(&Backup::new("velero", "one", BackupSpec::default())).unwrap();
    assert_eq!(
        text,
        r#"{"kind":"Backup","apiVersion":"velero.io/v1","metadata":{"name":"one","namespace":"velero"},"spec":{"metadata":{},"ttl":"0s","hooks":{},"csiSnapshotTimeout":"0s","itemOperationTimeout":"0s"},"status":{}}"#
    );
}

#[test]
fn the_spec_and_status_may_be_absent_or_null() {
    fn check<K: VeleroKind>() {
        for value in [
            json!({"kind": K::KIND, "apiVersion": K::API_VERSION, "metadata": {"name": "x"}}),
            json!({"metadata": {"name": "x"}, "spec": null, "status": null}),
            json!({"metadata": {"name": "x"}, "spec": {}, "status": {"phase": ""}}),
        ] {
            let object: K = read(value);
            assert_eq!(object.meta().name.as_deref(), Some("x"));
            assert_eq!(*object.spec(), K::Spec::default());
            assert_eq!(*object.status(), K::Status::default());
        }
    }
    for_every_kind!(check);
}

/// Every property that the definitions name may be null, and is then the same as absent.
#[test]
fn every_field_may_be_null() {
    fn check<K: VeleroKind>() {
        let crd = serde_json::to_value(crd::of::<K>()).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            for name in schema["properties"][part]["properties"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, _)| name)
            {
                let object: K = serde_json::from_value(json!({part: {name: null}}))
                    .unwrap_or_else(|error| panic!("{}.{part}.{name}: {error}", K::KIND));
                assert_eq!(object, K::default(), "{}.{part}.{name}", K::KIND);
            }
        }
    }
    for_every_kind!(check);
}

/// A value made from the schema, with every property set, comes out as it went in: no name is misspelt, none is forgotten.
#[test]
fn every_field_survives_reading_and_writing() {
    fn sample(schema: &Value) -> Value {
        if let Some(words) = schema["enum"].as_array() {
            return words[0].clone();
        }
        match schema["type"].as_str().unwrap() {
            "string" if schema["format"] == "date-time" => json!("2026-11-22T05:49:12Z"),
            "string" if schema["format"] == "byte" => json!("AAECAw=="),
            "string" => json!("1h0m0s"),
            "integer" => json!(9_007_199_254_740_993_i64),
            "boolean" => json!(true),
            "array" => json!([sample(&schema["items"])]),
            "object" => {
                if let Some(values) = schema.get("additionalProperties") {
                    return json!({"key": sample(values)});
                }
                let properties = schema["properties"].as_object().into_iter().flatten();
                Value::Object(
                    properties
                        .map(|(name, property)| (name.clone(), sample(property)))
                        .collect(),
                )
            }
            other => panic!("{other}"),
        }
    }
    fn check<K: VeleroKind>() {
        let crd = serde_json::to_value(crd::of::<K>()).unwrap();
        let mut value = sample(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]);
        value["kind"] = json!(K::KIND);
        value["apiVersion"] = json!(K::API_VERSION);
        value["metadata"] = json!({"name": "x"});
        let object: K = read(value.clone());
        assert_eq!(write(&object), value);
    }
    for_every_kind!(check);
}

#[test]
fn unknown_words_are_kept() {
    let backup: Backup = read(json!({"status": {"phase": "Hibernating"}}));
    assert_eq!(*backup.phase(), BackupPhase::Unknown("Hibernating".into()));
    assert_eq!(backup.phase().to_string(), "Hibernating");
    assert!(!backup.phase().is_terminal());
    assert_eq!(write(&backup)["status"]["phase"], "Hibernating");
    for word in BackupPhase::KNOWN {
        let phase = BackupPhase::from(*word);
        assert!(!matches!(phase, BackupPhase::Unknown(_)), "{word}");
        assert_eq!(phase.as_str(), *word);
        assert_eq!(BackupPhase::from((*word).to_owned()), phase);
    }
}

#[test]
fn durations_of_objects_may_be_empty() {
    for ttl in [json!("0s"), json!(""), json!("0"), json!(null)] {
        let backup: Backup = read(json!({"spec": {"ttl": ttl}}));
        assert_eq!(backup.spec.ttl, GoDuration::ZERO);
    }
    let location: BackupStorageLocation =
        read(json!({"spec": {"backupSyncPeriod": "0s", "validationFrequency": null}}));
    assert_eq!(
        location.spec.backup_sync_period,
        Some(GoDuration::ZERO),
        "zero is not the same as absent"
    );
    assert_eq!(location.spec.validation_frequency, None);
}

#[test]
fn another_kind_is_refused() {
    let error = serde_json::from_value::<Backup>(json!({"kind": "Restore"})).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"field kind is "Restore", should be "Backup""#
    );
}

#[test]
fn phases_that_end_the_work() {
    let ends: Vec<&str> = BackupPhase::KNOWN
        .iter()
        .copied()
        .filter(|word| BackupPhase::from(*word).is_terminal())
        .collect();
    assert_eq!(
        ends,
        ["FailedValidation", "Completed", "PartiallyFailed", "Failed"]
    );
    let ends: Vec<&str> = RestorePhase::KNOWN
        .iter()
        .copied()
        .filter(|word| RestorePhase::from(*word).is_terminal())
        .collect();
    assert_eq!(
        ends,
        ["FailedValidation", "Completed", "PartiallyFailed", "Failed"]
    );
    let ends: Vec<&str> = DataMovePhase::KNOWN
        .iter()
        .copied()
        .filter(|word| DataMovePhase::from(*word).is_terminal())
        .collect();
    assert_eq!(ends, ["Canceled", "Completed", "Failed"]);
}
