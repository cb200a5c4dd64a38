//! An archive, from its bytes to the index of a restore, and every item as a tree.
#![no_main]

use std::io::Write as _;
use std::ops::ControlFlow;

use flate2::{Compression, write::GzEncoder};
use libfuzzer_sys::fuzz_target;
use velero_core::archive::{ArchiveReader, EntryKind};
use velero_core::{RawItem, SelectorSet};
use velero_restore::{ArchiveIndex, RestoreOptions};

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    // The input is the tar stream, or all of the archive: nobody guesses the checksum of gzip.
    let archive = if first % 8 == 0 {
        rest.to_vec()
    } else {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::none());
        gzip.write_all(rest)
            .and_then(|()| gzip.finish())
            .unwrap_or_default()
    };
    let read = ArchiveReader::new(archive.as_slice()).for_each(|kind, data| {
        if let EntryKind::Item(path) = kind {
            let text = path.to_string();
            assert!(text.starts_with("resources/") && !text.contains("/../"), "{text}");
            if let Ok(item) = RawItem::parse(data.into()) {
                let _ = item.tree();
            }
        }
        Ok(ControlFlow::Continue(()))
    });
    let options = RestoreOptions::default().api_group_versions(first % 2 == 0);
    let index = ArchiveIndex::read(archive.as_slice(), &SelectorSet::default(), &options);
    assert!(read.is_ok() || index.is_err(), "the index takes what the reader refuses");
});
