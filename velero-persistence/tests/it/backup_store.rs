//! Backups and restores over every kind of store.

use std::io::Read;

use bytes::Bytes;
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use velero_core::Timestamp;
use velero_persistence::{
    BackupFile, BackupStore, Claimant, Error, ErrorKind, PutMode, Reservation, RestoreFile,
};

use crate::Fixture;

macro_rules! suite {
    ($($check:ident),* $(,)?) => {
        mod memory { $(#[tokio::test(flavor = "multi_thread")] async fn $check() { super::$check(crate::memory().await).await })* }
        mod filesystem { $(#[tokio::test(flavor = "multi_thread")] async fn $check() { super::$check(crate::filesystem().await).await })* }
        mod s3 { $(#[tokio::test(flavor = "multi_thread")] async fn $check() { super::$check(crate::s3().await).await })* }
    };
}

suite!(
    a_backup_from_reservation_to_deletion,
    files_are_written_as_the_peer_does,
    files_are_read_as_the_peer_does,
    validity_of_the_root,
    names_are_reserved,
    restores,
    deletion_takes_what_belongs_to_the_backup_and_names_the_rest,
);

async fn unpacked(store: &BackupStore, key: &str) -> String {
    let packed = store.store().get(key, 1 << 20).await.unwrap();
    let mut text = String::new();
    GzDecoder::new(&packed[..])
        .read_to_string(&mut text)
        .unwrap();
    text
}

async fn a_backup_from_reservation_to_deletion(f: Fixture) {
    let store = BackupStore::new(f.store.clone());
    store.validate().await.unwrap();
    assert!(store.list_backups().await.unwrap().is_empty());
    assert!(!store.backup_exists("b1").await.unwrap());
    let err = store.get_metadata("b1").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound);

    let claim = reserve(&store, "b1", "uid").await.unwrap();
    let mut writer = store.writer(&BackupFile::Contents.of("b1")).await.unwrap();
    writer.write("archive").await.unwrap();
    writer.close().await.unwrap();
    assert!(
        !store.backup_exists("b1").await.unwrap(),
        "not before its metadata"
    );
    let json = Bytes::from("{\n  \"kind\": \"Backup\"\n}");
    store
        .put_metadata("b1", json.clone(), PutMode::Create)
        .await
        .unwrap();
    claim.release(Timestamp::now()).await.unwrap();

    assert!(store.backup_exists("b1").await.unwrap());
    assert_eq!(store.list_backups().await.unwrap(), ["b1"]);
    assert_eq!(store.get_metadata("b1").await.unwrap(), json);
    let reader = store.reader(&BackupFile::Contents.of("b1")).await.unwrap();
    assert_eq!(reader.read_to_end(100).await.unwrap(), "archive");

    let again = store
        .put_metadata("b1", "{}".into(), PutMode::Create)
        .await
        .unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    assert!(
        again
            .to_string()
            .ends_with("backup \"b1\" already exists in object storage"),
        "{again}"
    );
    store
        .put_metadata("b1", "{}".into(), PutMode::Replace)
        .await
        .unwrap();
    assert_eq!(store.get_metadata("b1").await.unwrap(), "{}");

    let entries = f.store.list("").await.unwrap();
    let keys: Vec<&str> = entries.iter().map(|e| e.key.as_str()).collect();
    assert_eq!(
        keys,
        ["backups/b1/b1.tar.gz", "backups/b1/velero-backup.json"]
    );
    let deleted = store.delete_backup("b1").await.unwrap();
    assert_eq!((deleted.objects, deleted.foreign.len()), (2, 0));
    assert!(store.list_backups().await.unwrap().is_empty());
    assert_eq!(store.delete_backup("b1").await.unwrap().objects, 0);
    store.validate().await.unwrap();
}

async fn files_are_written_as_the_peer_does(f: Fixture) {
    let store = BackupStore::new(f.store.clone());
    let none: [Value; 0] = [];
    for (file, want) in [
        (BackupFile::PodVolumeBackups, "null\n"),
        (BackupFile::VolumeSnapshots, "null\n"),
        (BackupFile::ItemOperations, "[]\n"),
        (BackupFile::VolumeInfos, "[]\n"),
    ] {
        store.put_list(&file.of("b1"), &none).await.unwrap();
        assert_eq!(unpacked(&store, file.of("b1").key()).await, want);
        store
            .put_list(&file.of("b1"), &[json!({"a": 1})])
            .await
            .unwrap();
        assert_eq!(unpacked(&store, file.of("b1").key()).await, "[{\"a\":1}]\n");
    }
    let results = json!({"errors": {}, "warnings": {"velero": ["w"]}});
    store
        .put_json(&BackupFile::Results.of("b1"), &results)
        .await
        .unwrap();
    assert_eq!(
        unpacked(&store, "backups/b1/b1-results.gz").await,
        "{\"errors\":{},\"warnings\":{\"velero\":[\"w\"]}}\n"
    );
    store
        .put_text(&BackupFile::Logs.of("b1"), b"line\n")
        .await
        .unwrap();
    assert_eq!(unpacked(&store, "backups/b1/b1-logs.gz").await, "line\n");
}

async fn files_are_read_as_the_peer_does(f: Fixture) {
    let store = BackupStore::new(f.store.clone());
    let artifact = BackupFile::VolumeInfos.of("b1");
    assert_eq!(store.get_json::<Value>(&artifact).await.unwrap(), None);
    assert!(store.get_list::<Value>(&artifact).await.unwrap().is_empty());
    assert_eq!(store.get_bytes(&artifact).await.unwrap(), None);
    store.put_text(&artifact, b"null\n").await.unwrap();
    assert!(store.get_list::<Value>(&artifact).await.unwrap().is_empty());
    store.put_list(&artifact, &[1, 2]).await.unwrap();
    assert_eq!(store.get_list::<u8>(&artifact).await.unwrap(), [1, 2]);
    assert_eq!(
        store.get_bytes(&artifact).await.unwrap().unwrap(),
        "[1,2]\n"
    );
    // Present but damaged is an error, not an absence.
    for (bytes, want) in [("plain", "not gzip"), ("", "not gzip")] {
        store.put_packed(&artifact, bytes.into()).await.unwrap();
        let err = store.get_list::<u8>(&artifact).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Corrupt);
        assert!(err.to_string().contains(want), "{err}");
    }
    store.put_text(&artifact, b"{").await.unwrap();
    let err = store.get_list::<u8>(&artifact).await.unwrap_err();
    assert!(
        err.to_string().contains("not the JSON it should be"),
        "{err}"
    );
    // A bomb stops at the limit.
    let bomb = vec![b' '; 1 << 20];
    store.put_text(&artifact, &bomb).await.unwrap();
    let small = store.clone().with_limit(1 << 16);
    let err = small.get_bytes(&artifact).await.unwrap_err();
    assert!(
        err.to_string().contains("holds more than 65536 bytes"),
        "{err}"
    );
}

async fn validity_of_the_root(f: Fixture) {
    let store = BackupStore::new(f.store.clone());
    for dir in [
        "backups", "restores", "restic", "metadata", "plugins", "kopia",
    ] {
        f.store
            .put(&format!("{dir}/x/y"), "1".into())
            .await
            .unwrap();
    }
    f.store.put("loose-object", "1".into()).await.unwrap();
    store.validate().await.unwrap();
    for (dir, want) in [
        ("e", "(e)"),
        ("d", "(d, e)"),
        ("c", "(c, d, e)"),
        ("b", "(4 of them: b, c, d, ...)"),
    ] {
        f.store.put(&format!("{dir}/x"), "1".into()).await.unwrap();
        let err = store.validate().await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::ConfigInvalid);
        assert!(err.to_string().contains(want), "{err}");
    }
}

async fn reserve(store: &BackupStore, backup: &str, holder: &str) -> Result<Reservation, Error> {
    store
        .reserve(backup, &Claimant::new(holder), Timestamp::now())
        .await
}

async fn names_are_reserved(f: Fixture) {
    let store = BackupStore::new(f.store.clone());
    reserve(&store, "b1", "one").await.unwrap();
    let one = reserve(&store, "b1", "one").await.unwrap();
    let err = reserve(&store, "b1", "two").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::AlreadyExists);
    assert!(err.is_retryable());
    assert!(
        err.to_string().contains("being written by \"one\""),
        "{err}"
    );
    assert_eq!(
        store.reservation("b1").await.unwrap().as_deref(),
        Some("one")
    );
    assert!(!store.backup_exists("b1").await.unwrap());
    store.validate().await.unwrap();
    store.break_reservation("b1").await.unwrap();
    let two = reserve(&store, "b1", "two").await.unwrap();
    assert!(one.release(Timestamp::now()).await.is_err());
    two.clone().release(Timestamp::now()).await.unwrap();
    two.release(Timestamp::now()).await.unwrap();
    assert!(store.list_backups().await.unwrap().is_empty(), "no trace");
    store
        .put_metadata("b1", "{}".into(), PutMode::Create)
        .await
        .unwrap();
    let err = reserve(&store, "b1", "three").await.unwrap_err();
    assert!(err.to_string().contains("already exists"), "{err}");
    assert_eq!(store.reservation("b1").await.unwrap(), None);
    for bad in ["", "a/b", ".."] {
        assert!(reserve(&store, bad, "x").await.is_err(), "{bad:?}");
        assert!(store.delete_backup(bad).await.is_err(), "{bad:?}");
        assert!(
            store
                .put_metadata(bad, "{}".into(), PutMode::Create)
                .await
                .is_err(),
            "{bad:?}"
        );
    }
}

async fn restores(f: Fixture) {
    let store = BackupStore::new(f.store.clone());
    store
        .put_text(&RestoreFile::Logs.of("r1"), b"log")
        .await
        .unwrap();
    let results = json!({"warnings": {}, "errors": {}});
    store
        .put_json(&RestoreFile::Results.of("r1"), &results)
        .await
        .unwrap();
    store
        .put_list::<u8>(&RestoreFile::VolumeInfos.of("r1"), &[])
        .await
        .unwrap();
    let back: Value = store
        .get_json(&RestoreFile::Results.of("r1"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(back, results);
    store
        .put_text(&RestoreFile::Logs.of("r10"), b"other")
        .await
        .unwrap();
    let foreign = "restores/r1/notes";
    f.store.put(foreign, "1".into()).await.unwrap();
    let deleted = store.delete_restore("r1").await.unwrap();
    assert_eq!(deleted.objects, 3);
    assert_eq!(deleted.foreign, [foreign]);
    assert!(f.store.exists(foreign).await.unwrap());
    assert!(store.exists(&RestoreFile::Logs.of("r10")).await.unwrap());
    assert!(store.delete_restore("").await.is_err());
}

async fn deletion_takes_what_belongs_to_the_backup_and_names_the_rest(f: Fixture) {
    let store = BackupStore::new(f.store.clone());
    let metadata = store.put_metadata("b1", "{}".into(), PutMode::Create);
    metadata.await.unwrap();
    for name in ["b1-of-another-release.gz", "b1.tar.gz", "x-velero-own.json"] {
        let key = format!("backups/b1/{name}");
        f.store.put(&key, "1".into()).await.unwrap();
    }
    let foreign = ["backups/b1/README", "backups/b1/sub/b1-logs.gz"];
    for key in foreign.into_iter().chain(["backups/b10/x"]) {
        f.store.put(key, "1".into()).await.unwrap();
    }
    let deleted = store.delete_backup("b1").await.unwrap();
    assert_eq!(deleted.objects, 4);
    assert_eq!(deleted.foreign, foreign);
    let left = f.store.list("").await.unwrap();
    let left: Vec<&str> = left.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(left, [foreign[0], foreign[1], "backups/b10/x"]);
    // The name is free again, and a run that is thrown away leaves them as well.
    let claim = reserve(&store, "b1", "one").await.unwrap();
    let logs = BackupFile::Logs.of("b1");
    store.put_text(&logs, b"x").await.unwrap();
    store.discard("b1").await.unwrap();
    claim.release(Timestamp::now()).await.unwrap();
    for key in foreign {
        assert!(f.store.exists(key).await.unwrap(), "{key}");
    }
    assert!(!store.exists(&logs).await.unwrap());
}

/// The peer's own bucket, read through a location as a user would have it.
#[tokio::test]
async fn a_bucket_written_by_the_peer_is_read() {
    let fixtures = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../velero-testkit/fixtures/demo"
    );
    let config = velero_persistence::LocationConfig {
        provider: "filesystem".to_owned(),
        bucket: "bucket".to_owned(),
        config: crate::settings(&[("fspath", fixtures)]),
        ..Default::default()
    };
    let location = velero_persistence::Location::from_config(&config).unwrap();
    let store = BackupStore::open(&location).await.unwrap();
    store.validate().await.unwrap();
    let backups = store.list_backups().await.unwrap();
    assert_eq!(backups, ["demo-full", "demo-ns", "demo-sched", "demo-sel"]);
    for backup in &backups {
        assert!(store.backup_exists(backup).await.unwrap(), "{backup}");
        let metadata = store.get_metadata(backup).await.unwrap();
        let metadata: Value = serde_json::from_slice(&metadata).unwrap();
        assert_eq!(metadata["metadata"]["name"], backup.as_str());
        let listed = store
            .store()
            .list(&format!("backups/{backup}/"))
            .await
            .unwrap();
        for entry in &listed {
            let known = BackupFile::ALL
                .iter()
                .any(|file| file.of(backup).key() == entry.key);
            assert!(known, "{}", entry.key);
        }
        let lists = [
            BackupFile::PodVolumeBackups,
            BackupFile::VolumeSnapshots,
            BackupFile::ItemOperations,
            BackupFile::VolumeInfos,
            BackupFile::CsiVolumeSnapshots,
        ];
        for file in lists {
            let artifact = file.of(backup);
            let list: Vec<Value> = store.get_list(&artifact).await.unwrap();
            let Some(bytes) = store.get_bytes(&artifact).await.unwrap() else {
                continue;
            };
            assert!(bytes.ends_with(b"\n"), "{file:?}");
            if list.is_empty() {
                let want = format!("{}\n", artifact.empty_list());
                assert_eq!(bytes, want, "{file:?}");
            }
        }
        let results: Option<Value> = store
            .get_json(&BackupFile::Results.of(backup))
            .await
            .unwrap();
        assert!(results.unwrap().is_object());
        let log = store.get_bytes(&BackupFile::Logs.of(backup)).await.unwrap();
        assert!(!log.unwrap().is_empty());
    }
}
