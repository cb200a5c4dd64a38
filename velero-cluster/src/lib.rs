#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod call;
mod cancel;
mod client;
mod cluster;
mod contact;
mod discovery;
mod error;
mod exec;
mod hook;
mod limiter;
mod list_body;
mod pages;
mod reader;
mod repeat;
mod silence;
mod status;
mod watch;
mod write;

pub use client::{ClientOptions, client_from, client_with};
pub use cluster::{Cluster, ClusterOptions, ServerVersion};
pub use contact::{NoAnswer, NoAnswerCause};
pub use error::{CallFailure, Error, ErrorKind, Target};
pub use exec::{Captured, ExecError, ExecOptions, ExecOutput};
pub use hook::{HookCommand, HookEnd, HookError};
pub use limiter::{AdaptiveLimiter, LimiterOptions, LimiterStats, Outcome, Permit};
pub use list_body::BadElement;
pub use pages::{ListOptions, ListScope, Page, Pages};
pub use reader::Reader;
pub use watch::{Change, Watch};
pub use write::{DeleteOptions, PatchKind, WriteOptions};

pub use kube;
pub use velero_core;
