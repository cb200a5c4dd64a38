#![doc = include_str!("../README.md")]

mod backend;
mod backup_store;
mod bounded;
mod checksum;
mod clusters;
mod codec;
mod deletion;
mod error;
#[cfg(test)]
mod fake_http;
mod filesystem;
mod fs_tree;
mod key;
pub mod layout;
mod location;
mod options;
mod process;
mod reader;
mod remote;
mod remote_error;
mod reservation;
mod s3_transport;
mod s3_uploads;
mod signed_transport;
mod silence;
mod store;
mod transport;
mod writer;

pub use backend::{ObjectBackend, ObjectEntry, PutMode, UploadBackend};
pub use backup_store::BackupStore;
pub use clusters::ClusterMark;
pub use deletion::Deleted;
pub use error::{Error, ErrorKind, Result};
pub use layout::{Artifact, BackupFile, RestoreFile};
pub use location::{Environment, Location, LocationConfig};
pub use options::StoreOptions;
pub use process::ProcessId;
pub use reader::{BlockingReader, ObjectReader};
pub use reservation::{Claimant, Reservation};
pub use store::ObjectStore;
pub use writer::{BlockingWriter, ObjectWriter};
