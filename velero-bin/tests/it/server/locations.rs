use serde_json::{Value, json};
use velero_core::api::{Backup, BackupPhase, BackupStorageLocation, BackupStorageLocationPhase};

use super::s3::{S3Server, SECRET_KEY, secret};
use super::world::{World, folder, folder_location, settings};

type Location = BackupStorageLocation;

fn is_checked(location: &Location) -> bool {
    location.status.last_validation_time.is_some()
}

#[tokio::test]
async fn a_folder_becomes_available_and_the_default() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    let location = world
        .wait::<Location>("default", "is the default", |l| l.spec.default)
        .await;
    assert_eq!(location.status.message, "");
    assert!(is_checked(&location));
    world
        .wait_metric("velero_backup_location_status_gauge{backup_location_name=\"default\"} 1")
        .await;
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let folder = folder();
    std::fs::create_dir_all(folder.path().join("foreign/photos")).unwrap();
    std::fs::write(folder.path().join("foreign/photos/1.jpg"), "x").unwrap();
    std::fs::create_dir_all(folder.path().join("bucket")).unwrap();
    let world = World::started().await;
    let path = folder.path().to_str().unwrap();
    let fs = |bucket: &str| json!({"provider": "fs", "objectStorage": {"bucket": bucket}, "config": {"fspath": path}});
    let with = |mut spec: Value, key: &str, value: Value| {
        spec[key] = value;
        spec
    };
    let both =
        json!({"bucket": "bucket", "caCert": "YQ==", "caCertRef": {"name": "a", "key": "b"}});
    for (name, spec, part) in [
        ("missing", fs("missing"), "missing"),
        ("foreign", fs("foreign"), "photos"),
        (
            "relative",
            with(fs("bucket"), "config", json!({"fspath": "here"})),
            "absolute path",
        ),
        (
            "unknown",
            with(fs("bucket"), "provider", json!("tape")),
            "tape",
        ),
        (
            "certificates",
            with(fs("bucket"), "objectStorage", both),
            "both set",
        ),
        (
            "secret",
            with(
                fs("bucket"),
                "credential",
                json!({"name": "nowhere", "key": "cloud"}),
            ),
            "\"nowhere\" does not exist",
        ),
        (
            "nobucket",
            with(fs("bucket"), "objectStorage", json!({"bucket": "a/b"})),
            "a/b",
        ),
    ] {
        world
            .create::<Location>(json!({"metadata": {"name": name}, "spec": spec}))
            .await;
        let location = world.wait::<Location>(name, "is checked", is_checked).await;
        assert_eq!(
            location.status.phase,
            Some(BackupStorageLocationPhase::Unavailable),
            "{name}"
        );
        assert!(
            location.status.message.contains(part),
            "{name}: {:?} {part}",
            location.status.message
        );
        assert!(!location.status.message.contains('\n'));
    }
}

#[tokio::test]
async fn a_changed_spec_is_checked_at_once() {
    let folder = folder();
    let world = World::started().await;
    world
        .create::<Location>(folder_location("default", folder.path()))
        .await;
    let location = world
        .wait::<Location>("default", "is checked", is_checked)
        .await;
    assert!(!location.is_available());
    std::fs::create_dir(folder.path().join("other")).unwrap();
    let patch = json!({"spec": {"objectStorage": {"bucket": "other"}}});
    let api = world.kind::<Location>();
    api.patch(
        "default",
        &Default::default(),
        &kube::api::Patch::Merge(&patch),
    )
    .await
    .unwrap();
    world
        .wait::<Location>("default", "is available", Location::is_available)
        .await;
}

/// What was mended while no server was there must not cost the backups that wait for the next one.
#[tokio::test]
async fn a_start_does_not_believe_in_old_faults() {
    let folder = folder();
    std::fs::create_dir_all(folder.path().join("bucket")).unwrap();
    let mut world = World::empty();
    let mut location = folder_location("default", folder.path());
    location["apiVersion"] = json!("velero.io/v1");
    location["kind"] = json!("BackupStorageLocation");
    location["metadata"]["namespace"] = json!("velero");
    location["status"] = json!({"phase": "Unavailable", "message": "access denied",
        "lastValidationTime": jiff::Timestamp::now().to_string()});
    world.api.store().seed_value(location).unwrap();
    world
        .create::<Backup>(json!({"metadata": {"name": "waiting"}, "spec": {}}))
        .await;
    world.start(settings()).await;
    let backup = world
        .wait::<Backup>("waiting", "ended", |backup| backup.phase().is_terminal())
        .await;
    assert_eq!(
        *backup.phase(),
        BackupPhase::Completed,
        "{:?}",
        backup.status.validation_errors
    );
}

#[tokio::test]
async fn the_newest_default_wins() {
    let folder = folder();
    let world = World::empty();
    for (name, created) in [
        ("old", "2026-01-01T00:00:00Z"),
        ("new", "2026-02-01T00:00:00Z"),
    ] {
        let mut location = folder_location(name, folder.path());
        location["apiVersion"] = json!("velero.io/v1");
        location["kind"] = json!("BackupStorageLocation");
        location["metadata"]["namespace"] = json!("velero");
        location["metadata"]["creationTimestamp"] = json!(created);
        location["spec"]["default"] = json!(true);
        world.api.store().seed_value(location).unwrap();
    }
    let stamps: Vec<_> = ["old", "new"]
        .map(|name| {
            world
                .api
                .store()
                .get(
                    "velero.io/v1",
                    "BackupStorageLocation",
                    Some("velero"),
                    name,
                )
                .unwrap()
        })
        .iter()
        .map(|location| location["metadata"]["creationTimestamp"].clone())
        .collect();
    let mut world = world;
    world.start(settings()).await;
    // Where the two were made in the same second, the name decides.
    let loser = if stamps[0].as_str() < stamps[1].as_str() {
        "old"
    } else {
        "new"
    };
    world
        .wait::<Location>(loser, "lost the default", |l| !l.spec.default)
        .await;
    let winner = if loser == "old" { "new" } else { "old" };
    assert!(world.get::<Location>(winner).await.unwrap().spec.default);
}

#[tokio::test]
async fn s3_with_credentials_from_a_secret() {
    let s3 = S3Server::start().await;
    let world = World::started().await;
    world
        .api
        .store()
        .seed_value(secret("good", SECRET_KEY))
        .unwrap();
    world
        .api
        .store()
        .seed_value(secret("bad", "not-the-key"))
        .unwrap();
    world
        .create::<Location>(s3.location("main", "cluster-a", "good"))
        .await;
    let location = world
        .wait::<Location>("main", "is checked", is_checked)
        .await;
    assert!(location.is_available(), "{}", location.status.message);

    world
        .create::<Location>(s3.location("denied", "", "bad"))
        .await;
    let location = world
        .wait::<Location>("denied", "is checked", is_checked)
        .await;
    assert!(
        location.status.message.contains("access denied"),
        "{}",
        location.status.message
    );
    assert!(!location.status.message.contains("not-the-key"));

    let mut elsewhere = s3.location("elsewhere", "", "good");
    elsewhere["spec"]["objectStorage"]["bucket"] = json!("nothing-here");
    world.create::<Location>(elsewhere).await;
    let location = world
        .wait::<Location>("elsewhere", "is checked", is_checked)
        .await;
    assert!(
        location.status.message.contains("nothing-here"),
        "{}",
        location.status.message
    );
}

#[tokio::test]
async fn health_and_metrics_are_served() {
    let world = World::started().await;
    let address = world.server.as_ref().unwrap().address().unwrap();
    for (path, part) in [
        ("healthz", "ok"),
        ("readyz", "ok"),
        ("metrics", "velero_backup_attempt_total{schedule=\"\"} 0"),
    ] {
        let text = http_get(address, path).await;
        assert!(
            text.starts_with("HTTP/1.1 200") && text.contains(part),
            "{path}: {text}"
        );
    }
    assert!(http_get(address, "else").await.starts_with("HTTP/1.1 404"));
}

pub(super) async fn http_get(address: std::net::SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream
        .write_all(
            format!("GET /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn a_server_without_its_definitions_says_so() {
    let world = World::without("restores.velero.io");
    let logs = velero_bin::logfile::RunLogs::install(&Default::default());
    let error = velero_bin::server::Server::start(world.api.client(), settings(), logs.clone())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("restores.velero.io") && error.to_string().contains("install"),
        "{error}"
    );

    let mut nowhere = settings();
    nowhere.namespace = "nowhere".into();
    let error = velero_bin::server::Server::start(World::empty().api.client(), nowhere, logs)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("namespace \"nowhere\" does not exist"),
        "{error}"
    );
}
