//! `velero repo get`.

use jiff::Timestamp;
use velero_core::api::BackupRepository;

use super::ages;
use super::listed::{GetObjects, Listed};

/// `repo get`.
pub(super) type GetRepository = GetObjects<BackupRepository>;

impl Listed for BackupRepository {
    const NOUN: &'static str = "backup repository";
    const HEADINGS: &'static [&'static str] = &["name", "status", "last maintenance"];

    fn cells(&self, _now: Timestamp) -> Vec<String> {
        vec![
            self.metadata.name.clone().unwrap_or_default(),
            self.phase().to_string(),
            ages::local(self.status.last_maintenance_time.as_ref(), "<never>"),
        ]
    }
}
