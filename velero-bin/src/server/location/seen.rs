//! The locations as the server last saw them, for those who look at all of them again and again.

use std::sync::{Arc, Mutex, PoisonError};

use velero_core::api::BackupStorageLocation;

/// The locations as the server last saw them. A cheap clone; clones share the list.
///
/// Every change of a location brings a new list.
#[derive(Debug, Clone, Default)]
pub(in crate::server) struct SeenLocations(Arc<Mutex<Arc<[BackupStorageLocation]>>>);

impl SeenLocations {
    /// All of them.
    pub(in crate::server) fn get(&self) -> Arc<[BackupStorageLocation]> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set(&self, locations: &[BackupStorageLocation]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = locations.into();
    }

    /// Takes one off that is gone.
    pub(super) fn remove(&self, name: &str) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_left = |l: &&BackupStorageLocation| l.metadata.name.as_deref() != Some(name);
        *seen = seen.iter().filter(is_left).cloned().collect();
    }
}
