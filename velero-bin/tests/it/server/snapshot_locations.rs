//! Volume snapshot locations: chosen and checked when a backup is prepared.

use serde_json::{Value, json};
use velero_core::api::{Backup, BackupPhase, BackupStorageLocation, VolumeSnapshotLocation};

use super::world::{World, folder, settings};

async fn location(world: &World, name: &str, provider: &str, credential: Value) {
    let mut spec = json!({"provider": provider});
    if !credential.is_null() {
        spec["credential"] = credential;
    }
    world
        .create::<VolumeSnapshotLocation>(json!({"metadata": {"name": name}, "spec": spec}))
        .await;
}

#[tokio::test]
async fn one_for_each_provider_is_stored_in_the_spec() {
    let folder = folder();
    let mut world = World::empty();
    let mut settings = settings();
    settings.default_snapshot_locations = [("aws".to_owned(), "a2".to_owned())].into();
    world.start(settings).await;
    world.add_folder("default", folder.path()).await;
    world
        .wait::<BackupStorageLocation>(
            "default",
            "is available",
            BackupStorageLocation::is_available,
        )
        .await;
    world.seed_shop("shop");
    let secret = json!({"name": "cloud", "key": "token"});
    location(&world, "g", "gcp", Value::Null).await;
    location(&world, "a1", "aws", Value::Null).await;
    location(&world, "a2", "aws", secret.clone()).await;

    let ended = async |name: &str, spec: Value| {
        world
            .create::<Backup>(json!({"metadata": {"name": name}, "spec": spec}))
            .await;
        world.backup_ended(name).await
    };
    let fault = async |name: &str, spec: Value, part: &str| {
        let backup = ended(name, spec).await;
        let errors = &backup.status.validation_errors;
        assert!(
            *backup.phase() == BackupPhase::FailedValidation
                && errors.iter().any(|error| error.contains(part)),
            "{part}: {:?}",
            backup.status
        );
    };
    let plain = json!({"includedNamespaces": ["shop"]});
    let missing =
        "volume snapshot location \"a2\": spec.credential: secret \"cloud\" does not exist";
    fault("no-secret", plain.clone(), missing).await;
    let cloud = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cloud", "namespace": "velero"},
        "data": {"token": "eA=="}});
    world.api.store().seed_value(cloud).unwrap();
    let whole = ended("whole", plain).await;
    assert_eq!(*whole.phase(), BackupPhase::Completed, "{:?}", whole.status);
    assert_eq!(whole.spec.volume_snapshot_locations, ["a2", "g"]);
    let stored = folder
        .path()
        .join("bucket/backups/whole/velero-backup.json");
    let stored: Value = serde_json::from_slice(&std::fs::read(stored).unwrap()).unwrap();
    assert_eq!(
        stored["spec"]["volumeSnapshotLocations"],
        json!(["a2", "g"])
    );

    let names =
        |names: &[&str]| json!({"snapshotVolumes": false, "volumeSnapshotLocations": names});
    fault(
        "gone",
        names(&["nowhere"]),
        "spec.volumeSnapshotLocations: volume snapshot location \"nowhere\" does not exist",
    )
    .await;
    fault("twins", names(&["a1", "a2"]), "only one for each provider").await;
    // Whoever names one wants snapshots there.
    let asked = "spec.volumeSnapshotLocations: volume snapshots cannot be backed up";
    fault("asked", json!({"volumeSnapshotLocations": ["a1"]}), asked).await;

    // Whoever wants none may say which one is not used.
    let none = ended("none", names(&["a1"])).await;
    assert_eq!(*none.phase(), BackupPhase::Completed, "{:?}", none.status);
    assert_eq!(none.spec.volume_snapshot_locations, ["a1", "g"]);

    world.delete::<VolumeSnapshotLocation>("a2").await;
    location(&world, "a3", "aws", Value::Null).await;
    let gone = "\"a2\", which --default-volume-snapshot-locations names";
    fault("default-gone", json!({}), gone).await;
}
