//! Where files of a restore go that its store does not take.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use futures::future::{BoxFuture, FutureExt as _};
use velero_persistence::{Artifact, BackupStore};

/// What has taken the files of a restore.
#[derive(Debug, Clone)]
pub(super) enum Kept {
    /// Its store.
    InStore,
    /// Another one.
    Apart(BackupStore),
    /// Nothing: they are told in the log of the process alone.
    Nowhere,
}

type Open = dyn Fn() -> BoxFuture<'static, Option<BackupStore>> + Send + Sync;

/// Takes files of one restore that its store does not take, such as one that is read-only, and knows which.
pub struct Spare {
    open: Box<Open>,
    names: Mutex<BTreeSet<String>>,
}

impl fmt::Debug for Spare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spare")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl Spare {
    /// One that keeps them in the store that `open` gives, which is asked for when it is needed.
    pub fn new<F>(open: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Option<BackupStore>> + Send + 'static,
    {
        Self {
            open: Box::new(move || open().boxed()),
            names: Mutex::default(),
        }
    }

    /// The names of the files that it has taken, without their folders.
    pub fn names(&self) -> Vec<String> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.iter().cloned().collect()
    }

    /// The store, if there is one.
    pub(super) async fn open(&self) -> Option<BackupStore> {
        (self.open)().await
    }

    /// Notes that it has a file.
    pub(super) fn note(&self, artifact: &Artifact) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(artifact.file_name().to_owned());
    }
}
