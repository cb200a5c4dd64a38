//! Stores that break or fall silent during a backup, and what becomes of it when they are back.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use velero_bin::server::Settings;
use velero_core::api::{Backup, BackupPhase, BackupStorageLocation};
use velero_testkit::{Fault, FaultAction};

use super::s3::{S3Server, SECRET_KEY, secret};
use super::world::{World, eventually, files, folder, gunzip, settings};

const MARK: &str = "x-velero-reservation.json";

/// Begins backup `b`, and waits until it has its claim; its list of ConfigMaps takes two seconds.
async fn begin(world: &World, dir: &Path) {
    world.seed_shop("shop");
    let slow = FaultAction::Slow(Duration::from_secs(2));
    world.api.faults().add(
        Fault::new(slow)
            .verb("list")
            .resource("configmaps")
            .times(u64::MAX),
    );
    let spec = json!({"includedNamespaces": ["shop"]});
    world
        .create::<Backup>(json!({"metadata": {"name": "b"}, "spec": spec}))
        .await;
    let calls = world.api.calls();
    let listing = async || (calls.count("list", "configmaps") > 0).then_some(());
    assert!(eventually(listing).await.is_some(), "it never began");
    assert!(dir.join("b").join(MARK).is_file());
}

/// A folder with a bucket that can be taken away.
struct Bucket {
    folder: TempDir,
}

impl Bucket {
    fn new() -> Self {
        Self { folder: folder() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("bucket")
    }

    fn backups(&self) -> PathBuf {
        self.path().join("backups")
    }

    fn take_away(&self) {
        std::fs::rename(self.path(), self.folder.path().join("away")).unwrap();
    }

    fn bring_back(&self) {
        std::fs::rename(self.folder.path().join("away"), self.path()).unwrap();
    }

    /// A server whose backup `b` has failed, as the bucket was gone.
    async fn with_failed_backup(&self) -> (World, Backup) {
        let world = World::with_folder(self.folder.path()).await;
        begin(&world, &self.backups()).await;
        self.take_away();
        let failed = world.backup_ended("b").await;
        assert_eq!(*failed.phase(), BackupPhase::Failed);
        let reason = &failed.status.failure_reason;
        for part in [
            "cannot store the archive: ",
            "; what it has written may stay in the store: backups/b/b.tar.gz",
            "backups/b/x-velero-reservation.json",
        ] {
            assert!(reason.contains(part), "{part}: {reason}");
        }
        world.api.faults().clear();
        (world, failed)
    }

    /// Waits until the failure is on record in the bucket and in the resource; gives the log.
    async fn wait_recorded(&self, world: &World) -> String {
        let dir = self.backups().join("b");
        let expected = ["b-logs.gz", "b-results.gz", "velero-backup.json"];
        let recorded = eventually(async || (files(&dir) == expected).then_some(())).await;
        assert!(recorded.is_some(), "{:?}", files(&dir));
        let backup = world
            .wait::<Backup>("b", "is told", |backup| backup.status.errors == 1)
            .await;
        let reason = &backup.status.failure_reason;
        assert!(
            reason.starts_with("cannot store the archive: ") && !reason.contains("may stay"),
            "{reason}"
        );
        let metadata = std::fs::read(dir.join("velero-backup.json")).unwrap();
        let metadata: Value = serde_json::from_slice(&metadata).unwrap();
        assert_eq!(
            metadata["status"],
            serde_json::to_value(&backup.status).unwrap()
        );
        assert_eq!(metadata["metadata"]["uid"], json!(backup.metadata.uid));
        let results = gunzip(&dir.join("b-results.gz"));
        assert!(results.contains("cannot store the archive: "), "{results}");
        let log = gunzip(&dir.join("b-logs.gz"));
        let line = "the backup has failed: cannot store the archive: ";
        assert!(log.contains(line), "{log}");
        log
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_did_not_take_of_a_failure_is_stored_when_it_is_back() {
    let bucket = Bucket::new();
    let (mut world, failed) = bucket.with_failed_backup().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!bucket.path().exists());
    bucket.bring_back();
    let log = bucket.wait_recorded(&world).await;
    assert!(log.contains("starting the backup"), "{log}");
    let after = world.get::<Backup>("b").await.unwrap().status;
    assert_eq!(after.start_timestamp, failed.status.start_timestamp);
    // The name is free: the next backup takes the place of the failed one.
    world.delete::<Backup>("b").await;
    world.back_up("b", &["shop"]).await;
    assert!(world.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_server_stores_what_a_store_did_not_take_of_a_failure() {
    let bucket = Bucket::new();
    let (mut world, _) = bucket.with_failed_backup().await;
    assert!(world.stop().await);
    bucket.bring_back();
    let dir = bucket.backups().join("b");
    let left = files(&dir);
    assert!(left.iter().any(|file| file == MARK), "{left:?}");
    // The process of the server before lives on here: only the lease says that nobody is behind the claim.
    let mut mark: Value = serde_json::from_slice(&std::fs::read(dir.join(MARK)).unwrap()).unwrap();
    mark["renewed"] = json!("2020-01-01T00:00:00Z");
    std::fs::write(dir.join(MARK), mark.to_string()).unwrap();
    world.start(settings()).await;
    bucket.wait_recorded(&world).await;
    assert!(world.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stays_of_a_failed_backup_that_nobody_wants_to_know_of() {
    let bucket = Bucket::new();
    let (mut world, _) = bucket.with_failed_backup().await;
    world.delete::<Backup>("b").await;
    bucket.bring_back();
    let empty = eventually(async || files(&bucket.path()).is_empty().then_some(())).await;
    assert!(empty.is_some(), "{:?}", files(&bucket.path()));
    assert!(world.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_failures_and_names_of_others_are_left_alone() {
    let folder = folder();
    let mut world = World::empty();
    world.add_folder("default", folder.path()).await;
    let backups = folder.path().join("bucket/backups");
    let failed = |name: &str| json!({"metadata": {"name": name}, "spec": {"storageLocation": "default"}, "status": {"phase": "Failed", "failureReason": "x"}});
    for name in ["kept", "taken", "nothing"] {
        world.create::<Backup>(failed(name)).await;
    }
    let write = |file: &str, text: String| {
        let path = backups.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let metadata = failed("kept").to_string();
    write("kept/velero-backup.json", metadata.clone());
    write("kept/kept-logs.gz", "log".to_owned());
    let now = jiff::Timestamp::now().to_string();
    let mark = json!({"holder": "another/one", "renewed": now, "leaseSeconds": 600}).to_string();
    write(&format!("taken/{MARK}"), mark.clone());
    write("taken/taken.tar.gz", "half".to_owned());
    world.start(settings()).await;
    world
        .wait::<BackupStorageLocation>("default", "is available", |location| {
            location.is_available()
        })
        .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(
        files(&backups),
        [
            "kept/kept-logs.gz",
            "kept/velero-backup.json",
            "taken/taken.tar.gz",
            "taken/x-velero-reservation.json"
        ]
    );
    let read = |file: &str| std::fs::read_to_string(backups.join(file)).unwrap();
    assert_eq!(read("kept/velero-backup.json"), metadata);
    assert_eq!(read(&format!("taken/{MARK}")), mark);
    assert!(world.stop().await);
}

/// Stands between a client and a server, and stops passing on what either says once it is told to.
async fn relay(to: SocketAddr, silent: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(to).await else {
                return;
            };
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::spawn(pass_on(from_client, to_server, Arc::clone(&silent)));
            tokio::spawn(pass_on(from_server, to_client, Arc::clone(&silent)));
        }
    });
    address
}

async fn pass_on(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    silent: Arc<AtomicBool>,
) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(read) = from.read(&mut bytes).await {
        if silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if read == 0 || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_store_is_silent_stops_within_its_grace() {
    let (s3, silent) = (S3Server::start().await, Arc::new(AtomicBool::new(false)));
    let address = relay(s3.address(), Arc::clone(&silent)).await;
    let mut world = World::empty();
    world
        .start(Settings {
            shutdown_grace: Settings::default().shutdown_grace,
            ..settings()
        })
        .await;
    world
        .api
        .store()
        .seed_value(secret("good", SECRET_KEY))
        .unwrap();
    let mut location = s3.location("default", "", "good");
    location["spec"]["config"]["s3Url"] = json!(format!("http://{address}"));
    world.create::<BackupStorageLocation>(location).await;
    world
        .wait::<BackupStorageLocation>("default", "is looked into", |location| {
            location.status.last_synced_time.is_some()
        })
        .await;
    begin(&world, &s3.bucket().join("backups")).await;
    silent.store(true, Ordering::SeqCst);
    // The list has ended by then, and the archive waits for the store.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let began = Instant::now();
    assert!(world.stop().await, "the server did not stop in time");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(17), "{took:?}");
    let backup = world.get::<Backup>("b").await.unwrap();
    // What lies in the store is looked after by the next server, which begins the backup anew.
    let status = &backup.status;
    assert_eq!(*backup.phase(), BackupPhase::InProgress, "{status:?}");
    assert!(s3.bucket().join("backups/b").join(MARK).exists());
    silent.store(false, Ordering::SeqCst);
    world.api.faults().clear();
    // This process lives; the one of a server that has stopped does not.
    let mark = s3.bucket().join("backups/b").join(MARK);
    let mut claim: Value = serde_json::from_slice(&std::fs::read(&mark).unwrap()).unwrap();
    (claim["process"], claim["renewed"]) = (Value::Null, json!("2020-01-01T00:00:00Z"));
    std::fs::write(&mark, claim.to_string()).unwrap();
    world.start(settings()).await;
    let ended = world.backup_ended("b").await;
    let status = &ended.status;
    assert_eq!(*ended.phase(), BackupPhase::Completed, "{status:?}");
}
