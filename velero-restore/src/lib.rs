#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod actions;
pub mod artifacts;

mod apply;
mod bridge;
mod compare;
mod deletion;
mod engine;
mod error;
mod filters;
mod globs;
mod guard;
mod homes;
mod hooks;
mod index;
mod journal;
mod merge_account;
mod mirror;
mod nearest;
mod operations;
mod options;
mod ownership;
mod plan;
mod policy;
mod priorities;
mod provided;
mod relink;
mod request;
mod reset;
mod result;
mod unmatched;
mod unserved;
mod update_patch;
mod validate;
mod verify;
mod versions;
mod volumes;

pub use bridge::{ArchivePieces, ArchiveSender, archive_channel};
pub use deletion::{DeletionPass, DeletionResult};
pub use engine::{RestoreEngine, RestoreRun};
pub use error::{Error, ErrorKind};
pub use filters::NEVER_RESTORED;
pub use hooks::{HookJournal, HookKeeper, RunningHooks};
pub use index::{ArchiveIndex, Facts, Fault, IndexedItem, Location, Spool};
pub use journal::{Journal, JournalEntries, JournalError};
pub use mirror::{BackedUp, KindRead, MIRROR_NEEDS_PLAN};
pub use operations::{phase_after_items, phase_at_the_end};
pub use options::RestoreOptions;
pub use plan::plan;
pub use policy::{EXISTING_RESOURCE_POLICY, ExistingPolicy, RELINK_OWNERS};
pub use priorities::Priorities;
pub use request::RestoreRequest;
pub use result::{Counts, ItemAction, OwnerCounts, RestoreResult};
pub use validate::{BRING_DEFINITIONS, BRING_SERVICE_ACCOUNTS, modifier_config_map, validate};
pub use verify::{ExpectedPlan, Finding, Verified};
pub use versions::VersionPriorities;
pub use volumes::{BackupVolumes, NewVolume, NewVolumes};

pub use velero_cluster::{self, Cluster};
pub use velero_core::{self, kube};
