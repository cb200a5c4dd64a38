//! Documents written by the peer survive being read and written, down to the byte where it wrote a struct.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use velero_core::api::*;

fn bucket() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../velero-testkit/fixtures/demo/bucket/backups")
}

/// All files of the bucket with their content, unpacked; without logs and archives.
fn documents() -> Vec<(String, Vec<u8>)> {
    let mut documents = Vec::new();
    for backup in fs::read_dir(bucket()).unwrap() {
        for file in fs::read_dir(backup.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let mut bytes = fs::read(&path).unwrap();
            if name.ends_with(".tar.gz") || name.ends_with("-logs.gz") {
                continue;
            }
            if name.ends_with(".gz") {
                let packed = std::mem::take(&mut bytes);
                GzDecoder::new(packed.as_slice())
                    .read_to_end(&mut bytes)
                    .unwrap();
            }
            documents.push((name, bytes));
        }
    }
    documents
}

fn backups() -> Vec<(String, Vec<u8>)> {
    documents()
        .into_iter()
        .filter(|(name, _)| name == "velero-backup.json")
        .collect()
}

#[test]
fn every_document_of_the_bucket_survives() {
    let documents = documents();
    assert_eq!(documents.len(), 4 * 7);
    for (name, bytes) in documents {
        let before: Value = serde_json::from_slice(&bytes).unwrap();
        let document: Document<Value> = Document::parse(&bytes).unwrap();
        for written in [document.to_bytes(), document.to_pretty_bytes()] {
            assert_eq!(
                serde_json::from_slice::<Value>(&written).unwrap(),
                before,
                "{name}"
            );
        }
    }
}

#[test]
fn backups_keep_fields_that_are_not_known() {
    for (_, bytes) in backups() {
        let mut with_novelty: Value = serde_json::from_slice(&bytes).unwrap();
        with_novelty["spec"]["novelty"] = json!({"deep": [1, {"er": null}]});
        with_novelty["status"]["progress"]["itemsPerSecond"] = json!(1.5);
        with_novelty["top"] = json!("<&>");
        let document: Document<Backup> =
            Document::parse(&serde_json::to_vec(&with_novelty).unwrap()).unwrap();
        assert_eq!(*document.get().phase(), BackupPhase::Completed);
        let written = document.to_pretty_bytes();
        assert_eq!(
            serde_json::from_slice::<Value>(&written).unwrap(),
            with_novelty
        );
        let text = String::from_utf8(written).unwrap();
        assert!(text.contains(r#""top": "\u003c\u0026\u003e""#) && !text.ends_with('\n'));
    }
}

/// The types hold everything that the peer writes today: nothing would be lost even through the struct.
#[test]
fn the_typed_view_of_a_backup_is_complete() {
    for (_, bytes) in backups() {
        let before: Value = serde_json::from_slice(&bytes).unwrap();
        let backup: Backup = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(serde_json::to_value(&backup).unwrap(), before);
    }
}

/// Spec and status come out in the same order and with the same white space as Go's.
#[test]
fn spec_and_status_are_written_as_go_writes_them() {
    for (_, bytes) in backups() {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let backup: Backup = serde_json::from_slice(&bytes).unwrap();
        for part in [
            serde_json::to_string_pretty(&backup.spec),
            serde_json::to_string_pretty(&backup.status),
        ] {
            let part = part.unwrap().replace('\n', "\n  ");
            assert!(text.contains(&part), "{part}\nis not in\n{text}");
        }
    }
}

#[test]
fn restores_of_the_peer_are_read_completely() {
    for name in ["restored-restore.json", "restored-mapped-restore.json"] {
        let bytes = fs::read(bucket().join("../..").join(name)).unwrap();
        let before: Value = serde_json::from_slice(&bytes).unwrap();
        let restore: Restore = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(*restore.phase(), RestorePhase::Completed);
        assert_eq!(serde_json::to_value(&restore).unwrap(), before);
    }
}

#[test]
fn an_update_changes_only_what_it_says() {
    let (_, bytes) = backups().remove(0);
    let mut expected: Value = serde_json::from_slice(&bytes).unwrap();
    expected["status"]["novelty"] = json!(7);
    let mut document: Document<Backup> = Document::from_value(expected.clone()).unwrap();
    document
        .update(|backup| {
            backup.status.phase = Some(BackupPhase::PartiallyFailed);
            backup.status.errors = 2;
            backup.status.completion_timestamp = None;
        })
        .unwrap();
    expected["status"]["phase"] = json!("PartiallyFailed");
    expected["status"]["errors"] = json!(2);
    expected["status"]
        .as_object_mut()
        .unwrap()
        .remove("completionTimestamp");
    assert_eq!(*document.value(), expected);
    assert_eq!(document.get().status.errors, 2);
}

#[test]
fn a_change_that_does_not_fit_is_undone() {
    let mut document: Document<Backup> =
        Document::from_value(json!({"kind": "Backup", "x": 1})).unwrap();
    let error = document
        .merge(&json!({"spec": {"ttl": 5}, "x": null}))
        .unwrap_err();
    assert!(matches!(error, DocumentError::Form { .. }));
    assert_eq!(*document.value(), json!({"kind": "Backup", "x": 1}));
    document
        .merge(&json!({"spec": {"ttl": "1h"}, "x": null}))
        .unwrap();
    assert_eq!(
        *document.value(),
        json!({"kind": "Backup", "spec": {"ttl": "1h"}})
    );
    assert_eq!(document.get().spec.ttl.to_string(), "1h0m0s");
}

#[test]
fn what_is_not_a_document_is_refused() {
    assert!(matches!(
        Document::<Backup>::parse(b"{"),
        Err(DocumentError::Syntax(_))
    ));
    let error = Document::<Backup>::parse(br#"{"kind":"Restore"}"#).unwrap_err();
    assert!(matches!(error, DocumentError::Form { .. }));
    assert!(
        error
            .to_string()
            .starts_with("document does not have the form of velero_core::api::")
    );
    assert!(Document::<Vec<PodVolumeBackup>>::parse(br#"[{"kind":"PodVolumeBackup"}]"#).is_ok());
}
