use serde_json::json;
use velero_core::api::{BackupStorageLocation, DownloadRequest, DownloadRequestPhase, Restore};

use super::s3::{S3Server, SECRET_KEY, secret};
use super::world::{World, folder, gunzip, settings};

fn is_processed(request: &DownloadRequest) -> bool {
    request.status.phase == Some(DownloadRequestPhase::Processed)
}

async fn ask(world: &World, name: &str, kind: &str, target: &str) -> DownloadRequest {
    world
        .create::<DownloadRequest>(
            json!({"metadata": {"name": name}, "spec": {"target": {"kind": kind, "name": target}}}),
        )
        .await;
    world
        .wait::<DownloadRequest>(name, "is processed", is_processed)
        .await
}

#[tokio::test]
async fn files_of_a_folder_have_file_urls() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    world
        .create::<Restore>(json!({"metadata": {"name": "r"}, "spec": {"backupName": "b"}}))
        .await;
    world.restore_ended("r").await;
    for (name, kind, target, part) in [
        ("d1", "BackupLog", "b", "backup=velero/b"),
        ("d2", "BackupResourceList", "b", "shop/config-1"),
        ("d3", "RestoreResults", "r", "errors"),
    ] {
        let request = ask(&world, name, kind, target).await;
        assert!(request.status.expiration.is_some());
        let url = url::Url::parse(&request.status.download_url).unwrap();
        assert_eq!(url.scheme(), "file");
        let text = gunzip(&url.to_file_path().unwrap());
        assert!(text.contains(part), "{kind}: {text}");
    }
}

#[tokio::test]
async fn files_in_s3_have_signed_urls() {
    let s3 = S3Server::start().await;
    let world = World::started().await;
    world
        .api
        .store()
        .seed_value(secret("cloud-credentials", SECRET_KEY))
        .unwrap();
    world
        .create::<velero_core::api::BackupStorageLocation>(s3.location(
            "main",
            "",
            "cloud-credentials",
        ))
        .await;
    world
        .wait::<velero_core::api::BackupStorageLocation>("main", "is available", |l| {
            l.is_available()
        })
        .await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    let request = ask(&world, "d", "BackupContents", "b").await;
    let answer = fetch(&request.status.download_url).await;
    assert!(answer.status().is_success(), "{answer:?}");
    let bytes = answer.bytes().await.unwrap();
    assert_eq!(
        bytes,
        std::fs::read(s3.bucket().join("backups/b/b.tar.gz")).unwrap()
    );
}

#[tokio::test]
async fn requests_expire() {
    let folder = folder();
    let mut world = World::empty();
    let short = velero_bin::server::Settings {
        download_ttl: std::time::Duration::from_secs(2),
        ..settings()
    };
    world.start(short).await;
    world.add_folder("default", folder.path()).await;
    // There is no such backup: the request stays as it is until it expires.
    world
        .create::<DownloadRequest>(json!({"metadata": {"name": "d"}, "spec": {"target": {"kind": "BackupLog", "name": "b"}}}))
        .await;
    let request = world
        .wait::<DownloadRequest>("d", "has an expiration", |d| d.status.expiration.is_some())
        .await;
    assert!(!is_processed(&request) && request.status.download_url.is_empty());
    world.wait_gone::<DownloadRequest>("d").await;
}

async fn fetch(url: &str) -> reqwest::Response {
    // The binary does the same when it starts; a second time changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::get(url).await.unwrap()
}

#[tokio::test]
async fn a_request_without_an_address_says_why() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    let provider = json!({"spec": {"provider": "tape"}});
    world
        .patch::<BackupStorageLocation>("default", provider)
        .await;
    let target = json!({"kind": "BackupLog", "name": "b"});
    let request = json!({"metadata": {"name": "d"}, "spec": {"target": target}});
    world.create::<DownloadRequest>(request).await;
    let waits_for = |request: &DownloadRequest| {
        let own = request.metadata.annotations.as_ref()?;
        own.get("x.velero.io/waits-for").cloned()
    };
    let request = world.wait::<DownloadRequest>("d", "says why", |d| waits_for(d).is_some());
    let text = waits_for(&request.await).unwrap();
    assert!(text.contains("tape") && text.contains(", since "), "{text}");
    let mended = json!({"spec": {"provider": "filesystem"}});
    world
        .patch::<BackupStorageLocation>("default", mended)
        .await;
    let answered = world
        .wait::<DownloadRequest>("d", "is processed", is_processed)
        .await;
    assert_eq!(waits_for(&answered), None);
}
