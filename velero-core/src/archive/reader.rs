//! Reading an archive.

use std::io::{self, BufReader, Read};
use std::ops::ControlFlow;

use flate2::read::MultiGzDecoder;

use super::long_names::LongNames;
use super::{ItemPath, VERSION_PATH};
use crate::Error;

/// The largest entry that is read, in bytes. Far above what an API server stores in one object.
pub const MAX_ENTRY_BYTES: u64 = 256 << 20;

/// The most bytes that may follow the end marker: writers fill their last block up.
const MAX_BYTES_BEHIND: u64 = 1 << 20;

/// Bytes that are unpacked at a time. The decoder copies its window of 32 KiB at each call, however little is asked for.
const UNPACKED: usize = 128 << 10;

/// Bytes of room that an entry gets at once for the size it says it has.
const FIRST_ROOM: u64 = 64 << 10;

/// What an entry of an archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// `metadata/version`.
    FormatVersion,
    /// An item.
    Item(ItemPath),
    /// Something that this version knows nothing of; readers pass it over.
    Other(String),
}

/// Reads an archive once, front to back, entry by entry.
///
/// ```
/// # use velero_core::{GroupResource, archive::*};
/// # let path = ItemPath::new(GroupResource::core("configmaps"), "shop", "settings");
/// # let mut archive = ArchiveWriter::new(Vec::new(), ArchiveWriterOptions::default())?;
/// # archive.append(&path, "v1", true, b"{}")?;
/// # let bytes = archive.finish()?;
/// let mut names = Vec::new();
/// ArchiveReader::new(bytes.as_slice()).for_each(|kind, _json| {
///     if let EntryKind::Item(path) = kind {
///         names.push(path.to_string());
///     }
///     Ok(std::ops::ControlFlow::Continue(()))
/// })?;
/// assert_eq!(names[0], "resources/configmaps/namespaces/shop/settings.json");
/// # Ok::<(), velero_core::Error>(())
/// ```
#[derive(Debug)]
pub struct ArchiveReader<R> {
    source: R,
}

impl<R: Read> ArchiveReader<R> {
    /// Reads from compressed bytes.
    pub fn new(source: R) -> Self {
        Self { source }
    }

    /// Calls `visit` with each entry and its content; `Break` ends the reading early.
    ///
    /// Gives the format version: `None` for archives older than `metadata/version`.
    ///
    /// # Errors
    /// When the archive is cut short, corrupt, of an unknown format, has an unsafe path or an entry that is no
    /// regular file, or when `visit` fails.
    pub fn for_each<F>(self, mut visit: F) -> Result<Option<String>, Error>
    where
        F: FnMut(EntryKind, Vec<u8>) -> Result<ControlFlow<()>, Error>,
    {
        let unpacked = BufReader::with_capacity(UNPACKED, MultiGzDecoder::new(self.source));
        let mut tar = tar::Archive::new(EndWatch::new(unpacked));
        let mut format = None;
        // Raw: what the library does with long names has no bounds.
        let entries = tar.entries().map_err(broken)?.raw(true);
        let mut names = LongNames::default();
        for entry in entries {
            let mut entry = entry.map_err(broken)?;
            let Some((kind, data)) = read_entry(&mut entry, &mut names)? else {
                continue;
            };
            if kind == EntryKind::FormatVersion {
                format = Some(check_format(&data)?);
            }
            if visit(kind, data)?.is_break() {
                return Ok(format);
            }
        }
        let rest = tar.into_inner();
        if !rest.ended {
            return Err(Error::archive("is cut short: its end marker is missing"));
        }
        if names.are_left() {
            return Err(Error::archive("names an entry that it does not have"));
        }
        // The checksum of the last gzip member is only compared when the stream is read to its end.
        read_behind(rest.inner)?;
        Ok(format)
    }
}

fn read_entry<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    names: &mut LongNames,
) -> Result<Option<(EntryKind, Vec<u8>)>, Error> {
    if names.take_in(entry)? {
        return Ok(None);
    }
    let path = names.name_of(entry)?;
    match entry.header().entry_type() {
        tar::EntryType::Regular | tar::EntryType::Continuous => {}
        tar::EntryType::Directory => {
            super::path::check_safe(&path)?;
            return Ok(None);
        }
        other => {
            return Err(Error::archive(format!(
                "has an entry {path:?} of type {other:?}; only regular files are allowed"
            )));
        }
    }
    let kind = match ItemPath::parse(&path)? {
        Some(item) => EntryKind::Item(item),
        None if path == VERSION_PATH => EntryKind::FormatVersion,
        None => EntryKind::Other(path.clone()),
    };
    if entry.size() > MAX_ENTRY_BYTES {
        return Err(Error::archive(format!(
            "has an entry {path:?} of {} bytes; at most {MAX_ENTRY_BYTES} are read",
            entry.size()
        )));
    }
    let room = usize::try_from(entry.size().min(FIRST_ROOM)).unwrap_or_default();
    let mut data = Vec::with_capacity(room);
    entry.read_to_end(&mut data).map_err(broken)?;
    if data.len() as u64 != entry.size() {
        return Err(Error::archive(format!("is cut short inside {path:?}")));
    }
    Ok(Some((kind, data)))
}

/// Reads what follows the end marker, which cannot be much.
pub(super) fn read_behind(rest: impl Read) -> Result<(), Error> {
    let mut rest = rest.take(MAX_BYTES_BEHIND + 1);
    if io::copy(&mut rest, &mut io::sink()).map_err(broken)? > MAX_BYTES_BEHIND {
        return Err(Error::archive(format!(
            "goes on behind its end marker; at most {MAX_BYTES_BEHIND} bytes may follow"
        )));
    }
    Ok(())
}

fn check_format(data: &[u8]) -> Result<String, Error> {
    let version = String::from_utf8_lossy(data).trim().to_owned();
    if version == "1" || version.split('.').next() == Some("1") {
        return Ok(version);
    }
    Err(Error::archive(format!(
        "has format version {version:?}; 1 and 1.1.0 are known"
    )))
}

pub(super) fn broken(source: io::Error) -> Error {
    let reason = match source.kind() {
        io::ErrorKind::UnexpectedEof => "is cut short",
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            "is corrupt: it is no gzip-compressed tar stream"
        }
        _ => "cannot be read",
    };
    Error::Archive {
        reason: reason.into(),
        source: Some(Box::new(source)),
    }
}

/// Notes whether a block of zeros, the mark at the end of a tar stream, has passed by.
struct EndWatch<R> {
    inner: R,
    block: usize,
    zero: bool,
    ended: bool,
}

impl<R> EndWatch<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            block: 0,
            zero: true,
            ended: false,
        }
    }
}

impl<R: Read> Read for EndWatch<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        let mut rest = &buf[..n];
        while !rest.is_empty() {
            let take = rest.len().min(512 - self.block);
            self.zero &= rest[..take].iter().all(|b| *b == 0);
            self.block += take;
            rest = &rest[take..];
            if self.block == 512 {
                self.ended = self.zero;
                (self.block, self.zero) = (0, true);
            }
        }
        Ok(n)
    }
}
