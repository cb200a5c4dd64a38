//! What is looked through for objects that a backup does not have, and what is found.

use std::sync::Arc;

use tokio::sync::mpsc;
use velero_cluster::Cluster;
use velero_core::result::Record;
use velero_core::{ApiResource, CancellationToken, Catalog};

use crate::RestoreRequest;
use crate::apply::Run;
use crate::verify::Finding;

/// What is looked through.
pub(crate) struct Search<'a> {
    /// A cluster that writes nothing.
    pub(crate) cluster: &'a Cluster,
    pub(crate) request: &'a RestoreRequest,
    /// The look at the items, which has the archive.
    pub(crate) run: &'a Run,
    /// What the cluster serves.
    pub(crate) catalog: &'a Catalog,
    pub(crate) cancel: &'a CancellationToken,
    pub(crate) findings: mpsc::Sender<Finding>,
}

/// An object that is to be deleted.
#[derive(Debug, Clone)]
pub(crate) struct Unwanted {
    pub(super) resource: Arc<ApiResource>,
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
    pub(super) uid: Box<str>,
    pub(super) version: Box<str>,
    /// A digest of what it says.
    pub(super) content: Box<str>,
    /// What goes with it, in words.
    pub(super) goes_with_it: &'static str,
    /// Whether it may be there for some time after its deletion.
    pub(super) is_slow: bool,
}

/// What a search has found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// What is to be deleted, in this order.
    pub(crate) unwanted: Vec<Unwanted>,
    /// Where nobody has looked, and why; and what stays although it should not.
    pub(crate) notes: Vec<Record>,
}
