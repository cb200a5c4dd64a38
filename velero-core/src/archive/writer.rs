//! Writing an archive.

use std::io::{self, Read, Write};

use flate2::{Compression, GzBuilder, read::MultiGzDecoder, write::GzEncoder};
use tar::{EntryType, Header};

use super::reader::{broken, read_behind};
use super::{FORMAT_VERSION, ItemPath, VERSION_PATH, VersionDir};
use crate::Error;

/// The last gzip member of every archive that this crate writes: the two empty blocks that end a tar stream, and nothing
/// else. Always these bytes.
///
/// As the end is a member of its own, items can be added to a finished archive by bytes alone: all but the last
/// [`END_MEMBER`]`.len()` bytes stay, and what [`ArchiveWriter::tail`] writes follows.
pub const END_MEMBER: [u8; 29] = [
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0x63, 0x60, 0x18, 0x05, 0xa3, 0x60,
    0x14, 0x8c, 0x54, 0x00, 0x00, 0x2e, 0xaf, 0xb5, 0xef, 0x00, 0x04, 0x00, 0x00,
];

/// How an archive is written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchiveWriterOptions {
    /// Modification time of every entry, seconds since 1970. The backup's start makes archives repeatable.
    pub mtime: u64,
    /// gzip level from 0 to 9; 6 is the default of gzip and of the peer.
    pub level: u32,
}

impl Default for ArchiveWriterOptions {
    fn default() -> Self {
        Self { mtime: 0, level: 6 }
    }
}

impl ArchiveWriterOptions {
    /// Sets the modification time of every entry.
    #[must_use]
    pub fn mtime(mut self, seconds: u64) -> Self {
        self.mtime = seconds;
        self
    }

    /// Sets the gzip level.
    #[must_use]
    pub fn level(mut self, level: u32) -> Self {
        self.level = level.min(9);
        self
    }
}

/// Writes an archive as a stream: nothing but the compressor's window is held.
///
/// Synchronous: in async programs it runs on a blocking thread. An archive that is dropped before
/// [`ArchiveWriter::finish`] has no end and is refused by readers.
///
/// ```
/// use velero_core::{GroupResource, archive::{ArchiveWriter, ArchiveWriterOptions, ItemPath}};
///
/// let mut archive = ArchiveWriter::new(Vec::new(), ArchiveWriterOptions::default())?;
/// let path = ItemPath::new(GroupResource::core("configmaps"), "shop", "settings");
/// archive.append(&path, "v1", true, br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings"}}"#)?;
/// let bytes = archive.finish()?;
/// assert_eq!(&bytes[..2], &[0x1f, 0x8b]);
/// # Ok::<(), velero_core::Error>(())
/// ```
pub struct ArchiveWriter<W: Write> {
    // Not `tar::Builder`: that one writes the end of the archive when it is dropped.
    gzip: GzEncoder<W>,
    mtime: u64,
}

/// What tar counts in.
const BLOCK: usize = 512;

impl<W: Write> std::fmt::Debug for ArchiveWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArchiveWriter")
            .field("mtime", &self.mtime)
            .finish_non_exhaustive()
    }
}

impl<W: Write> ArchiveWriter<W> {
    /// Begins an archive and writes its `metadata/version`.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn new(sink: W, options: ArchiveWriterOptions) -> Result<Self, Error> {
        let mut writer = Self {
            gzip: GzBuilder::new().write(sink, Compression::new(options.level)),
            mtime: options.mtime,
        };
        writer.entry(VERSION_PATH, format!("{FORMAT_VERSION}\n").as_bytes())?;
        Ok(writer)
    }

    /// Begins a part to put in the place of another archive's [`END_MEMBER`]: items, and the end again.
    ///
    /// What comes out is no archive by itself, as it lacks the `metadata/version`.
    pub fn tail(sink: W, options: ArchiveWriterOptions) -> Self {
        Self {
            gzip: GzBuilder::new().write(sink, Compression::new(options.level)),
            mtime: options.mtime,
        }
    }

    /// Begins an archive with everything that is in another one, to be followed by more: for archives that do not end
    /// with [`END_MEMBER`], those of other writers for instance. Entries are copied as they are, one after the other.
    ///
    /// # Errors
    /// When the other archive is cut short or corrupt, or the sink fails.
    pub fn copy_of<R: Read>(
        archive: R,
        sink: W,
        options: ArchiveWriterOptions,
    ) -> Result<Self, Error> {
        let mut writer = Self::tail(sink, options);
        let mut source = MultiGzDecoder::new(archive);
        loop {
            let mut block = [0; BLOCK];
            source.read_exact(&mut block).map_err(broken)?;
            if block.iter().all(|byte| *byte == 0) {
                break;
            }
            let size = Header::from_byte_slice(&block)
                .entry_size()
                .map_err(broken)?;
            writer.gzip.write_all(&block).map_err(failed)?;
            let padded = size
                .checked_next_multiple_of(BLOCK as u64)
                .ok_or_else(|| Error::archive(format!("has an entry of {size} bytes")))?;
            let copied =
                io::copy(&mut source.by_ref().take(padded), &mut writer.gzip).map_err(broken)?;
            if copied < padded {
                return Err(Error::archive("is cut short inside an entry"));
            }
        }
        // The checksum of the last gzip member is only compared when the stream is read to its end.
        read_behind(&mut source)?;
        Ok(writer)
    }

    /// Writes one item: at its unversioned path and again below `<version>-preferredversion/` when `preferred`,
    /// else only below `<version>/`. `path` must be unversioned.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn append(
        &mut self,
        path: &ItemPath,
        version: &str,
        preferred: bool,
        json: &[u8],
    ) -> Result<(), Error> {
        if preferred {
            self.entry(&path.to_string(), json)?;
            self.entry(
                &path
                    .with_version(VersionDir::Preferred(version.to_owned()))
                    .to_string(),
                json,
            )
        } else {
            self.entry(
                &path
                    .with_version(VersionDir::Other(version.to_owned()))
                    .to_string(),
                json,
            )
        }
    }

    /// Writes the end of the archive, [`END_MEMBER`], and gives the sink back.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn finish(self) -> Result<W, Error> {
        let mut sink = self.gzip.finish().map_err(failed)?;
        sink.write_all(&END_MEMBER).map_err(failed)?;
        Ok(sink)
    }

    fn entry(&mut self, path: &str, data: &[u8]) -> Result<(), Error> {
        let mut header = self.header(EntryType::Regular, data.len());
        if !set_ustar_path(&mut header, path) {
            // Names that no ustar header holds go into a pax record, as Go's writer does; the header keeps their end.
            let record = pax_record("path", path);
            let mut extension = self.header(EntryType::XHeader, record.len());
            set_ustar_path(&mut extension, "PaxHeaders.0/item");
            self.blocks(&mut extension, record.as_bytes())?;
            set_ustar_path(&mut header, &ascii_end(path));
        }
        self.blocks(&mut header, data)
    }

    fn blocks(&mut self, header: &mut Header, data: &[u8]) -> Result<(), Error> {
        header.set_cksum();
        let padding = data.len().next_multiple_of(BLOCK) - data.len();
        self.gzip
            .write_all(header.as_bytes())
            .and_then(|()| self.gzip.write_all(data))
            .and_then(|()| self.gzip.write_all(&[0; BLOCK][..padding]))
            .map_err(failed)
    }

    /// Mode 0755 on files: the peer's extractor gives each entry's mode to the folders it makes for it.
    fn header(&self, entry_type: EntryType, size: usize) -> Header {
        let mut header = Header::new_ustar();
        header.set_entry_type(entry_type);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.mtime);
        header.set_size(size as u64);
        header
    }
}

/// One pax record: its own length in decimal, a space, `key=value` and a line end.
fn pax_record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let mut digits = 1;
    while (rest + digits).to_string().len() > digits {
        digits += 1;
    }
    format!("{} {key}={value}\n", rest + digits)
}

/// The end of a path that is too long or not plain, in a form that fits a header.
fn ascii_end(path: &str) -> String {
    let plain: String = path
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { '_' })
        .collect();
    plain[plain.len().saturating_sub(90)..]
        .trim_start_matches('/')
        .to_owned()
}

fn set_ustar_path(header: &mut Header, path: &str) -> bool {
    path.is_ascii() && header.set_path(path).is_ok()
}

fn failed(source: io::Error) -> Error {
    Error::Io {
        operation: "writing the archive",
        source,
    }
}
