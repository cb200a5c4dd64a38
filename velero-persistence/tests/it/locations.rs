//! Settings and store URLs: what is accepted, what is refused, and how that reads.

use tempfile::TempDir;
use velero_persistence::{Environment, ErrorKind, Location, LocationConfig};

use crate::server::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY, credentials_file};
use crate::settings;

fn aws(config: &[(&str, &str)]) -> LocationConfig {
    LocationConfig {
        provider: "aws".to_owned(),
        bucket: "b".to_owned(),
        config: settings(config),
        ..LocationConfig::default()
    }
}

fn refused(config: &LocationConfig) -> String {
    let err = Location::from_config_in(config, &Environment::empty()).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConfigInvalid, "{err}");
    let text = err.to_string();
    assert!(!text.contains('\n'), "{text}");
    text
}

#[test]
fn bad_settings_name_field_value_and_remedy() {
    for (config, want) in [
        (
            vec![("tagging", "a=b&a=c")],
            "config.tagging \"a=b&a=c\" is not valid: each key only once",
        ),
        (
            vec![("tagging", "a=ä")],
            "config.tagging \"a=ä\" is not valid: URL-encoded tags",
        ),
        (
            vec![("tagging", "a=b&=c")],
            "config.tagging \"a=b&=c\" is not valid: keys of 1 to 128 characters",
        ),
        (
            vec![("tagging", "1=&2=&3=&4=&5=&6=&7=&8=&9=&10=&11=")],
            "is not valid: at most 10 tags",
        ),
        (
            vec![("regoin", "x")],
            "config.regoin \"x\" is not valid: not a setting of provider aws, which knows region, s3Url",
        ),
        (
            vec![("resticRepoPrefix", "s3:x")],
            "config.resticRepoPrefix",
        ),
        (vec![("s3Url", "minio:9000")], "config.s3Url \"minio:9000\""),
        (
            vec![("s3Url", "ftp://minio")],
            "config.s3Url \"ftp://minio\"",
        ),
        (vec![("s3Url", "http://h/?q=1")], "config.s3Url"),
        (
            vec![("s3Url", "http://user:hunter2@h")],
            "config.s3Url \"<hidden>\"",
        ),
        (vec![("publicUrl", "nope")], "config.publicUrl \"nope\""),
        (
            vec![("s3ForcePathStyle", "yes")],
            "config.s3ForcePathStyle \"yes\" is not valid: true or false",
        ),
        (
            vec![("insecureSkipTLSVerify", "on")],
            "config.insecureSkipTLSVerify \"on\"",
        ),
        (
            vec![("checksumAlgorithm", "crc32")],
            "config.checksumAlgorithm \"crc32\" is not valid: CRC32, CRC32C, SHA1, SHA256",
        ),
        (
            vec![("kmsKeyId", "k"), ("customerKeyEncryptionFile", "/f")],
            "config.customerKeyEncryptionFile \"/f\" is not valid: not together with kmsKeyId",
        ),
        (
            vec![("customerKeyEncryptionFile", "/no/such/file")],
            "config.customerKeyEncryptionFile \"/no/such/file\" is not valid: a readable file",
        ),
        (
            vec![("customerKeyEncryptionSecret", "s/k")],
            "config.customerKeyEncryptionSecret \"s/k\"",
        ),
        (
            vec![("credentialsFile", "/no/such/file")],
            "config.credentialsFile \"/no/such/file\" is not valid: a readable file",
        ),
    ] {
        let text = refused(&aws(&config));
        assert!(text.contains(want), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn bad_locations_name_the_field() {
    let mut config = aws(&[]);
    config.bucket = "a/b".to_owned();
    assert!(refused(&config).starts_with("objectStorage.bucket \"a/b\""));
    config.bucket = "//".to_owned();
    assert!(refused(&config).starts_with("objectStorage.bucket \"//\""));
    config = aws(&[]);
    config.prefix = "a/../b".to_owned();
    assert!(refused(&config).starts_with("objectStorage.prefix \"a/../b\""));
    config = aws(&[]);
    config.provider = "alibaba".to_owned();
    assert!(
        refused(&config)
            .starts_with("provider \"alibaba\" is not valid: aws, azure, gcp or filesystem")
    );
    assert!(!Location::is_builtin_provider("alibaba"));
    config = aws(&[]);
    config.ca_cert = Some(b"no PEM".to_vec());
    assert!(refused(&config).starts_with("caCert \"<PEM>\""));
    config = aws(&[]);
    config.credentials = Some(b"[default]\naws_access_key_id=x".to_vec());
    assert!(refused(&config).contains("aws_secret_access_key must be in it"));
    config = aws(&[("customerKeyEncryptionSecret", "s/k")]);
    config.customer_key = Some(vec![1; 31]);
    assert!(refused(&config).contains("exactly 32 bytes"));
    config = aws(&[("fspath", "relative")]);
    config.provider = "filesystem".to_owned();
    assert!(refused(&config).starts_with("config.fspath \"relative\""));
    config.config = settings(&[("fspath", "/x"), ("region", "y")]);
    assert!(refused(&config).starts_with("config.region \"y\""));
    config.config = settings(&[("fspath", "/x")]);
    config.bucket = "..".to_owned();
    assert!(refused(&config).starts_with("objectStorage.bucket \"..\""));
}

#[test]
fn providers_have_short_and_long_names() {
    for name in [
        "aws",
        "velero.io/aws",
        "azure",
        "velero.io/azure",
        "gcp",
        "velero.io/gcp",
        "filesystem",
        "fs",
        "velero.io/filesystem",
        "velero.io/fs",
    ] {
        assert!(Location::is_builtin_provider(name), "{name}");
    }
}

#[test]
fn settings_without_effect_give_a_warning() {
    let config = aws(&[
        ("region", "r"),
        ("signatureVersion", "4"),
        ("enableSharedConfig", "true"),
    ]);
    let location = Location::from_config_in(&config, &Environment::empty()).unwrap();
    assert_eq!(
        location.warnings(),
        [
            "config.signatureVersion \"4\" has no effect",
            "config.enableSharedConfig \"true\" has no effect",
        ]
    );
    for quiet in ["", "CRC32", "CRC32C", "SHA1", "SHA256"] {
        let config = aws(&[("region", "r"), ("checksumAlgorithm", quiet)]);
        let location = Location::from_config_in(&config, &Environment::empty()).unwrap();
        assert!(location.warnings().is_empty(), "{quiet}");
    }
}

#[test]
fn debug_output_holds_no_secret() {
    let dir = TempDir::new().unwrap();
    let key = dir.path().join("key");
    std::fs::write(&key, b"KEYKEYKEYKEYKEYKEYKEYKEYKEYKEYKEYKEY").unwrap();
    let mut config = aws(&[
        ("region", "r"),
        ("customerKeyEncryptionFile", key.to_str().unwrap()),
    ]);
    config.credentials = Some(credentials_file("ID", "HUNTER2"));
    let env: Environment = [("AWS_SECRET_ACCESS_KEY", "HUNTER2")].into_iter().collect();
    let location = Location::from_config_in(&config, &env).unwrap();
    let text = format!("{config:?} {location:?} {env:?}");
    for secret in ["HUNTER2", "KEYKEY", "72, 85, 78", "75, 69, 89"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[tokio::test]
async fn names_of_stores_say_where_they_are() {
    for (config, want) in [
        (vec![("region", "eu-west-1")], "s3://b"),
        (
            vec![("s3Url", "https://minio.example.com:9000/")],
            "s3://b at https://minio.example.com:9000",
        ),
    ] {
        let mut config = aws(&config);
        config.credentials = Some(credentials_file("i", "s"));
        let location = Location::from_config_in(&config, &Environment::empty()).unwrap();
        assert_eq!(location.open().await.unwrap().describe(), want);
    }
}

#[tokio::test]
async fn the_bucket_goes_where_the_server_expects_it() {
    for (url, path_style, bucket, want) in [
        (
            "https://minio.example.com",
            "",
            "bucket",
            "https://bucket.minio.example.com/k?",
        ),
        (
            "https://minio.example.com",
            "true",
            "bucket",
            "https://minio.example.com/bucket/k?",
        ),
        (
            "https://minio.example.com",
            "false",
            "dotted.name",
            "https://minio.example.com/dotted.name/k?",
        ),
        (
            "https://minio.example.com:9000",
            "1",
            "bucket",
            "https://minio.example.com:9000/bucket/k?",
        ),
        (
            "http://127.0.0.1:9000",
            "",
            "bucket",
            "http://127.0.0.1:9000/bucket/k?",
        ),
        (
            "http://localhost:9000/",
            "",
            "bucket",
            "http://localhost:9000/bucket/k?",
        ),
        (
            "",
            "",
            "bucket",
            "https://bucket.s3.eu-west-1.amazonaws.com/k?",
        ),
        (
            "",
            "true",
            "bucket",
            "https://s3.eu-west-1.amazonaws.com/bucket/k?",
        ),
    ] {
        let mut config = aws(&[
            ("region", "eu-west-1"),
            ("s3Url", url),
            ("s3ForcePathStyle", path_style),
        ]);
        config.bucket = bucket.to_owned();
        config.credentials = Some(credentials_file("i", "s"));
        let location = Location::from_config_in(&config, &Environment::empty()).unwrap();
        let store = location.open().await.unwrap();
        let signed = store
            .presign_get("k", std::time::Duration::from_secs(60))
            .await
            .unwrap();
        assert!(signed.starts_with(want), "{signed}");
        assert!(signed.contains("eu-west-1"), "{signed}");
    }
}

#[tokio::test]
async fn customer_keys_have_no_signed_urls() {
    let mut config = aws(&[("region", "r"), ("customerKeyEncryptionSecret", "s/k")]);
    config.customer_key = Some(vec![7; 32]);
    config.credentials = Some(credentials_file("i", "s"));
    let location = Location::from_config_in(&config, &Environment::empty()).unwrap();
    let store = location.open().await.unwrap();
    let err = store
        .presign_get("k", std::time::Duration::from_secs(60))
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unsupported);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_from_the_first_place_that_has_them() {
    let server = S3Server::start().await;
    let dir = TempDir::new().unwrap();
    let good = dir.path().join("good");
    let bad = dir.path().join("bad");
    std::fs::write(
        &good,
        [
            credentials_file("no", "no"),
            b"[ci]\n".to_vec(),
            credentials_file(ACCESS_KEY, SECRET_KEY)[10..].to_vec(),
        ]
        .concat(),
    )
    .unwrap();
    std::fs::write(&bad, credentials_file("no", "no")).unwrap();
    let (good, bad) = (good.to_str().unwrap(), bad.to_str().unwrap());
    let keys = [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
    ];
    let wrong = [("AWS_ACCESS_KEY_ID", "no"), ("AWS_SECRET_ACCESS_KEY", "no")];
    let right = credentials_file(ACCESS_KEY, SECRET_KEY);
    let secret = |bytes: &[u8]| Some(bytes.to_vec());
    type Case<'a> = (
        Option<Vec<u8>>,
        Vec<(&'a str, &'a str)>,
        Vec<(&'a str, &'a str)>,
    );
    let cases: Vec<Case<'_>> = vec![
        (
            secret(&right),
            vec![("credentialsFile", bad)],
            wrong.to_vec(),
        ),
        (
            None,
            vec![("credentialsFile", good), ("profile", "ci")],
            wrong.to_vec(),
        ),
        (
            None,
            vec![],
            [keys.to_vec(), vec![("AWS_SHARED_CREDENTIALS_FILE", bad)]].concat(),
        ),
        (
            None,
            vec![("profile", "ci")],
            [wrong.to_vec(), vec![("AWS_SHARED_CREDENTIALS_FILE", good)]].concat(),
        ),
        (
            None,
            vec![],
            vec![("AWS_SHARED_CREDENTIALS_FILE", good), ("AWS_PROFILE", "ci")],
        ),
    ];
    for (number, (secret, settings, env)) in cases.into_iter().enumerate() {
        let mut config = server.config("");
        config.credentials = secret;
        for (key, value) in settings {
            config.config.insert(key.to_owned(), value.to_owned());
        }
        let env: Environment = env.into_iter().collect();
        let location = Location::from_config_in(&config, &env).unwrap();
        let store = location.open().await.unwrap();
        store
            .check()
            .await
            .unwrap_or_else(|err| panic!("case {number}: {err}"));
    }
}

#[test]
fn store_urls_that_cannot_work_say_why() {
    for (url, want) in [
        ("", "store URL \"\" is not valid: file:///path, s3://bucket"),
        ("/var/backups", "file:///path"),
        (
            "oss://bucket",
            "store URL \"oss://bucket\" is not valid: file:///path",
        ),
        ("file://host/path", "three slashes"),
        ("file:///", "other than the root"),
        ("file:///x?y=1", "no '?' part"),
        ("memory://", "a name: memory://name"),
        ("s3:///x", "a bucket"),
        ("s3://b:9000/x", "?endpoint=http://host:port"),
        ("s3://b/x#y", "no '#' part"),
        ("s3://b?region=a&region=b", "setting region only once"),
        (
            "s3://b?s3Url=http://a&endpoint=http://b",
            "setting s3Url only once",
        ),
        (
            "s3://b?endpoit=http://h",
            "store URL key endpoit \"http://h\" is not valid: not one of region, endpoint, publicUrl, forcePathStyle, ",
        ),
        (
            "s3://b?endpoint=ftp://x",
            "store URL key endpoint \"ftp://x\" is not valid: an URL such as",
        ),
        (
            "s3://b?s3ForcePathStyle=yes",
            "store URL key s3ForcePathStyle \"yes\" is not valid: true or false",
        ),
        (
            "s3://b?caCertFile=/no/such",
            "store URL key caCertFile \"/no/such\" is not valid: a readable file",
        ),
        ("s3://id:hunter2@b/x", "no credentials in the URL"),
        ("s3://b/a/../../x?tagging=ä", "store URL key tagging \"ä\""),
    ] {
        let err = Location::from_url_in(url, &Environment::empty()).unwrap_err();
        let text = err.to_string();
        assert!(text.contains(want), "{url}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(!text.contains("config."), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_s3_url_reaches_the_store() {
    let server = S3Server::start().await;
    let url = format!(
        "s3://{BUCKET}/pre%20fix/x?endpoint={}&region=eu-north-1&forcePathStyle=true",
        server.url()
    );
    let env: Environment = [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
    ]
    .into_iter()
    .collect();
    let store = Location::from_url_in(&url, &env)
        .unwrap()
        .open()
        .await
        .unwrap();
    let described = format!("s3://{BUCKET}/pre fix/x at {}", server.url());
    assert_eq!(store.describe(), described.trim_end_matches('/'));
    store.put("k", "v".into()).await.unwrap();
    let root = server.location("").open().await.unwrap();
    assert_eq!(root.get("pre fix/x/k", 10).await.unwrap(), "v");
}

#[tokio::test]
async fn memory_urls_share_a_store_by_name() {
    let one = Location::from_url("memory://shared-name")
        .unwrap()
        .open()
        .await
        .unwrap();
    let same = Location::from_url("memory://shared-name/sub")
        .unwrap()
        .open()
        .await
        .unwrap();
    let other = Location::from_url("memory://other-name")
        .unwrap()
        .open()
        .await
        .unwrap();
    same.put("k", "v".into()).await.unwrap();
    assert_eq!(one.get("sub/k", 10).await.unwrap(), "v");
    assert!(!other.exists("sub/k").await.unwrap());
}
