#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod artifacts;
#[cfg(doc)]
#[doc = include_str!("../GUIDE.md")]
pub mod guide {}

mod actions;
mod beyond;
mod block_run;
mod blocks;
mod coverage;
mod definitions;
mod dry_run;
mod engine;
mod error;
mod finalize;
mod guard;
mod held;
mod hooks;
mod inputs;
mod invoke;
mod lister;
mod namespaces;
mod operations;
mod ordered;
mod output;
mod plan;
mod pod_facts;
mod prepare;
mod prepared;
mod reach;
mod related;
mod request;
mod result;
mod run;
mod seen;
mod sink;
mod unmatched;
mod unsupported;
mod volume;
mod volume_groups;
mod writer;

pub use actions::{
    CrdVersionAction, PersistentVolumeClaimAction, PodAction, ServiceAccountAction, built_in_names,
};
pub use coverage::{Coverage, KindCoverage, LeftOut, Reading};
pub use dry_run::DryRun;
pub use engine::{BackupEngine, BackupOptions, BackupRun, Noted};
pub use error::{Error, ErrorKind};
pub use finalize::{ArchiveBase, FinalizeResult};
pub use inputs::{RequestInputs, policy_config_map};
pub use namespaces::{LiveNamespaces, live_namespaces};
pub use prepare::{PrepareDefaults, prepare};
pub use request::BackupRequest;
pub use result::BackupResult;
pub use sink::{ArchiveChunks, ArchiveSink, ChannelSink, archive_channel};

pub use velero_cluster::{self, Cluster};
pub use velero_core::operation::OperationCounts;
pub use velero_core::{self, kube};
