//! What is written: a JSON document.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use velero_core::api::Restore;
use velero_restore::JournalEntries;

use crate::runs::Mark;

/// What is written of a restore under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    /// Tells the restore from others of its name: the uid of the Restore, or what a command was asked for.
    pub(crate) identity: String,
    /// The restore as it was begun, where no cluster knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) restore: Option<Box<Restore>>,
    /// Who works on it. Of a Restore of a cluster it is the holder alone: its signs of life are on the Restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) claim: Option<Mark>,
    #[serde(default)]
    pub(crate) entries: JournalEntries,
}

impl Document {
    pub(super) fn new(identity: String) -> Self {
        Self {
            identity,
            restore: None,
            claim: None,
            entries: JournalEntries::default(),
        }
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes)
            .map_err(|error| format!("the journal of the restore cannot be understood: {error}"))
    }

    pub(super) fn bytes(&self) -> Result<Bytes, String> {
        let bytes = serde_json::to_vec(self);
        bytes.map(Bytes::from).map_err(|error| error.to_string())
    }
}
