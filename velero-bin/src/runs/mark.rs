//! Who works on something, as others find it written down.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use velero_persistence::ProcessId;

/// What is written down of whoever works on something.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Mark {
    pub(crate) holder: String,
    pub(crate) renewed: Option<Timestamp>,
    pub(crate) lease_seconds: u64,
    pub(crate) process: Option<ProcessId>,
}

impl Mark {
    /// Whether somebody may be behind it.
    pub(crate) fn may_live(&self, now: Timestamp) -> bool {
        if self.process.as_ref().is_some_and(ProcessId::has_ended) {
            return false;
        }
        let lease = Duration::from_secs(self.lease_seconds.min(24 * 3600));
        let expires = self.renewed.map(|renewed| renewed.saturating_add(lease));
        expires.is_some_and(|expires| expires.is_ok_and(|expires| now <= expires))
    }
}
