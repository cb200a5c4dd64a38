//! Provider `gcp`: credentials, signed URLs, keys, and what is refused.

use std::time::Duration;

use hyper::StatusCode;
use velero_persistence::{Environment, ErrorKind, Location, LocationConfig, ObjectStore};

use crate::gcp_server::{BUCKET, EMAIL, GcpServer, KEY};
use crate::server::fetch;

async fn open(server: &GcpServer, change: impl FnOnce(&mut LocationConfig)) -> ObjectStore {
    let mut config = server.config("");
    change(&mut config);
    let location = Location::from_config_in(&config, &Environment::empty()).unwrap();
    location.open().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_serves_all_requests() {
    let server = GcpServer::start().await;
    let store = open(&server, |_| ()).await;
    store.put("k", "v".into()).await.unwrap();
    assert_eq!(store.get("k", 10).await.unwrap(), "v");
    store.check().await.unwrap();
    assert_eq!(server.requests("POST /token").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_from_the_first_place_that_has_them() {
    let server = GcpServer::start().await;
    let dir = tempfile::TempDir::new().unwrap();
    let (good, bad) = (dir.path().join("good"), dir.path().join("bad"));
    std::fs::write(&good, server.key_file()).unwrap();
    std::fs::write(&bad, server.key_file().replace(EMAIL, "somebody@else")).unwrap();
    let (good, bad) = (good.to_str().unwrap(), bad.to_str().unwrap());
    let host = server.host();
    for (secret, settings, env) in [
        (
            true,
            vec![("credentialsFile", bad)],
            vec![("GOOGLE_APPLICATION_CREDENTIALS", bad)],
        ),
        (
            false,
            vec![("credentialsFile", good)],
            vec![("GOOGLE_APPLICATION_CREDENTIALS", bad)],
        ),
        (
            false,
            vec![],
            vec![("GOOGLE_APPLICATION_CREDENTIALS", good)],
        ),
        (
            false,
            vec![("serviceAccount", EMAIL)],
            vec![("GCE_METADATA_HOST", host.as_str())],
        ),
    ] {
        let mut config = server.config("");
        config.config.extend(crate::settings(&settings));
        config.credentials = config.credentials.filter(|_| secret);
        let env: Environment = env.into_iter().collect();
        let location = Location::from_config_in(&config, &env).unwrap();
        location.open().await.unwrap().check().await.unwrap();
    }
    assert_eq!(server.requests("/computeMetadata/").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_gives_no_token_is_told_without_showing_it() {
    let server = GcpServer::start().await;
    let store = open(&server, |config| {
        let file = server.key_file().replace(EMAIL, "somebody@else");
        config.credentials = Some(file.into_bytes());
    })
    .await;
    let err = store.check().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::PermissionDenied, "{err}");
    let text = format!("{err} {err:?} {store:?}");
    assert!(
        text.contains("the key of somebody@else gives no token"),
        "{text}"
    );
    for line in KEY.lines() {
        assert!(!text.contains(line), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_bucket_is_told() {
    let server = GcpServer::start().await;
    let store = open(&server, |config| config.bucket = "other".to_owned()).await;
    let err = store.check().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::BucketNotFound, "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_url_reads_one_object_and_nothing_else() {
    let server = GcpServer::start().await;
    let store = open(&server, |_| ()).await;
    for key in ["a/ö &b", "a/other"] {
        store.put(key, "text".into()).await.unwrap();
    }
    let url = store
        .presign_get("a/ö &b", Duration::from_secs(600))
        .await
        .unwrap();
    assert!(url.contains("X-Goog-Expires=600"), "{url}");
    assert_eq!(
        fetch(&url).await,
        (StatusCode::OK, b"text".to_vec()),
        "{url}"
    );
    let (path, query) = url.split_once('?').unwrap();
    let moved = format!("{}/other?{query}", path.rsplit_once('/').unwrap().0);
    assert_eq!(fetch(&moved).await.0, StatusCode::FORBIDDEN);
    let longer = url.replace("Expires=600", "Expires=601");
    assert_eq!(fetch(&longer).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn credentials_without_a_key_sign_only_in_the_name_of_an_account() {
    let file = r#"{"type":"authorized_user","client_id":"i","client_secret":"HUNTER2","refresh_token":"HUNTER2"}"#;
    let config = LocationConfig {
        provider: "gcp".to_owned(),
        bucket: "b".to_owned(),
        credentials: Some(file.as_bytes().to_vec()),
        ..LocationConfig::default()
    };
    let location = Location::from_config_in(&config, &Environment::empty()).unwrap();
    assert!(!format!("{location:?}").contains("HUNTER2"));
    let store = location.open().await.unwrap();
    assert_eq!(store.describe(), "gs://b at https://storage.googleapis.com");
    let err = store
        .presign_get("k", Duration::from_secs(60))
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unsupported);
    assert!(err.to_string().contains("config.serviceAccount"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_objects_are_encrypted_with_the_key_that_is_named() {
    let name = "projects/p/locations/l/keyRings/r/cryptoKeys/k";
    for key in [None, Some(name)] {
        let server = GcpServer::start().await;
        let store = open(&server, |config| {
            config
                .config
                .extend(key.map(|key| ("kmsKeyName".to_owned(), key.to_owned())));
        })
        .await;
        store.put("small", "x".into()).await.unwrap();
        store.put_if_absent("once", "x".into()).await.unwrap();
        let mut writer = store.writer("large").await.unwrap();
        writer.write(vec![1u8; 18 << 20]).await.unwrap();
        writer.close().await.unwrap();
        let uploads = server.requests("POST /upload/");
        assert_eq!(uploads.len(), 2);
        for (line, _) in uploads {
            let query = line.split_once('?').unwrap().1;
            let mut pairs = url::form_urlencoded::parse(query.as_bytes());
            let named = pairs.find(|(name, _)| name == "kmsKeyName");
            assert_eq!(named.as_ref().map(|(_, value)| &**value), key, "{line}");
        }
        let (_, headers) = &server.requests("?uploads")[0];
        let named = headers.get("x-goog-encryption-kms-key-name");
        assert_eq!(named.map(|value| value.to_str().unwrap()), key);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_is_decided_by_the_generation() {
    let server = GcpServer::start().await;
    let store = open(&server, |_| ()).await;
    store.put("k", "one".into()).await.unwrap();
    assert!(store.swap("k", &"one".into(), "two".into()).await.unwrap());
    assert!(
        !store
            .swap("k", &"one".into(), "three".into())
            .await
            .unwrap()
    );
    assert_eq!(store.get("k", 10).await.unwrap(), "two");
    assert_eq!(server.requests("ifGenerationMatch=1").len(), 1);
}

#[test]
fn bad_settings_name_field_value_and_remedy() {
    let no_key =
        format!(r#"{{"type":"service_account","client_email":"{EMAIL}","private_key":"HUNTER2"}}"#);
    for (settings, file, want) in [
        (
            vec![("region", "x")],
            "",
            "config.region \"x\" is not valid: not a setting of provider gcp, which knows kmsKeyName, ",
        ),
        (
            vec![("universeDomain", "example.org")],
            "",
            "config.universeDomain \"example.org\" is not valid: googleapis.com: other universes are not supported",
        ),
        (
            vec![("storeEndpoint", "x")],
            "",
            "config.storeEndpoint \"x\" is not valid: an URL such as https://storage.googleapis.com",
        ),
        (
            vec![],
            "HUNTER2",
            "credential \"<credentials>\" is not valid: JSON credentials of Google Cloud, with a \"type\"",
        ),
        (vec![], r#"{"type":7,"x":"HUNTER2"}"#, "with a \"type\""),
        (
            vec![],
            r#"{"type":"magic"}"#,
            "credential type \"magic\" is not valid: service_account, authorized_user, ",
        ),
        (
            vec![],
            r#"{"type":"service_account"}"#,
            "a \"client_email\" in it",
        ),
        (vec![], &no_key, "a \"private_key\" in it"),
    ] {
        let config = LocationConfig {
            provider: "velero.io/gcp".to_owned(),
            bucket: "b".to_owned(),
            config: crate::settings(&settings),
            credentials: Some(file.as_bytes().to_vec()),
            ..LocationConfig::default()
        };
        let err = Location::from_config_in(&config, &Environment::empty()).unwrap_err();
        let text = err.to_string();
        assert!(text.contains(want), "{text}");
        assert!(!text.contains("HUNTER2"), "{text}");
    }
    let config = LocationConfig {
        provider: "gcp".to_owned(),
        bucket: "b".to_owned(),
        ..LocationConfig::default()
    };
    let err = Location::from_config_in(&config, &Environment::empty()).unwrap_err();
    assert!(
        err.to_string()
            .starts_with("config.serviceAccount \"\" is not valid"),
        "{err}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gs_url_reaches_the_store() {
    let server = GcpServer::start().await;
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, server.key_file()).unwrap();
    let url = format!("gs://{BUCKET}/pre%20fix/x?endpoint={}", server.url());
    let env = [("GOOGLE_APPLICATION_CREDENTIALS", file.to_str().unwrap())];
    let env: Environment = env.into_iter().collect();
    let store = Location::from_url_in(&url, &env)
        .unwrap()
        .open()
        .await
        .unwrap();
    let described = format!("gs://{BUCKET}/pre fix/x at {}", server.url());
    assert_eq!(store.describe(), described);
    store.put("k", "v".into()).await.unwrap();
    let root = server.location("").open().await.unwrap();
    assert_eq!(root.get("pre fix/x/k", 10).await.unwrap(), "v");
    let err = Location::from_url_in("gs://b", &Environment::empty()).unwrap_err();
    let want = "store URL key serviceAccount \"\" is not valid";
    assert!(err.to_string().starts_with(want), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_store_is_asked_again() {
    let server = GcpServer::start().await;
    let location = server.location("").with_options(crate::impatient());
    let store = location.open().await.unwrap();
    store.check().await.unwrap();
    for fault in [(503, "backendError"), (429, "rateLimitExceeded")] {
        server.fail(&[fault]);
        store.put("k", "v".into()).await.unwrap();
        // Once more than it is tried again.
        server.fail(&[fault, fault]);
        let err = store.put("k", "v".into()).await.unwrap_err();
        assert!(err.is_retryable(), "{err}");
        assert!(!err.to_string().contains('\n'), "{err}");
    }
    server.fail(&[(403, "forbidden"), (403, "forbidden")]);
    let err = store.put("k", "v".into()).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::PermissionDenied, "{err}");
    assert!(!err.is_retryable(), "{err}");
    // It was asked only once: the other fault is still there.
    assert!(store.put("k", "v".into()).await.is_err());
    store.put("k", "v".into()).await.unwrap();
}
