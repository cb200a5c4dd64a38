#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod action;
pub mod api;
pub mod archive;
pub mod artifact;
pub mod filter;
pub mod hook;
pub mod modifier;
pub mod names;
pub mod operation;
pub mod plan;
pub mod policy;
pub mod result;
pub mod volume;

mod catalog;
mod cron;
mod duration;
mod error;
mod go_json;
mod ident;
mod item;
mod progress;
mod quantity;
mod selector;
mod tree;
mod walk;

pub use catalog::{ApiResource, Catalog, DiscoveryFailure, Verbs};
pub use cron::Cron;
pub use duration::{DurationRangeError, GoDuration, ParseDurationError};
pub use error::{Error, ErrorKind};
pub use go_json::{to_pretty_vec as to_go_json_pretty, to_vec as to_go_json};
pub use ident::{GroupResource, ItemKey, ResourceIdentifier};
pub use item::{ItemHead, OwnerRef, RawItem};
pub use progress::{NoProgress, Progress, ProgressUpdate};
pub use quantity::Quantity;
pub use selector::{Operator, Requirement, Selector, SelectorSet};
pub use tree::ItemTree;

pub use jiff::Timestamp;
pub use k8s_openapi;
pub use kube;
pub use tokio_util::sync::CancellationToken;
