//! Velero's archive format: one gzip-compressed tar stream of JSON objects.
//!
//! `metadata/version` comes first. Each item lies at `resources/<resource.group>/` followed by `cluster/` or
//! `namespaces/<namespace>/` and `<name>.json`; an item of the preferred version is stored a second time below
//! `<version>-preferredversion/`, one of another version only below `<version>/`. Mirrors upstream's `pkg/archive`.
//!
//! An archive may hold an item twice: of two entries with one path the later one counts, here as with the peer, whose
//! extractor writes the second over the first. So a changed item is added at the end ([`END_MEMBER`]).

mod long_names;
mod path;
mod reader;
mod writer;

pub use path::{ItemPath, VersionDir};
pub use reader::{ArchiveReader, EntryKind, MAX_ENTRY_BYTES};
pub use writer::{ArchiveWriter, ArchiveWriterOptions, END_MEMBER};

/// The format version that this crate writes.
pub const FORMAT_VERSION: &str = "1.1.0";

pub(crate) const VERSION_PATH: &str = "metadata/version";
