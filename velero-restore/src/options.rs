//! How a restore runs.

use std::path::PathBuf;
use std::time::Duration;

/// How a restore runs. The defaults are those of a Velero server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreOptions {
    /// How long to wait for a CustomResourceDefinition to be served, and for additional items of an action that
    /// names no time of its own. Ten minutes.
    pub resource_timeout: Duration,
    /// How long to wait for a namespace, claim or volume that is being deleted to be gone. Ten minutes.
    pub terminating_timeout: Duration,
    /// How long one call of an action may take. Ten minutes.
    pub action_timeout: Duration,
    /// Time between two looks at something that is waited for. One second.
    pub poll_interval: Duration,
    /// How long the `default` ServiceAccount of a namespace that this run has created may take to appear, before it
    /// is created from the archive. One second.
    pub default_account_timeout: Duration,
    /// Folder of the temporary file that holds the items; the system's folder when absent.
    pub spool_dir: Option<PathBuf>,
    /// Bytes of compressed items that are kept in memory before the temporary file is begun. 16 MiB.
    pub spool_memory: usize,
    /// Most bytes of items that are worked on at the same time. 32 MiB.
    pub bytes_in_flight: usize,
    /// Most items that are worked on at the same time; the cluster's limiter decides how many calls go out. 128.
    pub items_in_flight: usize,
    /// Whether kinds may be restored in another version than the one that the backed up cluster preferred, where the
    /// archive has them in several. `false`; the peer's feature `EnableAPIGroupVersions`.
    pub api_group_versions: bool,
    /// How many objects of a kind, one after another, have to be in the cluster already before the rest of the kind is
    /// compared with a list instead of reading each object. 16; 0 never lists.
    pub list_existing_after: usize,
    /// Whether objects get the owners again that they had, where these are there; the annotation
    /// [`RELINK_OWNERS`](crate::RELINK_OWNERS) of a Restore asks for it as well. `false`: as with the peer, owners are
    /// left out.
    pub relink_owners: bool,
    /// Commands of hooks that may run at the same time; those of one pod run one after the other. 32.
    pub hooks_in_flight: usize,
    /// Namespaces whose pods with hooks are watched at the same time; the pods of others are listed now and then. 16.
    pub hook_watches: usize,
    /// How long an action may take to say how far its operation is; it is asked again the next time. One minute.
    pub progress_timeout: Duration,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        const TEN_MINUTES: Duration = Duration::from_secs(600);
        Self {
            resource_timeout: TEN_MINUTES,
            terminating_timeout: TEN_MINUTES,
            action_timeout: TEN_MINUTES,
            poll_interval: Duration::from_secs(1),
            default_account_timeout: Duration::from_secs(1),
            spool_dir: None,
            spool_memory: 16 << 20,
            bytes_in_flight: 32 << 20,
            items_in_flight: 128,
            api_group_versions: false,
            list_existing_after: 16,
            relink_owners: false,
            hooks_in_flight: 32,
            hook_watches: 16,
            progress_timeout: Duration::from_secs(60),
        }
    }
}

impl RestoreOptions {
    /// Sets how long to wait for CustomResourceDefinitions and additional items.
    #[must_use]
    pub fn resource_timeout(mut self, timeout: Duration) -> Self {
        self.resource_timeout = timeout;
        self
    }

    /// Sets how long to wait for namespaces that are being deleted.
    #[must_use]
    pub fn terminating_timeout(mut self, timeout: Duration) -> Self {
        self.terminating_timeout = timeout;
        self
    }

    /// Sets how long one call of an action may take.
    #[must_use]
    pub fn action_timeout(mut self, timeout: Duration) -> Self {
        self.action_timeout = timeout;
        self
    }

    /// Sets the time between two looks at something that is waited for.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// Sets the folder of the temporary file.
    #[must_use]
    pub fn spool_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.spool_dir = Some(dir.into());
        self
    }

    /// Sets how many bytes of compressed items are kept in memory.
    #[must_use]
    pub fn spool_memory(mut self, bytes: usize) -> Self {
        self.spool_memory = bytes;
        self
    }

    /// Sets whether kinds may be restored in another version than the preferred one of the backed up cluster.
    #[must_use]
    pub fn api_group_versions(mut self, choose: bool) -> Self {
        self.api_group_versions = choose;
        self
    }

    /// Sets how many objects of a kind have to be in the cluster before it is listed; 0 never lists.
    #[must_use]
    pub fn list_existing_after(mut self, objects: usize) -> Self {
        self.list_existing_after = objects;
        self
    }

    /// Sets whether objects get their owners again.
    #[must_use]
    pub fn relink_owners(mut self, relink: bool) -> Self {
        self.relink_owners = relink;
        self
    }
}
