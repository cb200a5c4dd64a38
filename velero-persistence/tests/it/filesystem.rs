//! What only folders can get wrong.

use tempfile::TempDir;
use velero_persistence::{Environment, ErrorKind, Location, LocationConfig, ObjectStore};

use crate::settings;

fn config(root: &str, bucket: &str) -> LocationConfig {
    LocationConfig {
        provider: "velero.io/fs".to_owned(),
        bucket: bucket.to_owned(),
        config: settings(&[("fspath", root)]),
        ..LocationConfig::default()
    }
}

async fn open(url: &str) -> ObjectStore {
    Location::from_url(url).unwrap().open().await.unwrap()
}

#[tokio::test]
async fn a_missing_bucket_folder_is_named_and_never_made() {
    let dir = TempDir::new().unwrap();
    let config = config(dir.path().to_str().unwrap(), "nowhere");
    let location = Location::from_config_in(&config, &Environment::empty()).unwrap();
    let err = location.open().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::BucketNotFound);
    let want = format!(
        "folder {:?} does not exist",
        dir.path().join("nowhere").display().to_string()
    );
    assert!(err.to_string().ends_with(&want), "{err}");
    assert!(!dir.path().join("nowhere").exists());
}

#[tokio::test]
async fn a_root_that_vanishes_is_an_error_not_an_empty_store() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("store");
    let store = open(&format!("file://{}", root.display())).await;
    store.put("a/b", "x".into()).await.unwrap();
    std::fs::remove_dir_all(&root).unwrap();
    let errors = [
        store.check().await.unwrap_err(),
        store.put("k", "x".into()).await.unwrap_err(),
        store.get("a/b", 1).await.unwrap_err(),
        store.exists("a/b").await.unwrap_err(),
        store.list("").await.unwrap_err(),
        store.list_dirs("a/").await.unwrap_err(),
        store.delete("a/b").await.unwrap_err(),
        store.delete_prefix("a/").await.unwrap_err(),
        store.writer("a/b").await.unwrap_err(),
    ];
    for err in errors {
        assert_eq!(err.kind(), ErrorKind::BucketNotFound, "{err}");
    }
    assert!(!root.exists());
}

#[tokio::test]
async fn file_urls_make_their_folder() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("new and/deep");
    let url = format!("file://{}", root.display()).replace(' ', "%20");
    let store = open(&url).await;
    store.put("backups/b/x", "1".into()).await.unwrap();
    assert!(root.join("backups/b/x").is_file());
}

#[tokio::test]
async fn empty_folders_and_litter_are_no_backups() {
    let dir = TempDir::new().unwrap();
    let store = open(&format!("file://{}", dir.path().display())).await;
    std::fs::create_dir_all(dir.path().join("backups/empty/deeper")).unwrap();
    std::fs::create_dir_all(dir.path().join("backups/crashed")).unwrap();
    let litter = dir.path().join("backups/crashed/.velero-0123.partial");
    std::fs::write(&litter, "half").unwrap();
    store.put("backups/real/x", "1".into()).await.unwrap();
    assert_eq!(store.list_dirs("backups/").await.unwrap(), ["real"]);
    assert_eq!(store.list("").await.unwrap().len(), 1);
    assert_eq!(store.delete_prefix("backups/crashed/").await.unwrap(), 0);
    assert!(!litter.exists() && !dir.path().join("backups/crashed").exists());
    store.delete_prefix("backups/real/").await.unwrap();
    assert_eq!(store.list_dirs("").await.unwrap(), Vec::<String>::new());
}

#[cfg(unix)]
#[tokio::test]
async fn links_to_folders_are_not_followed_in_listings() {
    let dir = TempDir::new().unwrap();
    let store = open(&format!("file://{}", dir.path().display())).await;
    store.put("backups/b/x", "1".into()).await.unwrap();
    std::os::unix::fs::symlink(dir.path(), dir.path().join("backups/b/loop")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("backups/b/broken")).unwrap();
    assert_eq!(store.list("").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_below_an_object_is_refused() {
    let dir = TempDir::new().unwrap();
    let store = open(&format!("file://{}", dir.path().display())).await;
    store.put("a", "1".into()).await.unwrap();
    assert!(store.put("a/b", "1".into()).await.is_err());
    assert!(store.put(&"n".repeat(300), "1".into()).await.is_err());
    assert_eq!(
        store.get("a/b", 1).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert!(!store.exists("a/b").await.unwrap());
    assert_eq!(store.list("").await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_and_deleters_of_one_folder_do_not_trip_each_other() {
    let dir = TempDir::new().unwrap();
    let store = open(&format!("file://{}", dir.path().display())).await;
    let tasks = (0..4).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..50 {
                let key = format!("shared/folder/{task}");
                store.put(&key, "1".into()).await.unwrap();
                store.delete(&key).await.unwrap();
            }
        })
    });
    for outcome in futures::future::join_all(tasks).await {
        outcome.unwrap();
    }
    assert!(store.list_dirs("").await.unwrap().is_empty());
}
