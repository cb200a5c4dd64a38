//! Velero's custom resources as Rust types.
//!
//! The types read whatever Velero writes or has written: every field may be absent, `null`, empty or zero, and words that a newer
//! version added to an enum are kept. They write what Go programs write, down to fields that are always there (`"ttl": "0s"`,
//! `"hooks": {}`). Fields that are not known are lost on the way through a type; [`Document`] keeps them.
//!
//! ```
//! use velero_core::api::{Backup, BackupPhase, BackupSpec};
//!
//! let spec = BackupSpec { included_namespaces: vec!["shop".into()], ..Default::default() };
//! let mut backup = Backup::new("velero", "nightly", spec);
//! assert_eq!(*backup.phase(), BackupPhase::New);
//!
//! backup.status.phase = Some(BackupPhase::Completed);
//! let json = serde_json::to_value(&backup)?;
//! assert_eq!(json["apiVersion"], "velero.io/v1");
//! assert_eq!(json["spec"]["ttl"], "0s");
//! # Ok::<(), serde_json::Error>(())
//! ```

pub mod crd;
pub mod merge;
pub mod v1;
pub mod v2alpha1;

mod document;
mod kind;
mod lenient;
pub(crate) mod open_enum;
mod schema;

pub use document::{Document, DocumentError};
pub use kind::{PrinterColumn, VeleroKind};
pub use v1::*;
pub use v2alpha1::*;

pub use k8s_openapi::{
    ByteString,
    api::core::v1::{ObjectReference, SecretKeySelector, TypedLocalObjectReference},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time},
};
