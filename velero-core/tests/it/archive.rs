//! The archive format: what is written is read again, what is damaged is refused, the peer's archive is understood.

use std::ops::ControlFlow;

use proptest::prelude::*;
use velero_core::archive::{
    ArchiveReader, ArchiveWriter, ArchiveWriterOptions, END_MEMBER, EntryKind, ItemPath, VersionDir,
};
use velero_core::{Error, ErrorKind, GroupResource};

type Item = (ItemPath, String, bool, Vec<u8>);

fn write(items: &[Item]) -> Vec<u8> {
    let mut archive = ArchiveWriter::new(
        Vec::new(),
        ArchiveWriterOptions::default().mtime(1_700_000_000),
    )
    .unwrap();
    for (path, version, preferred, json) in items {
        archive.append(path, version, *preferred, json).unwrap();
    }
    archive.finish().unwrap()
}

type Entries = Vec<(EntryKind, Vec<u8>)>;

fn read(bytes: &[u8]) -> Result<(Option<String>, Entries), Error> {
    let mut entries = Vec::new();
    let format = ArchiveReader::new(bytes).for_each(|kind, data| {
        entries.push((kind, data));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok((format, entries))
}

fn expected(items: &[Item]) -> Entries {
    let mut out = vec![(EntryKind::FormatVersion, b"1.1.0\n".to_vec())];
    for (path, version, preferred, json) in items {
        if *preferred {
            out.push((EntryKind::Item(path.clone()), json.clone()));
            out.push((
                EntryKind::Item(path.with_version(VersionDir::Preferred(version.clone()))),
                json.clone(),
            ));
        } else {
            out.push((
                EntryKind::Item(path.with_version(VersionDir::Other(version.clone()))),
                json.clone(),
            ));
        }
    }
    out
}

fn item() -> impl Strategy<Value = Item> {
    let name = prop_oneof!["[a-z0-9]{1,20}", "[a-z0-9.:-]{1,253}", "[a-zäöü%:]{1,40}"];
    let resource = prop_oneof!["[a-z]{1,15}", "[a-z]{1,15}\\.[a-z]{1,60}\\.io"];
    (
        resource,
        "[a-z0-9-]{0,63}",
        name,
        "v[1-9]",
        any::<bool>(),
        prop::collection::vec(any::<u8>(), 0..3000),
    )
        .prop_map(|(resource, namespace, name, version, preferred, json)| {
            (
                ItemPath::new(GroupResource::from(resource), namespace, name),
                version,
                preferred,
                json,
            )
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read(items in prop::collection::vec(item(), 0..8)) {
        let (format, entries) = read(&write(&items)).unwrap();
        prop_assert_eq!(format.as_deref(), Some("1.1.0"));
        prop_assert_eq!(entries, expected(&items));
    }

    #[test]
    fn any_cut_is_an_error(items in prop::collection::vec(item(), 0..4), at in 0.0f64..1.0) {
        let bytes = write(&items);
        let cut = (bytes.len() as f64 * at) as usize;
        let error = read(&bytes[..cut]).unwrap_err();
        prop_assert_eq!(error.kind(), ErrorKind::InvalidArchive);
    }

    #[test]
    fn damage_never_panics(items in prop::collection::vec(item(), 1..4), at in 0.0f64..1.0, bit in 0u8..8) {
        let mut bytes = write(&items);
        let place = (bytes.len() as f64 * at) as usize;
        bytes[place] ^= 1 << bit;
        let _ = read(&bytes);
    }
}

fn one() -> Vec<Item> {
    vec![(
        ItemPath::new(GroupResource::core("pods"), "shop", "web"),
        "v1".into(),
        true,
        b"{}".to_vec(),
    )]
}

#[test]
fn the_same_items_give_the_same_bytes() {
    assert_eq!(write(&one()), write(&one()));
}

#[test]
fn headers_are_what_the_peer_writes() {
    let bytes = write(&one());
    let mut tar = tar::Archive::new(flate2::read::MultiGzDecoder::new(bytes.as_slice()));
    for entry in tar.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!(header.mode().unwrap(), 0o755);
        assert_eq!(header.mtime().unwrap(), 1_700_000_000);
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        assert!(header.entry_type().is_file() && header.as_ustar().is_some());
        assert_eq!(header.username_bytes(), Some(&b""[..]));
    }
}

fn tar_with(path: &[u8], entry_type: tar::EntryType, link: Option<&str>) -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let mut builder = tar::Builder::new(gzip);
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path);
    header.set_entry_type(entry_type);
    header.set_size(if entry_type.is_file() { 2 } else { 0 });
    if let Some(link) = link {
        header.set_link_name(link).unwrap();
    }
    header.set_cksum();
    builder
        .append(
            &header,
            if entry_type.is_file() {
                &b"{}"[..]
            } else {
                &b""[..]
            },
        )
        .unwrap();
    builder.into_inner().unwrap().finish().unwrap()
}

#[test]
fn unsafe_entries_are_refused_by_name() {
    for (path, entry_type, link, want) in [
        (
            &b"/etc/passwd"[..],
            tar::EntryType::Regular,
            None,
            "absolute",
        ),
        (
            b"resources/../../x.json",
            tar::EntryType::Regular,
            None,
            "leaves its folder",
        ),
        (
            b"resources/pods/cluster/a.json",
            tar::EntryType::Symlink,
            Some("/etc/passwd"),
            "only regular files",
        ),
        (
            b"../up",
            tar::EntryType::Directory,
            None,
            "leaves its folder",
        ),
        (
            b"resources/pods/a.json",
            tar::EntryType::Regular,
            None,
            "no item path",
        ),
        (
            b"metadata/version",
            tar::EntryType::Regular,
            None,
            "format version",
        ),
    ] {
        let error = read(&tar_with(path, entry_type, link))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(want),
            "{}: {error}",
            String::from_utf8_lossy(path)
        );
    }
}

#[test]
fn bytes_that_are_no_archive_are_refused() {
    for bytes in [&b""[..], b"hello", &[0x1f, 0x8b, 8, 0], &[0; 2048]] {
        assert_eq!(
            read(bytes).unwrap_err().kind(),
            ErrorKind::InvalidArchive,
            "{bytes:?}"
        );
    }
}

#[test]
fn archives_in_several_gzip_members_are_read_whole() {
    use std::io::{Read as _, Write as _};
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(write(&one()).as_slice())
        .read_to_end(&mut plain)
        .unwrap();
    let mut members = Vec::new();
    for chunk in plain.chunks(700) {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(chunk).unwrap();
        members.extend(gzip.finish().unwrap());
    }
    assert_eq!(read(&members).unwrap().1, expected(&one()));
}

/// A sink that can be looked into while the writer holds it.
#[derive(Clone, Default)]
struct Shared(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writer_that_is_dropped_leaves_no_complete_archive() {
    let sink = Shared::default();
    let mut archive = ArchiveWriter::new(sink.clone(), ArchiveWriterOptions::default()).unwrap();
    for (path, version, preferred, json) in one() {
        archive.append(&path, &version, preferred, &json).unwrap();
    }
    drop(archive);
    let error = read(&sink.0.lock().unwrap()).unwrap_err();
    assert!(error.to_string().contains("cut short"), "{error}");
}

fn named(name: &str, json: &str) -> Item {
    let path = ItemPath::new(GroupResource::core("configmaps"), "shop", name);
    (path, "v1".to_owned(), true, json.as_bytes().to_vec())
}

fn tail(items: &[Item]) -> Vec<u8> {
    let mut tail = ArchiveWriter::tail(Vec::new(), ArchiveWriterOptions::default());
    for (path, version, preferred, json) in items {
        tail.append(path, version, *preferred, json).unwrap();
    }
    tail.finish().unwrap()
}

#[test]
fn the_end_of_an_archive_is_a_member_of_its_own() {
    let mut blocks = Vec::new();
    std::io::Read::read_to_end(
        &mut flate2::read::GzDecoder::new(END_MEMBER.as_slice()),
        &mut blocks,
    )
    .unwrap();
    assert_eq!(blocks, [0; 1024]);
    for level in 0..=9 {
        let options = ArchiveWriterOptions::default().level(level);
        let archive = ArchiveWriter::new(Vec::new(), options).unwrap().finish();
        assert!(archive.unwrap().ends_with(&END_MEMBER), "{level}");
    }
}

#[test]
fn items_are_added_behind_an_archive_without_unpacking_it() {
    let old = [named("a", "{\"n\":1}"), named("b", "{\"n\":2}")];
    let new = [named("a", "{\"n\":3}"), named("c", "{\"n\":4}")];
    let mut archive = write(&old);
    archive.truncate(archive.len() - END_MEMBER.len());
    archive.extend(tail(&new));
    let all: Vec<Item> = old.iter().chain(&new).cloned().collect();
    assert_eq!(read(&archive).unwrap().1, expected(&all));
    // Once more, as after a crash between this and the next step.
    archive.truncate(archive.len() - END_MEMBER.len());
    archive.extend(tail(&new));
    let all: Vec<Item> = all.iter().chain(&new).cloned().collect();
    assert_eq!(read(&archive).unwrap().1, expected(&all));
}

#[test]
fn an_archive_with_another_end_is_copied_entry_by_entry() {
    let old = [named("a", "{\"n\":1}"), named(&"x".repeat(300), "{}")];
    let new = [named("a", "{\"n\":3}")];
    let mut plain = Vec::new();
    std::io::Read::read_to_end(
        &mut flate2::read::MultiGzDecoder::new(write(&old).as_slice()),
        &mut plain,
    )
    .unwrap();
    // More zeros than needed, as tar fills up its last record, and all in one member.
    plain.extend([0; 8192]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &plain).unwrap();
    let other = gzip.finish().unwrap();

    let options = ArchiveWriterOptions::default();
    let mut copy = ArchiveWriter::copy_of(other.as_slice(), Vec::new(), options.clone()).unwrap();
    for (path, version, preferred, json) in &new {
        copy.append(path, version, *preferred, json).unwrap();
    }
    let copy = copy.finish().unwrap();
    assert!(copy.ends_with(&END_MEMBER));
    let all: Vec<Item> = old.iter().chain(&new).cloned().collect();
    assert_eq!(read(&copy).unwrap().1, expected(&all));

    for cut in [0, 9, other.len() / 2, other.len() - 1] {
        let cut = ArchiveWriter::copy_of(&other[..cut], Vec::new(), options.clone());
        let error = cut.map(drop).unwrap_err();
        assert!(error.to_string().contains("cut short"), "{error}");
    }
}

/// The content of each gzip member, one after the other, as readers take them that know one member at a time.
fn gzip_members(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut members = Vec::new();
    while !bytes.is_empty() {
        // No name, no time, no other field that a reader would have to know.
        assert_eq!(bytes[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
        let mut member = Vec::new();
        let mut decoder = flate2::bufread::GzDecoder::new(bytes);
        std::io::Read::read_to_end(&mut decoder, &mut member).unwrap();
        bytes = decoder.into_inner();
        members.push(member);
    }
    members
}

#[test]
fn members_and_blocks_are_what_gzip_and_tar_expect() {
    let items = [named("a", "{\"n\":1}"), named(&"x".repeat(300), "{}")];
    let (empty, fresh) = (write(&[]), write(&items));
    let mut grown = fresh[..fresh.len() - END_MEMBER.len()].to_vec();
    grown.extend(tail(&items));
    let options = ArchiveWriterOptions::default();
    let copy = ArchiveWriter::copy_of(fresh.as_slice(), Vec::new(), options).unwrap();
    let copy = copy.finish().unwrap();
    for (what, bytes, members, entries) in [
        ("empty", empty, 2, 1),
        ("fresh", fresh, 2, 5),
        ("grown", grown, 3, 9),
        ("copy", copy, 2, 5),
    ] {
        let found = gzip_members(&bytes);
        assert_eq!(found.len(), members, "{what}");
        let plain = found.concat();
        // Whole blocks, of which the last two and no two others are the end.
        assert_eq!(plain.len() % 512, 0, "{what}");
        let blocks: Vec<bool> = plain
            .chunks(512)
            .map(|b| b.iter().all(|b| *b == 0))
            .collect();
        let pairs = blocks.windows(2).filter(|pair| pair[0] && pair[1]).count();
        assert!(pairs == 1 && blocks.ends_with(&[true, true]), "{what}");
        let mut tar = tar::Archive::new(plain.as_slice());
        let read = tar
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().into_owned());
        assert_eq!(read.count(), entries, "{what}");
    }
}
