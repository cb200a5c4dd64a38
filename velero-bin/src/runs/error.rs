//! Why a run could not go on.

/// What kind of failure a [`RunError`] is, for callers that branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunErrorKind {
    /// What is asked for cannot be done: the spec is at fault.
    Validation,
    /// A backup or restore of that name is in the store already.
    AlreadyExists,
    /// The backup is not in the store.
    NotFound,
    /// The run was cancelled.
    Cancelled,
    /// Another process works on it by now.
    TakenOver,
    /// The store failed.
    Store,
    /// The API server or the engine failed.
    Cluster,
}

/// Why a run could not go on. Faults of single items are records of the result, not errors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The spec is at fault.
    #[error("{}", .0.join("; "))]
    Validation(Vec<String>),
    /// A backup or restore of that name is in the store already.
    #[error("{what} {name:?} exists already in {store}; choose another name")]
    AlreadyExists {
        /// `backup` or `restore`, and what else is known of it.
        what: &'static str,
        /// Its name.
        name: String,
        /// The store.
        store: String,
    },
    /// The backup is not in the store.
    #[error("there is no backup {name:?} in {store}")]
    BackupNotFound {
        /// Its name.
        name: String,
        /// The store.
        store: String,
    },
    /// Another run has taken the name while this one was writing; what lies in the store is the other's.
    #[error("the run was stopped")]
    ClaimLost(#[source] velero_persistence::Error),
    /// The metadata of the backup is no Backup.
    #[error("the metadata of backup {name:?} is damaged")]
    Metadata {
        /// Its name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The metadata of the backup does not have its form.
    #[error("the metadata of backup {name:?} is damaged")]
    Document {
        /// Its name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: velero_core::api::DocumentError,
    },
    /// The run was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// Another process has taken the restore over while this one was stopped or cut off; the end is the other's to tell.
    #[error("another process has taken the restore over")]
    TakenOver,
    /// The store failed.
    #[error("cannot {operation}")]
    Store {
        /// What was being done.
        operation: &'static str,
        /// The cause.
        #[source]
        source: velero_persistence::Error,
    },
    /// The API server failed.
    #[error("cannot use the cluster")]
    Cluster(#[source] velero_cluster::Error),
    /// The backup engine failed.
    #[error("the backup cannot go on")]
    Backup(#[source] velero_backup::Error),
    /// The restore engine failed.
    #[error("the restore cannot go on")]
    Restore(#[source] velero_restore::Error),
    /// The ConfigMap that says in which versions objects are wanted cannot be read.
    #[error("cannot read which API versions are wanted")]
    Versions(#[source] velero_core::action::ActionError),
    /// The run's log could not be written.
    #[error("cannot write the log")]
    Log(#[source] std::io::Error),
}

impl RunError {
    /// The kind of this failure.
    pub fn kind(&self) -> RunErrorKind {
        match self {
            Self::Validation(_) => RunErrorKind::Validation,
            Self::AlreadyExists { .. } => RunErrorKind::AlreadyExists,
            Self::BackupNotFound { .. } => RunErrorKind::NotFound,
            Self::Cancelled => RunErrorKind::Cancelled,
            Self::TakenOver => RunErrorKind::TakenOver,
            Self::Store { .. }
            | Self::Log(_)
            | Self::Metadata { .. }
            | Self::Document { .. }
            | Self::ClaimLost(_) => RunErrorKind::Store,
            Self::Cluster(_) | Self::Backup(_) | Self::Restore(_) | Self::Versions(_) => {
                RunErrorKind::Cluster
            }
        }
    }

    /// Whether the same can succeed when it is done again.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store { source, .. } => source.is_retryable(),
            Self::Cluster(source) => source.is_retryable(),
            Self::Backup(source) => source.is_retryable(),
            _ => false,
        }
    }

    /// The error and its causes in one line.
    pub fn chain(&self) -> String {
        velero_core::result::chain(self)
    }

    pub(super) fn backup_exists(name: &str, store: &velero_persistence::BackupStore) -> Self {
        Self::AlreadyExists {
            what: "backup",
            name: name.to_owned(),
            store: store.store().describe(),
        }
    }

    pub(super) fn store(operation: &'static str) -> impl FnOnce(velero_persistence::Error) -> Self {
        move |source| Self::Store { operation, source }
    }
}
