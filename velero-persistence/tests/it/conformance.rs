//! One suite over every kind of store.

use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use velero_persistence::{ErrorKind, ObjectStore};

use crate::Fixture;
use crate::server::fetch;

macro_rules! suite {
    ($($check:ident),* $(,)?) => {
        mod memory { $(#[tokio::test(flavor = "multi_thread")] async fn $check() { super::$check(crate::memory().await).await })* }
        mod filesystem { $(#[tokio::test(flavor = "multi_thread")] async fn $check() { super::$check(crate::filesystem().await).await })* }
        mod azure { $(#[tokio::test(flavor = "multi_thread")] async fn $check() { super::$check(crate::azure().await).await })* }
        mod gcp { $(#[tokio::test(flavor = "multi_thread")] async fn $check() { super::$check(crate::gcp().await).await })* }
        mod s3 { $(#[tokio::test(flavor = "multi_thread")] async fn $check() { super::$check(crate::s3().await).await })* }
    };
}

suite!(
    put_get_replace,
    absent_objects,
    empty_objects,
    ranges,
    odd_names,
    bad_names,
    listings,
    deletions,
    delete_prefix_spares_neighbours,
    conditional_writes,
    one_of_many_conditional_writers_wins,
    streaming_upload_of_12_mib,
    blocking_reader_and_writer,
    put_stream_and_failing_source,
    abort_leaves_nothing,
    drop_leaves_nothing,
    uploads_are_invisible_until_closed,
    objects_are_extended,
    an_extension_given_up_changes_nothing,
    caps_on_size,
    signed_urls_and_local_paths,
    checks,
);

const MIB: usize = 1 << 20;

async fn keys(store: &ObjectStore, prefix: &str) -> Vec<String> {
    let entries = store.list(prefix).await.unwrap();
    entries.into_iter().map(|entry| entry.key).collect()
}

async fn put(store: &ObjectStore, key: &str, text: &str) {
    store
        .put(key, Bytes::copy_from_slice(text.as_bytes()))
        .await
        .unwrap();
}

async fn get(store: &ObjectStore, key: &str) -> Bytes {
    store.get(key, 1 << 30).await.unwrap()
}

/// Bytes that repeat nowhere near a part's boundary.
fn noise(len: usize) -> Bytes {
    let mut state = 0x9e37_79b9_u32;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect::<Vec<u8>>()
        .into()
}

async fn put_get_replace(f: Fixture) {
    put(&f.store, "a/b", "one").await;
    assert_eq!(get(&f.store, "a/b").await, "one");
    put(&f.store, "a/b", "two!").await;
    assert_eq!(get(&f.store, "a/b").await, "two!");
    assert_eq!(f.store.size("a/b").await.unwrap(), Some(4));
    assert!(f.store.exists("a/b").await.unwrap());
}

async fn absent_objects(f: Fixture) {
    assert!(!f.store.exists("no/such").await.unwrap());
    assert_eq!(f.store.size("no/such").await.unwrap(), None);
    let err = f.store.get("no/such", 10).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound);
    assert!(!err.is_retryable());
    let text = err.to_string();
    assert!(
        text.contains("a/prefix/no/such") && text.ends_with("does not exist"),
        "{text}"
    );
    f.store.delete("no/such").await.unwrap();
    if f.store.describe().starts_with("s3") {
        // The test server fails on a key that is a folder underneath; real ones know no folders.
        return;
    }
    put(&f.store, "dir/object", "x").await;
    assert!(!f.store.exists("dir").await.unwrap());
    let kind = f.store.get("dir", 10).await.unwrap_err().kind();
    assert_eq!(kind, ErrorKind::NotFound);
}

async fn empty_objects(f: Fixture) {
    f.store.put("e/put", Bytes::new()).await.unwrap();
    let writer = f.store.writer("e/stream").await.unwrap();
    writer.close().await.unwrap();
    for key in ["e/put", "e/stream"] {
        assert_eq!(f.store.size(key).await.unwrap(), Some(0), "{key}");
        assert_eq!(get(&f.store, key).await, "");
    }
    assert_eq!(keys(&f.store, "e/").await, ["e/put", "e/stream"]);
}

async fn ranges(f: Fixture) {
    put(&f.store, "r", "0123456789").await;
    for (range, want) in [
        (0..10, "0123456789"),
        (2..5, "234"),
        (0..1, "0"),
        (9..10, "9"),
        (8..100, "89"),
        (10..20, ""),
        (50..60, ""),
        (3..3, ""),
    ] {
        let reader = f.store.range_reader("r", range.clone()).await.unwrap();
        assert_eq!(reader.read_to_end(100).await.unwrap(), want, "{range:?}");
    }
    let err = f.store.range_reader("none", 0..1).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound);
}

async fn odd_names(f: Fixture) {
    let mut names = vec![
        "plain",
        "with space",
        "plus+and%25percent",
        "a=b&c=d",
        "question?mark#hash",
        "ümläut-日本語",
        "dots...",
        ".hidden",
        "quote'\"<>|",
        "deep/er/and/deeper",
        "tilde~!@$^*(){}[];:,",
        "x.json.gz",
    ];
    for (i, name) in names.iter().enumerate() {
        put(&f.store, &format!("odd/{name}"), &i.to_string()).await;
    }
    for (i, name) in names.iter().enumerate() {
        let key = format!("odd/{name}");
        assert_eq!(get(&f.store, &key).await, i.to_string(), "{name}");
        assert!(f.store.exists(&key).await.unwrap(), "{name}");
    }
    names.sort_unstable();
    let want: Vec<String> = names.iter().map(|name| format!("odd/{name}")).collect();
    assert_eq!(keys(&f.store, "odd/").await, want);
    assert_eq!(f.store.delete_prefix("odd/").await.unwrap(), names.len());
    assert!(keys(&f.store, "").await.is_empty());
}

async fn bad_names(f: Fixture) {
    for bad in ["", "/a", "a/", "../x", "a/../../x", "a//b", " a", "a\n"] {
        let put = f.store.put(bad, Bytes::new()).await.unwrap_err();
        assert_eq!(put.kind(), ErrorKind::ConfigInvalid, "{bad:?}");
        assert!(f.store.get(bad, 1).await.is_err(), "{bad:?}");
        assert!(f.store.delete(bad).await.is_err(), "{bad:?}");
        assert!(f.store.writer(bad).await.is_err(), "{bad:?}");
    }
    for bad in ["a", "/", "../", "a//"] {
        assert!(f.store.list(bad).await.is_err(), "{bad:?}");
        assert!(f.store.list_dirs(bad).await.is_err(), "{bad:?}");
        assert!(f.store.delete_prefix(bad).await.is_err(), "{bad:?}");
    }
    assert!(f.store.delete_prefix("").await.is_err());
}

async fn listings(f: Fixture) {
    assert!(f.store.list_dirs("").await.unwrap().is_empty());
    assert!(keys(&f.store, "").await.is_empty());
    for key in [
        "backups/b2/x",
        "backups/b1/x",
        "backups/b1/y/z",
        "backups/loose",
        "backups-other/q",
        "top",
    ] {
        put(&f.store, key, "12345").await;
    }
    assert_eq!(
        f.store.list_dirs("").await.unwrap(),
        ["backups", "backups-other"]
    );
    assert_eq!(f.store.list_dirs("backups/").await.unwrap(), ["b1", "b2"]);
    assert!(f.store.list_dirs("nowhere/").await.unwrap().is_empty());
    assert!(f.store.list_dirs("backups/b2/").await.unwrap().is_empty());
    assert_eq!(
        keys(&f.store, "backups/").await,
        [
            "backups/b1/x",
            "backups/b1/y/z",
            "backups/b2/x",
            "backups/loose"
        ]
    );
    assert_eq!(keys(&f.store, "").await.len(), 6);
    assert!(keys(&f.store, "nowhere/").await.is_empty());
    let sizes = f.store.list("backups/b1/").await.unwrap();
    assert!(sizes.iter().all(|entry| entry.size == 5), "{sizes:?}");
}

async fn deletions(f: Fixture) {
    put(&f.store, "backups/b1/x", "1").await;
    put(&f.store, "backups/b1/y", "1").await;
    f.store.delete("backups/b1/x").await.unwrap();
    assert_eq!(keys(&f.store, "").await, ["backups/b1/y"]);
    f.store.delete("backups/b1/y").await.unwrap();
    assert!(f.store.list_dirs("backups/").await.unwrap().is_empty());
    assert!(f.store.list_dirs("").await.unwrap().is_empty());
    f.store.delete("backups/b1/y").await.unwrap();
    put(&f.store, "backups/b1/again", "1").await;
    assert_eq!(f.store.list_dirs("backups/").await.unwrap(), ["b1"]);
}

async fn delete_prefix_spares_neighbours(f: Fixture) {
    for key in ["d/one", "d/two/three", "d2/keep", "d.keep", "other/d/keep"] {
        put(&f.store, key, "1").await;
    }
    assert_eq!(f.store.delete_prefix("d/").await.unwrap(), 2);
    assert_eq!(
        keys(&f.store, "").await,
        ["d.keep", "d2/keep", "other/d/keep"]
    );
    assert_eq!(f.store.delete_prefix("d/").await.unwrap(), 0);
    assert_eq!(f.store.list_dirs("").await.unwrap(), ["d2", "other"]);
}

async fn conditional_writes(f: Fixture) {
    f.store.put_if_absent("c/x", "first".into()).await.unwrap();
    let err = f
        .store
        .put_if_absent("c/x", "second".into())
        .await
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::AlreadyExists, "{err}");
    assert!(err.to_string().contains("a/prefix/c/x"), "{err}");
    assert_eq!(get(&f.store, "c/x").await, "first");
    assert_eq!(keys(&f.store, "").await, ["c/x"]);
    f.store.delete("c/x").await.unwrap();
    f.store.put_if_absent("c/x", "third".into()).await.unwrap();
    assert_eq!(get(&f.store, "c/x").await, "third");
}

async fn one_of_many_conditional_writers_wins(f: Fixture) {
    let writers = (0..8).map(|i| {
        let store = f.store.clone();
        tokio::spawn(async move {
            let bytes = Bytes::from(format!("writer {i}"));
            store.put_if_absent("race/x", bytes).await.map(|()| i)
        })
    });
    let outcomes = futures::future::join_all(writers).await;
    let winners: Vec<i32> = outcomes
        .into_iter()
        .filter_map(|outcome| outcome.unwrap().ok())
        .collect();
    // The test server decides in two steps, real ones in one: there may be several winners there, never none.
    assert!(!winners.is_empty());
    if !f.store.describe().starts_with("s3") {
        assert_eq!(winners.len(), 1, "{winners:?}");
        let want = format!("writer {}", winners[0]);
        assert_eq!(get(&f.store, "race/x").await, want);
    }
    assert_eq!(keys(&f.store, "").await, ["race/x"]);
}

async fn streaming_upload_of_12_mib(f: Fixture) {
    let data = noise(12 * MIB + 17);
    let mut writer = f.store.writer("big/file").await.unwrap();
    for piece in [1, 7, 100_000, 5 * MIB, 3 * MIB + 1, usize::MAX] {
        let start = usize::try_from(writer.written()).unwrap();
        let end = start.saturating_add(piece).min(data.len());
        writer.write(data.slice(start..end)).await.unwrap();
    }
    assert_eq!(writer.written(), data.len() as u64);
    writer.close().await.unwrap();

    let size = f.store.size("big/file").await.unwrap();
    assert_eq!(size, Some(data.len() as u64));
    let mut reader = f.store.reader("big/file").await.unwrap();
    let (mut at, mut chunks) = (0, 0);
    while let Some(chunk) = reader.next_chunk().await.unwrap() {
        assert!(data[at..].starts_with(&chunk), "bytes differ after {at}");
        at += chunk.len();
        chunks += 1;
    }
    assert_eq!(at, data.len());
    if f.root.is_some() {
        assert!(
            chunks > 4,
            "a large object arrives in pieces, not in {chunks}"
        );
    }
    let middle = f.store.range_reader("big/file", 8_000_000..8_000_100);
    let middle = middle.await.unwrap().read_to_end(100).await.unwrap();
    assert_eq!(middle, data.slice(8_000_000..8_000_100));
    no_litter(&f).await;
}

async fn blocking_reader_and_writer(f: Fixture) {
    let data = noise(3 * MIB);
    let mut writer = f.store.writer("blocking").await.unwrap().into_blocking();
    let copy = data.clone();
    tokio::task::spawn_blocking(move || {
        writer.write_all(&copy).unwrap();
        writer.flush().unwrap();
        writer.close().unwrap();
    })
    .await
    .unwrap();
    let mut reader = f.store.reader("blocking").await.unwrap().into_blocking();
    let read = tokio::task::spawn_blocking(move || {
        let mut read = Vec::new();
        reader.read_to_end(&mut read).map(|_| read)
    });
    assert!(data == read.await.unwrap().unwrap(), "bytes differ");
    let writer = f.store.writer("given-up").await.unwrap().into_blocking();
    tokio::task::spawn_blocking(move || writer.abort().unwrap())
        .await
        .unwrap();
    assert_eq!(keys(&f.store, "").await, ["blocking"]);
}

async fn put_stream_and_failing_source(f: Fixture) {
    let good = stream::iter(["ab", "", "cd"]).map(|s| Ok::<_, String>(Bytes::from(s)));
    assert_eq!(f.store.put_stream("s/good", good).await.unwrap(), 4);
    assert_eq!(get(&f.store, "s/good").await, "abcd");
    let bad = stream::iter([Ok(noise(6 * MIB)), Err("the disk is gone")]);
    let err = f.store.put_stream("s/bad", bad).await.unwrap_err();
    assert!(
        err.to_string()
            .ends_with("its source failed: the disk is gone"),
        "{err}"
    );
    assert_eq!(keys(&f.store, "").await, ["s/good"]);
    no_litter(&f).await;
}

async fn abort_leaves_nothing(f: Fixture) {
    let mut writer = f.store.writer("backups/gone/x").await.unwrap();
    writer.abort().await.unwrap();
    writer = f.store.writer("backups/gone/x").await.unwrap();
    writer.write(noise(20 * MIB)).await.unwrap();
    writer.abort().await.unwrap();
    assert!(keys(&f.store, "").await.is_empty());
    assert!(f.store.list_dirs("backups/").await.unwrap().is_empty());
    no_litter(&f).await;

    put(&f.store, "kept", "old").await;
    let mut writer = f.store.writer("kept").await.unwrap();
    writer.write("new").await.unwrap();
    writer.abort().await.unwrap();
    assert_eq!(get(&f.store, "kept").await, "old");
}

async fn drop_leaves_nothing(f: Fixture) {
    let mut writer = f.store.writer("backups/dropped/x").await.unwrap();
    writer.write(noise(18 * MIB)).await.unwrap();
    drop(writer);
    // Also when the drop hits a write under way.
    let mut writer = f.store.writer("backups/dropped/y").await.unwrap();
    let write = writer.write(noise(40 * MIB));
    let _ = tokio::time::timeout(Duration::from_millis(30), write).await;
    drop(writer);
    assert!(keys(&f.store, "").await.is_empty());
    no_litter(&f).await;
}

async fn uploads_are_invisible_until_closed(f: Fixture) {
    let mut writer = f.store.writer("backups/slow/x").await.unwrap();
    writer.write(noise(17 * MIB)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!f.store.exists("backups/slow/x").await.unwrap());
    assert!(keys(&f.store, "").await.is_empty());
    assert!(f.store.list_dirs("backups/").await.unwrap().is_empty());
    writer.close().await.unwrap();
    assert_eq!(f.store.list_dirs("backups/").await.unwrap(), ["slow"]);
}

async fn caps_on_size(f: Fixture) {
    put(&f.store, "cap", "12345").await;
    assert_eq!(f.store.get("cap", 5).await.unwrap(), "12345");
    let err = f.store.get("cap", 4).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Corrupt);
    assert!(err.to_string().contains("holds more than 4 bytes"), "{err}");
}

async fn signed_urls_and_local_paths(f: Fixture) {
    let key = "backups/b 1/b+1 ä.tar.gz";
    put(&f.store, key, "for everybody").await;
    let ttl = Duration::from_secs(600);
    let signed = f.store.presign_get(key, ttl).await;
    if f.store.describe().starts_with("s3") {
        let url = signed.unwrap();
        assert!(url.contains("X-Amz-Expires=600"), "{url}");
        assert_eq!(
            fetch(&url).await,
            (http::StatusCode::OK, b"for everybody".to_vec())
        );
        let forged = url.replace("X-Amz-Expires=600", "X-Amz-Expires=601");
        assert_eq!(fetch(&forged).await.0, http::StatusCode::FORBIDDEN);
        for ttl in [Duration::ZERO, Duration::from_secs(8 * 24 * 3600)] {
            assert!(f.store.presign_get(key, ttl).await.is_err());
        }
        assert_eq!(f.store.local_path(key), None);
        return;
    }
    if ["az", "gs"].contains(&&f.store.describe()[..2]) {
        let read = fetch(&signed.unwrap()).await;
        assert_eq!(read, (http::StatusCode::OK, b"for everybody".to_vec()));
        return;
    }
    assert_eq!(signed.unwrap_err().kind(), ErrorKind::Unsupported);
    if f.store.describe().starts_with("file") {
        let path = f.store.local_path(key).unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"for everybody");
        assert_eq!(f.store.local_path("../escape"), None);
    }
}

async fn checks(f: Fixture) {
    f.store.check().await.unwrap();
    // A server that is named stands behind bucket and prefix.
    let described = f.store.describe();
    let place = described.split(" at ").next().unwrap();
    assert!(place.ends_with("/a/prefix"), "{described}");
    let debug = format!("{:?}", f.store);
    assert!(debug.contains(&f.store.describe()), "{debug}");
    assert_eq!(f.store.prefix(), "a/prefix/");
}

async fn no_litter(f: &Fixture) {
    if let Some(root) = &f.root {
        assert_no_litter(root).await;
    }
}

/// Waits until no unfinished upload is left in the files underneath, for at most five seconds.
pub(crate) async fn assert_no_litter(root: &Path) {
    let mut left = Vec::new();
    for _ in 0..100 {
        left.clear();
        litter(root, &mut left);
        if left.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("left behind: {left:?}");
}

fn litter(dir: &Path, left: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(".upload") || name.ends_with(".partial") {
            left.push(name);
        } else if entry.path().is_dir() {
            litter(&entry.path(), left);
        }
    }
}

async fn objects_are_extended(f: Fixture) {
    // Smaller than a part, about one, several and a rest.
    for size in [0, 10, 5 * MIB, 8 * MIB, 21 * MIB + 7] {
        let old = noise(size);
        f.store.put("b/archive", old.clone()).await.unwrap();
        for keep in [0, size / 2, size.saturating_sub(29), size] {
            let mut writer = f.store.extend("b/archive", keep as u64).await.unwrap();
            writer.write("new").await.unwrap();
            writer.write(" end").await.unwrap();
            assert_eq!(get(&f.store, "b/archive").await.len(), size);
            writer.close().await.unwrap();
            let found = get(&f.store, "b/archive").await;
            assert_eq!(found.len(), keep + 7, "{size} {keep}");
            assert!(
                found[..keep] == old[..keep] && found[keep..] == b"new end"[..],
                "{size} {keep}"
            );
            f.store.put("b/archive", old.clone()).await.unwrap();
        }
    }
    let error = f.store.extend("b/archive", 1 << 40).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let error = f.store.extend("b/none", 0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

async fn an_extension_given_up_changes_nothing(f: Fixture) {
    let old = noise(9 * MIB);
    f.store.put("b/archive", old.clone()).await.unwrap();
    let mut writer = f.store.extend("b/archive", 9 << 20).await.unwrap();
    writer.write("more").await.unwrap();
    writer.abort().await.unwrap();
    drop(f.store.extend("b/archive", 9 << 20).await.unwrap());
    no_litter(&f).await;
    assert!(get(&f.store, "b/archive").await == old);
    assert_eq!(keys(&f.store, "").await, ["b/archive"]);
}
