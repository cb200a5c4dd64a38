#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod artifacts;

mod actions;
mod engine;
mod error;
mod invoke;
mod lister;
mod plan;
mod prepare;
mod related;
mod request;
mod result;
mod run;
mod seen;
mod sink;
mod unsupported;
mod volumes;
mod writer;

pub use actions::{PersistentVolumeClaimAction, PodAction, ServiceAccountAction};
pub use engine::{BackupEngine, BackupOptions, BackupRun};
pub use error::{Error, ErrorKind};
pub use prepare::{PrepareDefaults, prepare};
pub use request::BackupRequest;
pub use result::BackupResult;
pub use sink::{ArchiveChunks, ArchiveSink, ChannelSink, archive_channel};

pub use velero_cluster::{self, Cluster};
pub use velero_core::{self, kube};
