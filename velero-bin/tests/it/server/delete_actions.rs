//! Actions that see the items of a backup before it is deleted, and what keeps a deletion from its end.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use velero_bin::server::Settings;
use velero_core::ItemTree;
use velero_core::action::{ActionContext, ActionError, DeleteItemAction, ResourceSelector};
use velero_core::api::{
    Backup, BackupPhase, BackupStorageLocation, DeleteBackupRequest, DeleteBackupRequestPhase,
    ServerStatusRequest,
};

use super::s3::{S3Server, SECRET_KEY, gate, secret};
use super::world::{World, files, folder, settings};

/// Notes the names of the ConfigMaps that it sees; does something besides.
struct Notes {
    seen: Arc<Mutex<Vec<String>>>,
    besides: Box<dyn Fn() -> Result<(), ActionError> + Send + Sync>,
    /// Waits while it is set.
    waits: Arc<AtomicBool>,
}

#[async_trait::async_trait]
impl DeleteItemAction for Notes {
    fn name(&self) -> &str {
        "example.com/notes"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["configmaps"])
    }

    async fn execute(
        &self,
        item: &ItemTree,
        cx: &ActionContext<'_, Backup>,
    ) -> Result<(), ActionError> {
        let phase = cx.run.phase().to_string();
        let line = format!("{}/{} {phase}", item.namespace(), item.name());
        self.seen.lock().unwrap().push(line);
        while self.waits.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        (self.besides)()
    }
}

type Seen = Arc<Mutex<Vec<String>>>;

fn noting(
    seen: &Seen,
    besides: impl Fn() -> Result<(), ActionError> + Send + Sync + 'static,
) -> Settings {
    let action = Notes {
        seen: Arc::clone(seen),
        besides: Box::new(besides),
        waits: Arc::default(),
    };
    Settings {
        delete_actions: vec![Arc::new(action)],
        ..settings()
    }
}

async fn world(folder: &Path, settings: Settings) -> World {
    let world = World::with_settings(folder, settings).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    world
}

async fn ask(world: &World) {
    let request = json!({"metadata": {"name": "d"}, "spec": {"backupName": "b"}});
    world.create::<DeleteBackupRequest>(request).await;
}

async fn processed(world: &World) -> Vec<String> {
    let request = world.wait::<DeleteBackupRequest>("d", "is processed", |request| {
        *request.phase() == DeleteBackupRequestPhase::Processed
    });
    request.await.status.errors
}

fn lines(seen: &Seen) -> Vec<String> {
    let mut lines = seen.lock().unwrap().clone();
    lines.sort();
    lines
}

#[tokio::test]
async fn delete_actions_see_the_items_before_the_files_go() {
    let folder = folder();
    let seen = Seen::default();
    let archive = folder.path().join("bucket/backups/b/b.tar.gz");
    let there = archive.clone();
    let world = world(
        folder.path(),
        noting(&seen, move || match there.is_file() {
            true => Err(ActionError::new("its snapshot cannot be deleted")),
            false => panic!("the files went first"),
        }),
    )
    .await;
    ask(&world).await;
    world.wait_gone::<DeleteBackupRequest>("d").await;
    // An action that fails does not keep the backup, as with the peer.
    assert!(world.get::<Backup>("b").await.is_none());
    assert!(!archive.exists());
    let seen = lines(&seen);
    assert!(!seen.is_empty());
    assert!(
        seen.iter()
            .all(|line| line.starts_with("shop/") && line.ends_with(" Completed")),
        "{seen:?}"
    );
}

#[tokio::test]
async fn delete_actions_are_told_among_the_plugins() {
    let folder = folder();
    let seen = Seen::default();
    let world = World::with_settings(folder.path(), noting(&seen, || Ok(()))).await;
    let request = json!({"metadata": {"name": "s"}, "spec": {}});
    world.create::<ServerStatusRequest>(request).await;
    let answered = world
        .wait::<ServerStatusRequest>("s", "is answered", |request| {
            !request.status.plugins.is_empty()
        })
        .await;
    let mut plugins = answered.status.plugins.iter();
    assert!(plugins.any(|p| p.kind == "DeleteItemAction" && p.name == "example.com/notes"));
}

#[tokio::test]
async fn a_missing_archive_does_not_keep_a_backup_and_a_damaged_one_does() {
    for (bytes, is_kept) in [(None, false), (Some("no archive"), true)] {
        let folder = folder();
        let seen = Seen::default();
        let world = world(folder.path(), noting(&seen, || Ok(()))).await;
        let dir = folder.path().join("bucket/backups/b");
        let archive = dir.join("b.tar.gz");
        match bytes {
            None => std::fs::remove_file(&archive).unwrap(),
            Some(bytes) => std::fs::write(&archive, bytes).unwrap(),
        }
        let before = files(&dir);
        ask(&world).await;
        if !is_kept {
            world.wait_gone::<DeleteBackupRequest>("d").await;
            assert!(world.get::<Backup>("b").await.is_none());
            continue;
        }
        let errors = processed(&world).await;
        assert!(
            errors[0].starts_with("the items of the backup cannot be shown to delete actions: "),
            "{errors:?}"
        );
        assert_eq!(files(&dir), before);
        let backup = world.get::<Backup>("b").await.unwrap();
        assert_eq!(*backup.phase(), BackupPhase::Deleting);
        assert!(lines(&seen).is_empty());
    }
}

#[tokio::test]
async fn without_delete_actions_the_archive_is_not_read() {
    let folder = folder();
    let world = world(folder.path(), settings()).await;
    let archive = folder.path().join("bucket/backups/b/b.tar.gz");
    std::fs::write(&archive, "no archive").unwrap();
    ask(&world).await;
    world.wait_gone::<DeleteBackupRequest>("d").await;
    assert!(!archive.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_amid_a_deletion_is_waited_for() {
    let (s3, away) = (S3Server::start().await, Arc::new(AtomicBool::new(false)));
    let address = gate(s3.address(), Arc::clone(&away)).await;
    let seen = Seen::default();
    let leaves = Arc::clone(&away);
    let first = AtomicBool::new(true);
    let mut world = World::empty();
    world
        .start(noting(&seen, move || {
            if first.swap(false, Ordering::SeqCst) {
                leaves.store(true, Ordering::SeqCst);
            }
            Ok(())
        }))
        .await;
    let secret = secret("good", SECRET_KEY);
    world.api.store().seed_value(secret).unwrap();
    let mut location = s3.location("default", "", "good");
    location["spec"]["config"]["s3Url"] = json!(format!("http://{address}"));
    world.create::<BackupStorageLocation>(location).await;
    world
        .wait::<BackupStorageLocation>("default", "is available", |location| {
            location.is_available()
        })
        .await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    let foreign = s3.bucket().join("backups/b/notes.txt");
    std::fs::write(&foreign, "mine").unwrap();
    ask(&world).await;
    let told = world.wait::<DeleteBackupRequest>("d", "tells what is wrong", |request| {
        !request.status.errors.is_empty()
    });
    let told = told.await;
    assert_eq!(*told.phase(), DeleteBackupRequestPhase::InProgress);
    let error = &told.status.errors[0];
    assert!(
        error.ends_with("; it is tried again until it succeeds"),
        "{error}"
    );
    let backup = world.get::<Backup>("b").await.unwrap();
    assert_eq!(*backup.phase(), BackupPhase::Deleting);
    assert!(s3.bucket().join("backups/b/velero-backup.json").is_file());
    away.store(false, Ordering::SeqCst);
    world.wait_gone::<DeleteBackupRequest>("d").await;
    assert!(world.get::<Backup>("b").await.is_none());
    // What is not the backup's is not deleted with it.
    assert_eq!(files(&s3.bucket().join("backups")), ["b/notes.txt"]);
}

#[tokio::test]
async fn a_request_tells_how_far_its_actions_are() {
    let (folder, waits) = (folder(), Arc::new(AtomicBool::new(true)));
    let action = Notes {
        seen: Seen::default(),
        besides: Box::new(|| Ok(())),
        waits: Arc::clone(&waits),
    };
    let settings = Settings {
        delete_actions: vec![Arc::new(action)],
        ..settings()
    };
    let world = world(folder.path(), settings).await;
    ask(&world).await;
    let told = |request: &DeleteBackupRequest| {
        let annotations = request.metadata.annotations.as_ref()?;
        annotations.get("x.velero.io/progress").cloned()
    };
    let request =
        world.wait::<DeleteBackupRequest>("d", "tells", |request| told(request).is_some());
    let text = told(&request.await).unwrap();
    assert!(text.starts_with("delete actions have seen 0 of "), "{text}");
    waits.store(false, Ordering::SeqCst);
    world.wait_gone::<DeleteBackupRequest>("d").await;
}

#[tokio::test]
async fn a_request_whose_backup_has_gone_before_its_server_was_killed_goes() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    let request: Value = json!({
        "metadata": {"name": "d"}, "spec": {"backupName": "b"}, "status": {"phase": "InProgress"},
    });
    world.create::<DeleteBackupRequest>(request).await;
    world.wait_gone::<DeleteBackupRequest>("d").await;
}
