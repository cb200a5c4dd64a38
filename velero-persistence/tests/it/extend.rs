//! Adding to objects without moving what stays.

use bytes::Bytes;
use velero_persistence::{BackupFile, BackupStore};

use crate::server::S3Server;

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn s3_copies_what_stays_by_itself() {
    let server = S3Server::start().await;
    let store = server.location("p").open().await.unwrap();
    let old: Bytes = (0..20 * MIB)
        .map(|at| (at / 977) as u8)
        .collect::<Vec<u8>>()
        .into();
    store.put("b/archive", old.clone()).await.unwrap();
    let before = server.requests().len();

    let keep = old.len() - 29;
    let mut writer = store.extend("b/archive", keep as u64).await.unwrap();
    writer.write("new").await.unwrap();
    writer.close().await.unwrap();

    let (requests, headers) = {
        let script = server.script.lock().unwrap();
        (
            script.requests[before..].to_vec(),
            script.headers[before..].to_vec(),
        )
    };
    let copied: u64 = headers
        .iter()
        .filter_map(|headers| headers.get("x-amz-copy-source-range"))
        .map(|range| {
            let (from, to) = range
                .to_str()
                .unwrap()
                .strip_prefix("bytes=")
                .and_then(|range| range.split_once('-'))
                .unwrap();
            to.parse::<u64>().unwrap() + 1 - from.parse::<u64>().unwrap()
        })
        .sum();
    assert_eq!(copied, 16 << 20, "{requests:#?}");
    let found = store.get("b/archive", 1 << 30).await.unwrap();
    assert!(found[..keep] == old[..keep] && found[keep..] == b"new"[..]);
}

#[tokio::test]
async fn a_log_goes_on_in_another_member() {
    let store = crate::memory().await.store;
    let backups = BackupStore::new(store);
    let log = BackupFile::Logs.of("b");
    for line in ["one\n", "two\n", "three\n"] {
        backups.append_packed(&log, gzip(line)).await.unwrap();
    }
    let text = backups.get_bytes(&log).await.unwrap().unwrap();
    assert_eq!(text, "one\ntwo\nthree\n");
}

fn gzip(text: &str) -> Bytes {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap().into()
}
