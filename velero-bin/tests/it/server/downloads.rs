use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use velero_bin::server::Settings;
use velero_core::api::{
    BackupStorageLocation, DownloadRequest, DownloadRequestPhase, Restore, RestorePhase,
};

use super::s3::{S3Server, SECRET_KEY, secret};
use super::world::{Ahead, NAMESPACE, World, eventually, folder, gunzip, settings};

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
    let short = Settings {
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

/// Asks for an address at the server.
async fn ask_through_server(world: &World, name: &str, kind: &str, target: &str) {
    let request = json!({
        "metadata": {"name": name, "annotations": {"x.velero.io/through": "server"}},
        "spec": {"target": {"kind": kind, "name": target}},
    });
    world.create::<DownloadRequest>(request).await;
}

/// The same; gives the path at the server.
async fn path_through_server(world: &World, name: &str, kind: &str, target: &str) -> String {
    ask_through_server(world, name, kind, target).await;
    let request = world.wait::<DownloadRequest>(name, "is processed", is_processed);
    let url = request.await.status.download_url;
    let prefix = "https://kubernetes.default.svc/api/v1/namespaces/velero/services/velero-downloads:http/proxy";
    url.strip_prefix(prefix)
        .expect("a path of the server's Service")
        .to_owned()
}

/// A server in a Pod, by a clock of the test's.
async fn world_in_pod(folder: &std::path::Path, ahead: &Ahead) -> World {
    let settings = Settings {
        pod: Some("velero-0".to_owned()),
        download_port: 0,
        clock: ahead.clock(),
        ..settings()
    };
    let world = World::with_settings(folder, settings).await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "velero-0", "namespace": NAMESPACE, "uid": "u-1"},
        "spec": {"containers": [{"name": "velero", "image": "velero"}]},
    });
    world.api.store().seed_value(pod).unwrap();
    let pods: Api<Pod> = Api::namespaced(world.api.client(), NAMESPACE);
    let status = json!({"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}});
    let params = PatchParams::default();
    let status = Patch::Merge(status);
    let patched = pods.patch_status("velero-0", &params, &status).await;
    patched.unwrap();
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    world
}

/// Where the API server is told to find the server.
async fn endpoint(world: &World) -> Option<(Endpoints, String)> {
    let services: Api<Service> = Api::namespaced(world.api.client(), NAMESPACE);
    let endpoints: Api<Endpoints> = Api::namespaced(world.api.client(), NAMESPACE);
    let service = services.get_opt("velero-downloads").await.unwrap();
    let endpoints = endpoints.get_opt("velero-downloads").await.unwrap();
    assert_eq!(service.is_some(), endpoints.is_some());
    let port = &service?.spec?.ports?[0];
    assert_eq!(port.name.as_deref(), Some("http"));
    let endpoints = endpoints?;
    let subset = &endpoints.subsets.as_ref()?[0];
    let address = &subset.addresses.as_ref()?[0];
    let port = &subset.ports.as_ref()?[0];
    let at = format!("http://{}:{}", address.ip, port.port);
    Some((endpoints, at))
}

#[tokio::test]
async fn the_server_passes_files_on_to_those_who_cannot_reach_their_store() {
    let (folder, ahead) = (folder(), Ahead::default());
    let world = world_in_pod(folder.path(), &ahead).await;
    assert!(endpoint(&world).await.is_none(), "nothing is open unasked");

    let archive = path_through_server(&world, "d1", "BackupContents", "b").await;
    let (endpoints, at) = endpoint(&world).await.unwrap();
    let owner = &endpoints.metadata.owner_references.unwrap()[0];
    assert_eq!(
        (owner.kind.as_str(), owner.name.as_str()),
        ("Pod", "velero-0")
    );
    let address = endpoints
        .subsets
        .unwrap()
        .remove(0)
        .addresses
        .unwrap()
        .remove(0);
    // The API server connects to no address that is not a Pod's.
    assert_eq!(
        address.target_ref.unwrap().name.as_deref(),
        Some("velero-0")
    );
    let get = async |path: &str| fetch(&format!("{at}{path}")).await;
    let answer = get(&archive).await;
    assert_eq!(answer.status(), 200);
    let stored = std::fs::read(folder.path().join("bucket/backups/b/b.tar.gz")).unwrap();
    assert_eq!(answer.content_length(), Some(stored.len() as u64));
    assert_eq!(answer.bytes().await.unwrap(), stored);

    // One port for all files.
    let log = path_through_server(&world, "d2", "BackupLog", "b").await;
    assert_eq!(get(&log).await.status(), 200);
    let none = path_through_server(&world, "d3", "BackupItemOperations", "b").await;
    let stored = folder
        .path()
        .join("bucket/backups/b/b-itemoperations.json.gz");
    let _ = std::fs::remove_file(stored);
    assert_eq!(get(&none).await.status(), 404);
    for path in [
        "/",
        "/metrics",
        &archive.replace("/b/", "/c/"),
        &archive[..archive.len() - 1],
    ] {
        assert_eq!(get(path).await.status(), 403, "{path}");
    }
    let client = reqwest::Client::new();
    let refused = client.post(format!("{at}{log}")).send().await.unwrap();
    assert_eq!(refused.status(), 405);
    let head = client.head(format!("{at}{archive}")).send().await.unwrap();
    assert_eq!(head.status(), 200);

    ahead.set(601);
    let shut = eventually(async || endpoint(&world).await.is_none().then_some(()));
    shut.await.expect("the port is shut");
    assert!(client.get(format!("{at}{log}")).send().await.is_err());

    // It is opened again for the next one.
    let log = path_through_server(&world, "d4", "BackupLog", "b").await;
    let (_, at) = endpoint(&world).await.unwrap();
    assert_eq!(fetch(&format!("{at}{log}")).await.status(), 200);
}

#[tokio::test]
async fn a_file_that_the_server_cannot_pass_on_is_not_promised() {
    let folder = folder();
    for (pod, reason) in [(None, "runs in no Pod"), (Some("gone"), "pod velero/gone")] {
        let settings = Settings {
            pod: pod.map(str::to_owned),
            download_port: 0,
            ..settings()
        };
        let world = World::with_settings(folder.path(), settings).await;
        world.seed_shop("shop");
        let backup = format!("b-{}", pod.unwrap_or("none"));
        world.back_up(&backup, &["shop"]).await;
        ask_through_server(&world, "d", "BackupLog", &backup).await;
        let is_said = |request: &DownloadRequest| {
            let own = request.metadata.annotations.clone().unwrap_or_default();
            own.get("x.velero.io/waits-for")
                .is_some_and(|text| text.contains(reason))
        };
        let request = world
            .wait::<DownloadRequest>("d", "says why", is_said)
            .await;
        assert_eq!(request.status.download_url, "");
        assert!(endpoint(&world).await.is_none());
    }
}

#[tokio::test]
async fn what_a_store_does_not_take_of_a_restore_is_kept_and_given_out_by_the_server() {
    let folder = folder();
    let mut world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    // No folder can be made there, so that even root cannot write.
    let restores = folder.path().join("bucket/restores");
    std::fs::write(&restores, "").unwrap();
    let spec = json!({"backupName": "b", "namespaceMapping": {"shop": "copy"}});
    world
        .create::<Restore>(json!({"metadata": {"name": "r"}, "spec": spec}))
        .await;
    let ended = world.restore_ended("r").await;
    let status = &ended.status;
    assert_eq!(*ended.phase(), RestorePhase::Completed, "{status:#?}");
    assert_eq!((status.warnings, status.failure_reason.as_str()), (0, ""));
    let kept = ended.metadata.annotations.unwrap_or_default();
    let kept = kept
        .get("x.velero.io/kept-by-server")
        .expect("files are named");
    for (number, (kind, file, part)) in [
        ("RestoreLog", "restore-r-logs.gz", "restore completed"),
        ("RestoreResults", "restore-r-results.gz", "errors"),
        (
            "RestoreResourceList",
            "restore-r-resource-list.json.gz",
            "copy/config-1",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(kept.split(',').any(|name| name == file), "{kept}");
        let request = ask(&world, &format!("d{number}"), kind, "r").await;
        let url = url::Url::parse(&request.status.download_url).unwrap();
        let text = gunzip(&url.to_file_path().unwrap());
        assert!(text.contains(part), "{kind}: {text}");
    }
    let log = world.get::<DownloadRequest>("d0").await.unwrap();
    let log = url::Url::parse(&log.status.download_url).unwrap();
    let log = log.to_file_path().unwrap();

    // Another server has not got it, and says so.
    assert!(world.stop().await);
    assert!(!log.exists(), "what is kept goes with the server");
    world.start(settings()).await;
    let target = json!({"kind": "RestoreLog", "name": "r"});
    let request = json!({"metadata": {"name": "late"}, "spec": {"target": target}});
    world.create::<DownloadRequest>(request).await;
    let is_said = |request: &DownloadRequest| {
        let own = request.metadata.annotations.clone().unwrap_or_default();
        own.get("x.velero.io/waits-for")
            .is_some_and(|text| text.contains("the server that kept it has ended"))
    };
    world
        .wait::<DownloadRequest>("late", "says why", is_said)
        .await;

    // It goes with its Restore.
    world
        .create::<Restore>(json!({"metadata": {"name": "r2"}, "spec": spec}))
        .await;
    world.restore_ended("r2").await;
    let request = ask(&world, "d9", "RestoreResults", "r2").await;
    let url = url::Url::parse(&request.status.download_url).unwrap();
    let results = url.to_file_path().unwrap();
    assert!(results.exists());
    std::fs::remove_file(&restores).unwrap();
    let api = world.kind::<Restore>();
    api.delete("r2", &Default::default()).await.unwrap();
    world.wait_gone::<Restore>("r2").await;
    assert!(!results.exists());
}
