//! Provider `azure`: credentials, signed URLs, blocks, and what is refused.

use std::time::Duration;

use hyper::StatusCode;
use velero_persistence::{Environment, ErrorKind, Location, LocationConfig};

use crate::azure_server::{ACCOUNT, AzureServer, CONTAINER, KEY};
use crate::server::fetch;

/// A store with changed settings and environment.
async fn open(
    server: &AzureServer,
    settings: &[(&str, &str)],
    file: Option<&str>,
    env: &[(&str, &str)],
) -> velero_persistence::Result<velero_persistence::ObjectStore> {
    let mut config = server.config("");
    config.config.remove("storageAccountKeyEnvVar");
    config.config.extend(crate::settings(settings));
    config.credentials = file.map(|text| text.as_bytes().to_vec());
    let env: Environment = env.iter().copied().collect();
    Location::from_config_in(&config, &env)?.open().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_told_without_showing_it() {
    let server = AzureServer::start().await;
    let wrong = "ACCOUNT_KEY=SFVOVEVSMg==";
    let setting = [("storageAccountKeyEnvVar", "ACCOUNT_KEY")];
    let store = open(&server, &setting, Some(wrong), &[]).await.unwrap();
    let err = store.check().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::PermissionDenied, "{err}");
    let text = format!("{err} {err:?} {store:?}");
    assert!(text.contains("does not fit the storage account"), "{text}");
    assert!(!text.contains("SFVOVEVSMg"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_container_is_told() {
    let server = AzureServer::start().await;
    let mut config = server.config("");
    config.bucket = "other".to_owned();
    let location = Location::from_config_in(&config, &Environment::empty()).unwrap();
    let err = location.open().await.unwrap().check().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::BucketNotFound, "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn entra_gives_a_token_for_a_secret_a_pod_or_a_machine() {
    let server = AzureServer::start().await;
    let dir = tempfile::TempDir::new().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "token-of-the-pod").unwrap();
    let url = server.url();
    let identity = format!("{url}/identity");
    let client = "AZURE_TENANT_ID=tenant-1\nAZURE_CLIENT_ID=client-1\n";
    let secret = format!("{client}AZURE_CLIENT_SECRET=secret-1\n");
    let pod = [
        ("AZURE_TENANT_ID", "tenant-1"),
        ("AZURE_CLIENT_ID", "client-1"),
        ("AZURE_FEDERATED_TOKEN_FILE", token.to_str().unwrap()),
        ("AZURE_AUTHORITY_HOST", url.as_str()),
    ];
    let machine = [("AZURE_IMDS_ENDPOINT", identity.as_str())];
    let entra = [
        ("useAAD", "true"),
        ("activeDirectoryAuthorityURI", url.as_str()),
    ];
    let plain = [("useAAD", "true")];
    for (settings, file, env, asked) in [
        (
            &entra[..],
            Some(secret.as_str()),
            &[][..],
            "/tenant-1/oauth2",
        ),
        (&plain[..], None, &pod[..], "/tenant-1/oauth2"),
        (&entra[..], Some(client), &pod[2..3], "/tenant-1/oauth2"),
        (&plain[..], None, &machine[..], "/identity"),
    ] {
        let before = server.requests(asked).len();
        let store = open(&server, settings, file, env).await.unwrap();
        store.put("k", "v".into()).await.unwrap();
        assert_eq!(store.get("k", 10).await.unwrap(), "v");
        assert_eq!(
            server.requests(asked).len(),
            before + 1,
            "one token serves all"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_not_made_up_for_by_another_identity() {
    let server = AzureServer::start().await;
    let url = server.url();
    let identity = format!("{url}/identity");
    let file = "AZURE_TENANT_ID=tenant-1\nAZURE_CLIENT_ID=client-1\nAZURE_CLIENT_SECRET=HUNTER2\n";
    let settings = [
        ("useAAD", "true"),
        ("activeDirectoryAuthorityURI", url.as_str()),
    ];
    let env = [
        ("AZURE_IMDS_ENDPOINT", identity.as_str()),
        ("AZURE_CLIENT_SECRET", "secret-1"),
    ];
    let store = open(&server, &settings, Some(file), &env).await.unwrap();
    let err = store.check().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::PermissionDenied, "{err}");
    assert!(!format!("{err} {err:?}").contains("HUNTER2"), "{err:?}");
    assert!(err.to_string().contains("client secret"), "{err}");
    assert!(server.requests("/identity").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_url_reads_one_blob_and_nothing_else() {
    let server = AzureServer::start().await;
    let store = server.location("pre fix").open().await.unwrap();
    for key in ["a/ö &b", "other"] {
        store.put(key, "text".into()).await.unwrap();
    }
    let url = store
        .presign_get("a/ö &b", Duration::from_secs(600))
        .await
        .unwrap();
    assert!(url.contains("&sp=r&"), "{url}");
    let read = fetch(&url).await;
    assert_eq!(read, (StatusCode::OK, b"text".to_vec()), "{url}");
    let (path, query) = url.split_once('?').unwrap();
    let moved = format!("{}/other?{query}", path.rsplit_once("/a/").unwrap().0);
    assert_eq!(fetch(&moved).await.0, StatusCode::FORBIDDEN);
    let longer = url.replace("&se=20", "&se=21");
    assert_ne!(longer, url);
    assert_eq!(fetch(&longer).await.0, StatusCode::FORBIDDEN);
    assert!(!url.contains(KEY));
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_have_the_size_that_the_location_says() {
    for (size, blocks) in [("1048576", 6), ("4194304", 2), ("many", 1)] {
        let server = AzureServer::start().await;
        let mut config = server.config("");
        let setting = ("blockSizeInBytes".to_owned(), size.to_owned());
        config.config.extend([setting]);
        let location = Location::from_config_in(&config, &Environment::empty()).unwrap();
        let warned = location
            .warnings()
            .iter()
            .any(|w| w.contains("blockSizeInBytes"));
        assert_eq!(warned, size == "many");
        let store = location.open().await.unwrap();
        let mut writer = store.writer("large").await.unwrap();
        writer.write(vec![1u8; 6 << 20]).await.unwrap();
        writer.close().await.unwrap();
        assert_eq!(store.size("large").await.unwrap(), Some(6 << 20));
        // What fits into one block goes without a list of blocks.
        let sent = server.requests("comp=block&").len();
        assert_eq!(sent.max(1), blocks, "{size}");
    }
}

#[test]
fn bad_settings_name_field_value_and_remedy() {
    type Case = (
        Vec<(&'static str, &'static str)>,
        &'static str,
        &'static str,
    );
    let cases: Vec<Case> = vec![
        (
            vec![("storageAccount", "")],
            "",
            "config.storageAccount \"\" is not valid: the name of a storage account",
        ),
        (
            vec![("storageAccount", "a/b")],
            "",
            "config.storageAccount \"a/b\"",
        ),
        (
            vec![("region", "x")],
            "",
            "config.region \"x\" is not valid: not a setting of provider azure, which knows storageAccount, ",
        ),
        (
            vec![("useAAD", "yes")],
            "",
            "config.useAAD \"yes\" is not valid: true or false",
        ),
        (
            vec![("resourceGroup", "g"), ("subscriptionId", "s")],
            "",
            "not looked up through Azure Resource Manager",
        ),
        (
            vec![("storageAccountKeyEnvVar", "KEY")],
            "OTHER=x",
            "config.storageAccountKeyEnvVar \"KEY\" is not valid: an entry of the credentials file",
        ),
        (
            vec![("storageAccountKeyEnvVar", "KEY")],
            "KEY=HUNTER2!",
            "credential KEY \"<hidden>\" is not valid: the key of a storage account, in base64",
        ),
        (
            vec![("storageAccountURI", "blob:1")],
            "",
            "config.storageAccountURI \"blob:1\" is not valid: an URL such as https://testaccount.blob.core.windows.net",
        ),
        (
            vec![("useAAD", "true"), ("activeDirectoryAuthorityURI", "x")],
            "",
            "config.activeDirectoryAuthorityURI \"x\"",
        ),
        (
            vec![("useAAD", "true")],
            "AZURE_CLOUD_NAME=Mars",
            "credential AZURE_CLOUD_NAME \"Mars\" is not valid: AzurePublicCloud, ",
        ),
        (
            vec![("useAAD", "true")],
            "AZURE_CLIENT_SECRET=HUNTER2",
            "credential AZURE_TENANT_ID \"\" is not valid: an entry beside AZURE_CLIENT_SECRET",
        ),
        (
            vec![("useAAD", "true")],
            "AZURE_CLIENT_CERTIFICATE=HUNTER2",
            "credential AZURE_CLIENT_CERTIFICATE \"<hidden>\"",
        ),
        (
            vec![("useAAD", "true")],
            "AZURE_USERNAME=u",
            "credential AZURE_USERNAME \"<hidden>\"",
        ),
    ];
    for (settings, file, want) in cases {
        let mut config = LocationConfig {
            provider: "velero.io/azure".to_owned(),
            bucket: "b".to_owned(),
            config: crate::settings(&[("storageAccount", ACCOUNT)]),
            credentials: Some(file.as_bytes().to_vec()),
            ..LocationConfig::default()
        };
        config.config.extend(crate::settings(&settings));
        let err = Location::from_config_in(&config, &Environment::empty()).unwrap_err();
        let text = err.to_string();
        assert!(text.contains(want), "{text}");
        assert!(!text.contains("HUNTER2"), "{text}");
    }
}

#[test]
fn what_has_no_effect_gives_a_warning() {
    let config = LocationConfig {
        provider: "azure".to_owned(),
        bucket: "b".to_owned(),
        config: crate::settings(&[
            ("storageAccount", ACCOUNT),
            ("resourceGroup", "g"),
            ("subscriptionId", "s"),
            ("useAAD", "true"),
        ]),
        credentials: Some(format!("AZURE_STORAGE_KEY={KEY}").into_bytes()),
        ..LocationConfig::default()
    };
    let location = Location::from_config_in(&config, &Environment::empty()).unwrap();
    assert_eq!(
        location.warnings(),
        [
            "config.resourceGroup \"g\" has no effect",
            "config.subscriptionId \"s\" has no effect",
            "config.useAAD has no effect: credential AZURE_STORAGE_KEY is used",
        ]
    );
    assert!(!format!("{location:?}").contains(KEY));
}

#[tokio::test]
async fn each_cloud_has_its_own_servers() {
    for (cloud, want) in [
        ("", "https://testaccount.blob.core.windows.net/b/k?"),
        (
            "AzureChinaCloud",
            "https://testaccount.blob.core.chinacloudapi.cn/b/k?",
        ),
        (
            "AZUREUSGOVERNMENT",
            "https://testaccount.blob.core.usgovcloudapi.net/b/k?",
        ),
    ] {
        let config = LocationConfig {
            provider: "azure".to_owned(),
            bucket: "b".to_owned(),
            config: crate::settings(&[("storageAccount", ACCOUNT)]),
            credentials: Some(
                format!("AZURE_STORAGE_KEY={KEY}\nAZURE_CLOUD_NAME={cloud}").into_bytes(),
            ),
            ..LocationConfig::default()
        };
        let location = Location::from_config_in(&config, &Environment::empty()).unwrap();
        let store = location.open().await.unwrap();
        let server = want.strip_suffix("/b/k?").unwrap();
        assert_eq!(store.describe(), format!("az://b at {server}"));
        let url = store
            .presign_get("k", Duration::from_secs(60))
            .await
            .unwrap();
        assert!(url.starts_with(want), "{url}");
        assert!(url.contains("spr=https&"), "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_az_url_reaches_the_store() {
    let server = AzureServer::start().await;
    let url = format!(
        "az://{CONTAINER}/pre%20fix/x?storageAccount={ACCOUNT}&endpoint={}",
        server.url()
    );
    let env: Environment = [("AZURE_STORAGE_KEY", KEY)].into_iter().collect();
    let location = Location::from_url_in(&url, &env).unwrap();
    let store = location.open().await.unwrap();
    let described = format!("az://{CONTAINER}/pre fix/x at {}", server.url());
    assert_eq!(store.describe(), described);
    store.put("k", "v".into()).await.unwrap();
    let root = server.location("").open().await.unwrap();
    assert_eq!(root.get("pre fix/x/k", 10).await.unwrap(), "v");
    for (url, want) in [
        ("az://", "a container: az://container/prefix"),
        ("az://b", "store URL key storageAccount \"\" is not valid"),
        (
            "az://b?storageAccount=abc&endpoint=x",
            "store URL key endpoint \"x\"",
        ),
        (
            "az://b?storageAccount=abc&x=y",
            "store URL key x \"y\" is not valid: not one of storageAccount, ",
        ),
        (
            "az://b?storageAccount=abc",
            "store URL key useAAD \"\" is not valid: true, or storageAccountKeyEnvVar",
        ),
    ] {
        let err = Location::from_url_in(url, &Environment::empty()).unwrap_err();
        assert!(err.to_string().contains(want), "{url}: {err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_store_is_asked_again() {
    let server = AzureServer::start().await;
    let location = server.location("").with_options(crate::impatient());
    let store = location.open().await.unwrap();
    store.check().await.unwrap();
    for fault in [(503, "ServerBusy"), (500, "OperationTimedOut")] {
        server.fail(&[fault]);
        store.put("k", "v".into()).await.unwrap();
        // Once more than it is tried again.
        server.fail(&[fault, fault]);
        let err = store.put("k", "v".into()).await.unwrap_err();
        assert!(err.is_retryable(), "{err}");
        assert!(!err.to_string().contains('\n'), "{err}");
    }
    server.fail(&[(403, "AuthorizationFailure"), (403, "AuthorizationFailure")]);
    let err = store.put("k", "v".into()).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::PermissionDenied, "{err}");
    assert!(!err.is_retryable(), "{err}");
    // It was asked only once: the other fault is still there.
    assert!(store.put("k", "v".into()).await.is_err());
    store.put("k", "v".into()).await.unwrap();
}
