//! Writing an archive.

use std::io::{self, Write};

use flate2::{Compression, GzBuilder, write::GzEncoder};

use super::{FORMAT_VERSION, ItemPath, VERSION_PATH, VersionDir};
use crate::Error;

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
    tar: tar::Builder<GzEncoder<W>>,
    mtime: u64,
}

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
        let gzip = GzBuilder::new().write(sink, Compression::new(options.level));
        let mut writer = Self {
            tar: tar::Builder::new(gzip),
            mtime: options.mtime,
        };
        writer.entry(VERSION_PATH, format!("{FORMAT_VERSION}\n").as_bytes())?;
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

    /// Writes the end of the archive and gives the sink back.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn finish(self) -> Result<W, Error> {
        self.tar
            .into_inner()
            .and_then(GzEncoder::finish)
            .map_err(failed)
    }

    fn entry(&mut self, path: &str, data: &[u8]) -> Result<(), Error> {
        let mut header = self.header(data.len());
        if set_ustar_path(&mut header, path) {
            header.set_cksum();
            return self.tar.append(&header, data).map_err(failed);
        }
        // Names that no ustar header holds go into a pax record, as Go's writer does; the header keeps their end.
        self.tar
            .append_pax_extensions([("path", path.as_bytes())])
            .map_err(failed)?;
        let mut cut = path.len().saturating_sub(90);
        while !path.is_char_boundary(cut) {
            cut += 1;
        }
        let short = path[cut..].trim_start_matches('/');
        set_ustar_path(&mut header, short);
        header.set_cksum();
        self.tar.append(&header, data).map_err(failed)
    }

    /// Mode 0755 on files: the peer's extractor gives each entry's mode to the folders it makes for it.
    fn header(&self, size: usize) -> tar::Header {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.mtime);
        header.set_size(size as u64);
        header
    }
}

fn set_ustar_path(header: &mut tar::Header, path: &str) -> bool {
    path.is_ascii() && header.set_path(path).is_ok()
}

fn failed(source: io::Error) -> Error {
    Error::Io {
        operation: "writing the archive",
        source,
    }
}
