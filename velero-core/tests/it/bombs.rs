//! Archives that are small and unpack to much, or describe themselves oddly.

use std::io::{self, Read, Write as _};
use std::ops::ControlFlow;

use flate2::{Compression, write::GzEncoder};
use tar::EntryType;
use velero_core::api::{Backup, Document};
use velero_core::archive::{ArchiveReader, EntryKind};
use velero_core::{ItemTree, RawItem};

type Gzip = GzEncoder<Vec<u8>>;

/// A tar stream under way; what it says need not be true.
struct Tar(Gzip);

impl Tar {
    fn new() -> Self {
        Self(Gzip::new(Vec::new(), Compression::fast()))
    }

    fn header(mut self, name: &str, entry_type: EntryType, size: u64) -> Self {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(entry_type);
        header.set_size(size);
        header.set_cksum();
        self.0.write_all(header.as_bytes()).unwrap();
        self
    }

    fn entry(self, name: &str, entry_type: EntryType, data: &[u8]) -> Self {
        let mut tar = self.header(name, entry_type, data.len() as u64);
        tar.0.write_all(data).unwrap();
        tar.zeros((512 - data.len() as u64 % 512) % 512)
    }

    fn zeros(mut self, bytes: u64) -> Self {
        io::copy(&mut io::repeat(0).take(bytes), &mut self.0).unwrap();
        self
    }

    fn end(self) -> Vec<u8> {
        self.zeros(1024).0.finish().unwrap()
    }
}

/// The paths of an archive's items, or why it is refused.
fn paths(archive: &[u8]) -> Result<Vec<String>, String> {
    let mut paths = Vec::new();
    let read = ArchiveReader::new(archive).for_each(|kind, _| {
        if let EntryKind::Item(path) = kind {
            paths.push(path.to_string());
        }
        Ok(ControlFlow::Continue(()))
    });
    read.map_err(|error| error.to_string())?;
    Ok(paths)
}

fn refused(archive: &[u8], part: &str) {
    let error = paths(archive).unwrap_err();
    assert!(error.contains(part), "{part}: {error}");
}

const ITEM: &str = "resources/pods/cluster/a.json";

/// A header of type `x` with one field.
fn pax(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len() + 1;
    while length.to_string().len() + rest.len() != length {
        length += 1;
    }
    format!("{length}{rest}").into_bytes()
}

#[test]
fn long_names_are_read_as_go_and_gnu_write_them() {
    let name = "a".repeat(180);
    let path = format!("resources/pods/namespaces/shop/{name}.json");
    let go = Tar::new()
        .entry("PaxHeaders.0/x", EntryType::XHeader, &pax("path", &path))
        .entry("short", EntryType::Regular, b"{}");
    assert_eq!(paths(&go.end()).unwrap(), [path.as_str()]);
    let terminated = format!("{path}\0");
    let gnu = Tar::new()
        .entry(
            "././@LongLink",
            EntryType::GNULongName,
            terminated.as_bytes(),
        )
        .entry("short", EntryType::Regular, b"{}")
        .entry(ITEM, EntryType::Regular, b"{}");
    assert_eq!(paths(&gnu.end()).unwrap(), [path.as_str(), ITEM]);
}

#[test]
fn names_and_entries_of_a_gigabyte_are_refused_before_they_are_read() {
    const GIB: u64 = 1 << 30;
    for (name, entry_type, part) in [
        (
            "././@LongLink",
            EntryType::GNULongName,
            "a name or header of 1073741824 bytes",
        ),
        (
            "PaxHeaders.0/x",
            EntryType::XHeader,
            "a name or header of 1073741824 bytes",
        ),
        (ITEM, EntryType::Regular, "of 1073741824 bytes; at most"),
        (
            "metadata/version",
            EntryType::Regular,
            "of 1073741824 bytes; at most",
        ),
        ("other", EntryType::Regular, "of 1073741824 bytes; at most"),
        (ITEM, EntryType::GNUSparse, "only regular files"),
        (ITEM, EntryType::XGlobalHeader, "only regular files"),
        (ITEM, EntryType::Link, "only regular files"),
    ] {
        let tar = Tar::new().header(name, entry_type, GIB).zeros(1 << 16);
        refused(&tar.0.finish().unwrap(), part);
    }
}

#[test]
fn what_follows_the_end_is_not_unpacked_without_end() {
    let whole = Tar::new().entry(ITEM, EntryType::Regular, b"{}");
    // GNU tar fills its last record up.
    let filled = whole.zeros(1024).zeros(9 << 10);
    assert_eq!(paths(&filled.end()).unwrap(), [ITEM]);
    let bomb = Tar::new().entry(ITEM, EntryType::Regular, b"{}");
    let bomb = bomb.zeros(1024).zeros(64 << 20).end();
    assert!(bomb.len() < 1 << 20);
    refused(&bomb, "goes on behind its end marker");
}

#[test]
fn headers_that_contradict_each_other_are_refused() {
    let header = |key: &str, value: &str| {
        Tar::new().entry("PaxHeaders.0/x", EntryType::XHeader, &pax(key, value))
    };
    let item = |tar: Tar| tar.entry(ITEM, EntryType::Regular, b"{}").end();
    assert_eq!(paths(&item(header("size", "2"))).unwrap(), [ITEM]);
    assert_eq!(paths(&item(header("mtime", "1.5"))).unwrap(), [ITEM]);
    refused(
        &item(header("size", "512")),
        "of 2 bytes that is said to have 512",
    );
    refused(&item(header("size", "many")), "whose size is no number");
    refused(
        &item(header("path", "../../etc/passwd")),
        "leaves its folder",
    );
    let twice = header("path", "a").entry("x", EntryType::XHeader, &pax("path", "b"));
    refused(&item(twice), "describes an entry twice");
    refused(
        &header("path", "a").end(),
        "names an entry that it does not have",
    );
    let odd = Tar::new().entry("././@LongLink", EntryType::GNULongName, b"\xff\xfe");
    refused(&item(odd), "not utf-8");
}

#[test]
fn items_of_any_depth_are_errors_and_no_overflow() {
    let deep = |open: &str, close: &str| {
        let (open, close) = (open.repeat(100_000), close.repeat(100_000));
        let head = r#""apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}"#;
        format!("{{{head},\"data\":{open}1{close}}}")
    };
    for text in [deep("[", "]"), deep("{\"a\":", "}")] {
        let item = RawItem::parse(text.clone().into()).and_then(|item| item.tree());
        assert!(item.is_err());
        assert!(ItemTree::parse(text.as_bytes()).is_err());
        assert!(Document::<Backup>::parse(text.as_bytes()).is_err());
    }
}
