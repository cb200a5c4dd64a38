//! Restores from archives that are cut or damaged: nothing is written, and what was wrong is told and stored.

use serde_json::json;
use velero_core::api::{Restore, RestorePhase};

use super::world::{World, folder, gunzip};

#[tokio::test]
async fn an_archive_that_is_cut_or_damaged_fails_the_restore_before_anything_is_written() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    let path = folder.path().join("bucket/backups/b/b.tar.gz");
    let whole = std::fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 0x55;
    for (name, bytes) in [
        ("cut", &whole[..whole.len() / 2]),
        ("damaged", damaged.as_slice()),
        ("empty", &[]),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let spec = json!({"backupName": "b", "namespaceMapping": {"shop": "copy"}});
        world
            .create::<Restore>(json!({"metadata": {"name": name}, "spec": spec}))
            .await;
        let restore = world.restore_ended(name).await;
        let reason = &restore.status.failure_reason;
        assert_eq!(*restore.phase(), RestorePhase::Failed, "{name}: {reason}");
        assert!(reason.contains("archive"), "{name}: {reason}");
        let copy = world.api.store().get("v1", "Namespace", None, "copy");
        assert!(copy.is_none(), "{name}: a namespace was created");
        let stored = folder.path().join(format!("bucket/restores/{name}"));
        let log = gunzip(&stored.join(format!("restore-{name}-logs.gz")));
        let results = gunzip(&stored.join(format!("restore-{name}-results.gz")));
        assert!(
            log.contains("archive") && results.contains("archive"),
            "{name}: {log}\n{results}"
        );
    }
    // The same backup with its archive as it was.
    std::fs::write(&path, &whole).unwrap();
    world
        .create::<Restore>(
            json!({"metadata": {"name": "whole"}, "spec": {"backupName": "b",
            "namespaceMapping": {"shop": "copy"}}}),
        )
        .await;
    let restore = world.restore_ended("whole").await;
    assert_eq!(*restore.phase(), RestorePhase::Completed);
}
