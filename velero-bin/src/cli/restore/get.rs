//! `velero restore get`.

use jiff::Timestamp;
use velero_core::api::Restore;

use super::super::ages;
use super::super::listed::{GetObjects, Listed, selector_cell};

/// `restore get`.
pub(in crate::cli) type GetRestore = GetObjects<Restore>;

impl Listed for Restore {
    const NOUN: &'static str = "restore";
    const HEADINGS: &'static [&'static str] = &[
        "name",
        "backup",
        "status",
        "started",
        "completed",
        "errors",
        "warnings",
        "created",
        "selector",
    ];

    fn cells(&self, _now: Timestamp) -> Vec<String> {
        let status = &self.status;
        let deleting = if self.metadata.deletion_timestamp.is_some() {
            " (Deleting)"
        } else {
            ""
        };
        vec![
            self.metadata.name.clone().unwrap_or_default(),
            self.spec.backup_name.clone(),
            format!("{}{deleting}", self.phase()),
            ages::local(status.start_timestamp.as_ref(), "<nil>"),
            ages::local(status.completion_timestamp.as_ref(), "<nil>"),
            status.errors.to_string(),
            status.warnings.to_string(),
            ages::local(self.metadata.creation_timestamp.as_ref(), "<nil>"),
            selector_cell(self.spec.label_selector.as_ref()),
        ]
    }
}
