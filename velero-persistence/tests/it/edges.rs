//! What the peer's own tests of storage prove, and no other test of this crate shows.

use hyper::StatusCode;
use velero_persistence::{
    BackupFile, BackupStore, Deleted, Environment, Error, ErrorKind, Location, LocationConfig,
    PutMode, RestoreFile, layout::download_target,
};

use crate::server::S3Server;
use crate::settings;

/// One backup with two files, written at the root of a folder.
async fn folder_with_a_backup(dir: &std::path::Path) -> LocationConfig {
    std::fs::create_dir(dir.join("bucket")).unwrap();
    let config = LocationConfig {
        provider: "filesystem".to_owned(),
        bucket: "bucket".to_owned(),
        config: settings(&[("fspath", dir.to_str().unwrap())]),
        ..LocationConfig::default()
    };
    let store = open(&config).await;
    let log = BackupFile::Logs.of("nightly");
    store.put_text(&log, b"line\n").await.unwrap();
    let metadata = store.put_metadata("nightly", "{}".into(), PutMode::Create);
    metadata.await.unwrap();
    config
}

async fn open(config: &LocationConfig) -> BackupStore {
    let location = Location::from_config_in(config, &Environment::empty()).unwrap();
    BackupStore::open(&location).await.unwrap()
}

#[tokio::test]
async fn a_prefix_that_is_the_folder_of_backups_is_invalid_once_there_is_one() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut config = folder_with_a_backup(dir.path()).await;
    open(&config).await.validate().await.unwrap();
    for prefix in ["backups", "/backups/"] {
        config.prefix = prefix.to_owned();
        let store = open(&config).await;
        let error = store.validate().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
        assert!(error.to_string().contains("(nightly)"), "{error}");
        // What lies there is not taken for a backup of that location either.
        assert!(store.list_backups().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn slashes_around_a_bucket_do_not_count() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut config = folder_with_a_backup(dir.path()).await;
    for bucket in ["/bucket/", "bucket/", "//bucket"] {
        config.bucket = bucket.to_owned();
        assert_eq!(
            open(&config).await.list_backups().await.unwrap(),
            ["nightly"],
            "{bucket}"
        );
    }
    let server = S3Server::start().await;
    let mut config = server.config("p");
    config.bucket = format!("/{}/", config.bucket);
    open(&config).await.validate().await.unwrap();
    let asked = server.requests();
    assert!(
        asked.iter().all(|line| line.contains(" /bucket?")
            || line.contains(" /bucket/?")
            || line.contains("//bucket.")),
        "{asked:?}"
    );
}

/// Names are never taken apart, however much they look like a schedule, a time or a file.
#[test]
fn names_of_downloads_are_taken_as_they_are() {
    for name in [
        "a-b-c-d-e",
        "daily-20260101030000",
        "restore-of-b1-logs",
        "b1-volumesnapshots.json.gz",
        "b1.tar.gz",
    ] {
        for (kind, folder, file) in [
            ("BackupLog", "backups", format!("{name}-logs.gz")),
            ("BackupContents", "backups", format!("{name}.tar.gz")),
            (
                "RestoreResults",
                "restores",
                format!("restore-{name}-results.gz"),
            ),
            (
                "RestoreVolumeInfo",
                "restores",
                format!("{name}-volumeinfo.json.gz"),
            ),
        ] {
            let target = download_target(kind, name).unwrap();
            assert_eq!(target.key(), format!("{folder}/{name}/{file}"), "{kind}");
        }
    }
}

/// The errors of a deletion, and what it has left.
async fn left_of(
    store: &BackupStore,
    server: &S3Server,
    refused: &str,
    deletion: impl Future<Output = Result<Deleted, Error>>,
) -> (usize, Vec<String>) {
    {
        let mut script = server.script.lock().unwrap();
        script.faults = vec![StatusCode::FORBIDDEN; 2].into();
        script.only = Some(format!("DELETE /bucket/p/{refused}"));
    }
    let error = deletion.await.unwrap_err();
    let Error::DeleteIncomplete { errors, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    server.script.lock().unwrap().faults.clear();
    let left = store.store().list("").await.unwrap();
    let keys = left.into_iter().map(|entry| entry.key).collect();
    (errors.len(), keys)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_goes_on_after_single_failures_and_tells_them_together() {
    let server = S3Server::start().await;
    let store = BackupStore::open(&server.location("p")).await.unwrap();
    for file in [
        BackupFile::Logs,
        BackupFile::PodVolumeBackups,
        BackupFile::Results,
        BackupFile::VolumeInfos,
    ] {
        store.put_text(&file.of("b1"), b"x").await.unwrap();
    }
    let metadata = store.put_metadata("b1", "{}".into(), PutMode::Create);
    metadata.await.unwrap();
    let deletion = store.delete_backup("b1");
    let found = left_of(&store, &server, "backups/b1/b1-", deletion).await;
    // The first two files are refused; the others are gone, and the backup stays in sight.
    assert_eq!(
        found,
        (
            2,
            vec![
                "backups/b1/b1-logs.gz".to_owned(),
                "backups/b1/b1-podvolumebackups.json.gz".to_owned(),
                "backups/b1/velero-backup.json".to_owned(),
            ]
        )
    );
    assert!(store.backup_exists("b1").await.unwrap());
    assert_eq!(store.delete_backup("b1").await.unwrap().objects, 3);

    for file in [
        RestoreFile::Logs,
        RestoreFile::Results,
        RestoreFile::VolumeInfos,
    ] {
        store.put_text(&file.of("r1"), b"x").await.unwrap();
    }
    let deletion = store.delete_restore("r1");
    let (errors, left) = left_of(&store, &server, "restores/r1/", deletion).await;
    assert_eq!((errors, left.len()), (2, 2), "{left:?}");
    assert_eq!(store.delete_restore("r1").await.unwrap().objects, 2);
    assert!(store.store().list("").await.unwrap().is_empty());
}
