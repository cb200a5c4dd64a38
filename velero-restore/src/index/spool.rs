//! Where the items of an archive lie while a restore runs.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use crate::Error;

/// Bytes of items that are compressed together.
const BLOCK_BYTES: usize = 256 << 10;
/// Blocks that are kept as they were last read.
const CACHED_BLOCKS: usize = 8;
/// Blocks bigger than this are not kept.
const LARGEST_CACHED: usize = 4 << 20;

/// Where one item lies in a [`Spool`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Location {
    block: u32,
    offset: u32,
    len: u32,
}

impl Location {
    /// Size of the item in bytes.
    pub fn len(self) -> usize {
        self.len as usize
    }

    /// Whether the item has no bytes.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

#[derive(Debug, Clone, Copy)]
struct Block {
    at: u64,
    compressed: u32,
    plain: u32,
}

#[derive(Debug)]
enum Store {
    Memory(Vec<u8>),
    File(File),
}

/// Writes items into a spool, each once.
#[derive(Debug)]
pub(crate) struct SpoolWriter {
    current: Vec<u8>,
    blocks: Vec<Block>,
    store: Store,
    len: u64,
    memory: usize,
    folder: PathBuf,
}

impl SpoolWriter {
    pub(crate) fn new(dir: Option<&Path>, memory: usize) -> Self {
        Self {
            current: Vec::with_capacity(BLOCK_BYTES),
            blocks: Vec::new(),
            store: Store::Memory(Vec::new()),
            len: 0,
            memory,
            folder: dir.map_or_else(std::env::temp_dir, Path::to_owned),
        }
    }

    pub(crate) fn append(&mut self, data: &[u8]) -> Result<Location, Error> {
        if !self.current.is_empty() && self.current.len() + data.len() > BLOCK_BYTES {
            self.flush()?;
        }
        let location = Location {
            block: narrow(self.blocks.len()),
            offset: narrow(self.current.len()),
            len: narrow(data.len()),
        };
        self.current.extend_from_slice(data);
        Ok(location)
    }

    pub(crate) fn finish(mut self) -> Result<Spool, Error> {
        self.flush()?;
        Ok(Spool {
            store: Mutex::new(self.store),
            blocks: self.blocks,
            cache: Mutex::default(),
            bytes: self.len,
            folder: self.folder,
        })
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.current.is_empty() {
            return Ok(());
        }
        let mut encoder = DeflateEncoder::new(
            Vec::with_capacity(self.current.len() / 4),
            Compression::fast(),
        );
        let packed = encoder
            .write_all(&self.current)
            .and_then(|()| encoder.finish())
            .map_err(Error::spool("write", &self.folder))?;
        self.blocks.push(Block {
            at: self.len,
            compressed: narrow(packed.len()),
            plain: narrow(self.current.len()),
        });
        self.store(&packed)?;
        self.len += packed.len() as u64;
        self.current.clear();
        self.current.shrink_to(BLOCK_BYTES);
        Ok(())
    }

    fn store(&mut self, packed: &[u8]) -> Result<(), Error> {
        if let Store::Memory(held) = &mut self.store {
            if held.len() + packed.len() <= self.memory {
                held.extend_from_slice(packed);
                return Ok(());
            }
            let mut file = tempfile::tempfile_in(&self.folder)
                .map_err(Error::spool("create", &self.folder))?;
            file.write_all(held)
                .map_err(Error::spool("write", &self.folder))?;
            self.store = Store::File(file);
        }
        match &mut self.store {
            Store::File(file) => file
                .write_all(packed)
                .map_err(Error::spool("write", &self.folder)),
            Store::Memory(_) => Ok(()),
        }
    }
}

/// Items are far below 4 GiB; a reader refuses larger ones long before.
fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The items of an archive in compressed blocks: in memory while small, else in one temporary file without a name.
#[derive(Debug)]
pub struct Spool {
    store: Mutex<Store>,
    blocks: Vec<Block>,
    cache: Mutex<VecDeque<(u32, Arc<Vec<u8>>)>>,
    bytes: u64,
    folder: PathBuf,
}

impl Spool {
    /// Compressed size in bytes.
    pub fn compressed_bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the items lie in a file.
    pub fn is_on_disk(&self) -> bool {
        matches!(
            *self.store.lock().unwrap_or_else(PoisonError::into_inner),
            Store::File(_)
        )
    }

    /// Reads an item if its block is at hand without IO.
    pub(crate) fn cached(&self, location: Location) -> Option<Bytes> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let at = cache
            .iter()
            .position(|(block, _)| *block == location.block)?;
        let entry = cache.remove(at)?;
        let bytes = cut(&entry.1, location);
        cache.push_back(entry);
        bytes
    }

    /// Reads an item. Blocks: belongs on a thread that may.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub fn read(&self, location: Location) -> Result<Bytes, Error> {
        if let Some(bytes) = self.cached(location) {
            return Ok(bytes);
        }
        let block = Arc::new(self.block(location.block)?);
        let bytes = cut(&block, location)
            .ok_or_else(|| self.damaged("it is shorter than it was when written"))?;
        if block.len() <= LARGEST_CACHED {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            if cache.len() >= CACHED_BLOCKS {
                cache.pop_front();
            }
            cache.push_back((location.block, block));
        }
        Ok(bytes)
    }

    fn block(&self, number: u32) -> Result<Vec<u8>, Error> {
        let block = *self
            .blocks
            .get(number as usize)
            .ok_or_else(|| self.damaged("it has no such block"))?;
        let mut plain = Vec::with_capacity(block.plain as usize);
        let packed = self.packed(block)?;
        DeflateDecoder::new(packed.as_slice())
            .read_to_end(&mut plain)
            .map_err(Error::spool("read", &self.folder))?;
        Ok(plain)
    }

    fn damaged(&self, what: &'static str) -> Error {
        let cause = std::io::Error::new(std::io::ErrorKind::InvalidData, what);
        Error::spool("read", &self.folder)(cause)
    }

    fn packed(&self, block: Block) -> Result<Vec<u8>, Error> {
        let len = block.compressed as usize;
        match &mut *self.store.lock().unwrap_or_else(PoisonError::into_inner) {
            Store::Memory(held) => {
                let start = usize::try_from(block.at).unwrap_or(usize::MAX);
                let end = start.saturating_add(len);
                held.get(start..end)
                    .map(<[u8]>::to_vec)
                    .ok_or_else(|| self.damaged("a block lies past its end"))
            }
            Store::File(file) => {
                let mut packed = vec![0; len];
                file.seek(SeekFrom::Start(block.at))
                    .and_then(|_| file.read_exact(&mut packed))
                    .map_err(Error::spool("read", &self.folder))?;
                Ok(packed)
            }
        }
    }
}

fn cut(block: &[u8], location: Location) -> Option<Bytes> {
    let start = location.offset as usize;
    block
        .get(start..start.checked_add(location.len())?)
        .map(Bytes::copy_from_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(memory: usize) -> (Spool, Vec<(Location, Vec<u8>)>) {
        let mut writer = SpoolWriter::new(None, memory);
        let mut items = Vec::new();
        for n in 0..3000usize {
            let size = if n == 700 {
                3 * BLOCK_BYTES
            } else {
                10 + (n * 37) % 900
            };
            let data: Vec<u8> = (0..size).map(|b| ((b * 31 + n * 17) % 251) as u8).collect();
            items.push((writer.append(&data).unwrap(), data));
        }
        (writer.finish().unwrap(), items)
    }

    #[test]
    fn items_come_back_from_memory_and_file() {
        for (memory, on_disk) in [(usize::MAX, false), (0, true), (4 << 10, true)] {
            let (spool, items) = filled(memory);
            assert_eq!(spool.is_on_disk(), on_disk);
            for (location, data) in items.iter().rev() {
                assert_eq!(&spool.read(*location).unwrap()[..], &data[..]);
            }
        }
    }

    #[test]
    fn neighbours_are_read_without_io() {
        let (spool, items) = filled(usize::MAX);
        spool.read(items[0].0).unwrap();
        assert_eq!(spool.cached(items[1].0).unwrap(), items[1].1);
        assert!(spool.cached(items[2999].0).is_none());
    }

    #[test]
    fn a_folder_that_is_missing_is_named_in_the_error() {
        let mut writer = SpoolWriter::new(Some(Path::new("/nowhere/at/all")), 0);
        writer.append(b"x").unwrap();
        let error = writer.finish().unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot create the spool in /nowhere/at/all"
        );
    }
}
