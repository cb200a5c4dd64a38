//! What uploads to S3 carry beside their bytes, and that it is signed.

use hyper::HeaderMap;
use velero_persistence::{BackupFile, BackupStore, Environment, Location, ObjectStore};

use crate::server::S3Server;

async fn open(server: &S3Server, settings: &[(&str, &str)]) -> ObjectStore {
    let mut config = server.config("");
    config.config.extend(crate::settings(settings));
    let location = Location::from_config_in(&config, &Environment::empty()).unwrap();
    location.open().await.unwrap()
}

/// Uploads of both kinds: in one piece, and in three parts.
async fn upload(store: &ObjectStore) {
    store.put("small", "123456789".into()).await.unwrap();
    let mut writer = store.writer("large").await.unwrap();
    writer.write(vec![1u8; 18 << 20]).await.unwrap();
    writer.close().await.unwrap();
    assert_eq!(store.size("large").await.unwrap(), Some(18 << 20));
}

/// The headers of the requests whose line holds all of these.
fn sent(server: &S3Server, marks: &[&str]) -> Vec<HeaderMap> {
    let script = server.script.lock().unwrap();
    let lines = script.requests.iter().zip(&script.headers);
    lines
        .filter(|(line, _)| marks.iter().all(|mark| line.contains(mark)))
        .map(|(_, headers)| headers.clone())
        .collect()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

/// Checks that the server was asked to hold this header against the signature, which it verifies.
fn assert_signed(headers: &HeaderMap, name: &str) {
    let authorization = text(headers, "authorization").unwrap();
    let (_, rest) = authorization.split_once("SignedHeaders=").unwrap();
    let (names, _) = rest.split_once(',').unwrap();
    assert!(names.split(';').any(|one| one == name), "{authorization}");
}

#[tokio::test(flavor = "multi_thread")]
async fn checksums_of_every_algorithm_arrive_signed() {
    for (settings, name, element, small) in [
        (vec![], "crc32", "ChecksumCRC32", "y/Q5Jg=="),
        (
            vec![("checksumAlgorithm", "CRC32")],
            "crc32",
            "ChecksumCRC32",
            "y/Q5Jg==",
        ),
        (
            vec![("checksumAlgorithm", "CRC32C")],
            "crc32c",
            "ChecksumCRC32C",
            "4waSgw==",
        ),
        (
            vec![("checksumAlgorithm", "SHA1")],
            "sha1",
            "ChecksumSHA1",
            "98O8HYCOBHMq32eZZczDTKeuNEE=",
        ),
        (
            vec![("checksumAlgorithm", "SHA256")],
            "sha256",
            "ChecksumSHA256",
            "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
        ),
    ] {
        let server = S3Server::start().await;
        upload(&open(&server, &settings).await).await;
        let header = format!("x-amz-checksum-{name}");
        let put = &sent(&server, &["PUT ", "/small"])[0];
        assert_eq!(text(put, &header), Some(small));
        assert_signed(put, &header);
        let create = &sent(&server, &["POST ", "?uploads"])[0];
        let algorithm = text(create, "x-amz-checksum-algorithm").map(str::to_ascii_lowercase);
        assert_eq!(algorithm.as_deref(), Some(name));
        assert_signed(create, "x-amz-checksum-algorithm");
        let parts = sent(&server, &["PUT ", "partNumber="]);
        assert_eq!(parts.len(), 3);
        // S3 completes such an upload only when it is told the checksum of each part.
        let list = server.script.lock().unwrap().lists[0].clone();
        for part in &parts {
            assert_signed(part, &header);
            let sum = text(part, &header).unwrap();
            assert!(
                list.contains(&format!("<{element}>{sum}</{element}>")),
                "{list}"
            );
        }
        assert_eq!(list.matches(element).count(), 6, "{list}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_checksum_is_sent_where_none_is_asked_for() {
    let server = S3Server::start().await;
    upload(&open(&server, &[("checksumAlgorithm", "")]).await).await;
    let script = server.script.lock().unwrap();
    let mut names = script.headers.iter().flat_map(|headers| headers.keys());
    assert_eq!(names.find(|name| name.as_str().contains("checksum")), None);
    assert!(!script.lists[0].contains("Checksum"), "{}", script.lists[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_fit_its_checksum_is_refused_by_the_server() {
    let server = S3Server::start().await;
    let store = open(&server, &[("checksumAlgorithm", "SHA256")]).await;
    server.script.lock().unwrap().spoil = true;
    let err = store.put("small", "123456789".into()).await.unwrap_err();
    assert!(err.to_string().contains("BadDigest"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_arrive_signed_with_every_new_object() {
    for tags in ["team=sre&env=prod%20eu", "one=alone"] {
        let server = S3Server::start().await;
        upload(&open(&server, &[("tagging", tags)]).await).await;
        let created = [
            sent(&server, &["PUT ", "/small"]),
            sent(&server, &["POST ", "?uploads"]),
        ];
        for headers in created.iter().flatten() {
            assert_eq!(text(headers, "x-amz-tagging"), Some(tags));
            assert_signed(headers, "x-amz-tagging");
        }
        // S3 refuses tags on parts, and nothing else makes objects.
        let script = server.script.lock().unwrap();
        let with = script
            .headers
            .iter()
            .filter(|h| h.contains_key("x-amz-tagging"));
        assert_eq!(with.count(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_extended_with_tags_and_checksums() {
    let server = S3Server::start().await;
    let store = open(
        &server,
        &[("tagging", "a=b&c=d"), ("checksumAlgorithm", "SHA1")],
    )
    .await;
    upload(&store).await;
    let mut writer = store.extend("large", (18 << 20) - 3).await.unwrap();
    writer.write(vec![2u8; 5]).await.unwrap();
    writer.close().await.unwrap();
    let read = store.get("large", 19 << 20).await.unwrap();
    assert_eq!(read.len(), (18 << 20) + 2);
    assert_eq!(&read[(18 << 20) - 4..], [1, 2, 2, 2, 2, 2]);
}

/// Begins an upload in parts and never ends it, as a process that is killed.
async fn break_off(store: &ObjectStore, key: &str) {
    let mut writer = store.writer(key).await.unwrap();
    for _ in 0..3 {
        writer.write(vec![1u8; 9 << 20]).await.unwrap();
    }
    std::mem::forget(writer);
}

#[tokio::test]
async fn uploads_that_broke_off_go_with_what_is_discarded() {
    let server = S3Server::start().await;
    let mut config = server.config("team/a");
    config.config.extend(crate::settings(&[]));
    let location = Location::from_config_in(&config, &Environment::empty()).unwrap();
    let store = BackupStore::open(&location).await.unwrap();
    let open = || -> Vec<String> {
        let script = server.script.lock().unwrap();
        let mut keys: Vec<String> = script.uploads.iter().map(|(key, _)| key.clone()).collect();
        keys.sort();
        keys
    };
    for key in [
        "backups/b/b.tar.gz",
        "backups/b/b.tar.gz",
        "backups/b/b-logs.gz",
        "backups/b2/b2.tar.gz",
    ] {
        break_off(store.store(), key).await;
    }
    assert_eq!(open().len(), 4);
    store
        .put_text(&BackupFile::Logs.of("b"), b"half")
        .await
        .unwrap();
    store.discard("b").await.unwrap();
    // Those of others stay; there were two pages.
    assert_eq!(open(), ["team/a/backups/b2/b2.tar.gz"]);
    let asked = sent(&server, &["GET", "uploads"]);
    assert_eq!(asked.len(), 2);
    for headers in &asked {
        assert!(text(headers, "authorization").is_some());
    }

    // Where it may not be asked for, the rest is done all the same.
    break_off(store.store(), "backups/b/b.tar.gz").await;
    store
        .put_text(&BackupFile::Logs.of("b"), b"half")
        .await
        .unwrap();
    {
        let mut script = server.script.lock().unwrap();
        script.only = Some("uploads".to_owned());
        script.faults = [hyper::StatusCode::FORBIDDEN].into();
        script.code = "AccessDenied";
    }
    store.discard("b").await.unwrap();
    assert_eq!(open().len(), 2);
    assert!(store.store().list("backups/b/").await.unwrap().is_empty());
}
