//! A backup whose items do not fit into the memory that a restore keeps them in, and a look at the file they lie in then.
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};

use serde_json::json;
use velero_testkit::ApiServer;

/// Bytes of one object, which do not compress well.
const BYTES: usize = 1_000_000;
/// Objects: more than 16 MiB when compressed.
const OBJECTS: usize = 24;

/// Puts the objects into a namespace.
pub(crate) fn seed(server: &ApiServer, namespace: &str) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for at in 0..OBJECTS {
        let mut text = String::with_capacity(BYTES);
        while text.len() < BYTES {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text.extend((0..10).map(|n| char::from(DIGITS[(state >> (6 * n)) as usize & 63])));
        }
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("large-{at}"), "namespace": namespace}, "data": {"noise": text}});
        server.store().seed_value(map).unwrap();
    }
}

/// The files of a folder that a process has open, which need not be in it any more.
pub(crate) fn open_files(process: u32, folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{process}/fd")) else {
        return Vec::new();
    };
    let links = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links.filter(|link| link.starts_with(folder)).collect()
}

/// Asserts that the files of a folder have no names: nobody has to remove them.
#[track_caller]
pub(crate) fn assert_nameless(open: &[PathBuf], folder: &Path) {
    for file in open {
        assert!(file.to_string_lossy().ends_with(" (deleted)"), "{file:?}");
    }
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
}
