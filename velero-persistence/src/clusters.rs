//! Which clusters write to a store: one small file each, below `metadata/`, which Velero leaves alone.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use velero_core::Timestamp;

use crate::backup_store::BackupStore;
use crate::error::{Error, Result};

/// How the files are named.
const PREFIX: &str = "metadata/";
const FILE: &str = "x-velero-cluster-";
const END: &str = ".json";
/// Most bytes of one.
const LIMIT: u64 = 4096;

/// A cluster that writes to a store, and when it last said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterMark {
    /// The cluster: the uid of its namespace `kube-system`.
    pub cluster: String,
    /// When an operator of it was last there.
    pub seen: Timestamp,
}

impl BackupStore {
    /// Says that a cluster writes to this store.
    ///
    /// # Errors
    /// [`Error::InvalidName`] when the cluster's name is none of letters, digits and `-`; and as the store.
    pub async fn mark_cluster(&self, mark: &ClusterMark) -> Result<()> {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if mark.cluster.is_empty() || !mark.cluster.chars().all(good) {
            return Err(Error::InvalidName {
                what: "cluster identifier",
                value: mark.cluster.clone(),
                expected: "letters, digits and \"-\", and at least one of them",
            });
        }
        let bytes = serde_json::to_vec(mark).map_err(|error| Error::Store {
            store: self.store().describe(),
            operation: "write the mark of a cluster".to_owned(),
            detail: error.to_string(),
            retryable: false,
        })?;
        let key = format!("{PREFIX}{FILE}{}{END}", mark.cluster);
        self.store().put(&key, Bytes::from(bytes)).await
    }

    /// The clusters that have said that they write to this store. Files that cannot be understood are passed over.
    ///
    /// # Errors
    /// As the store.
    pub async fn clusters(&self) -> Result<Vec<ClusterMark>> {
        let mut marks = Vec::new();
        for entry in self.store().list(PREFIX).await? {
            let name = entry.key.rsplit('/').next().unwrap_or_default();
            if !name.starts_with(FILE) || !name.ends_with(END) {
                continue;
            }
            let bytes = match self.store().get(&entry.key, LIMIT).await {
                Ok(bytes) => bytes,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            };
            match serde_json::from_slice(&bytes) {
                Ok(mark) => marks.push(mark),
                Err(error) => {
                    tracing::warn!(key = entry.key, %error, "the mark of a cluster cannot be read")
                }
            }
        }
        Ok(marks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Location;

    #[tokio::test]
    async fn clusters_are_known_by_their_marks() {
        let location = Location::from_url("memory://clusters").unwrap();
        let store = BackupStore::open(&location).await.unwrap();
        assert_eq!(store.clusters().await.unwrap(), []);
        let mark = |cluster: &str, second: i64| ClusterMark {
            cluster: cluster.to_owned(),
            seen: Timestamp::from_second(second).unwrap(),
        };
        for (cluster, second) in [("b-2", 1), ("a", 2), ("b-2", 3)] {
            store.mark_cluster(&mark(cluster, second)).await.unwrap();
        }
        for (key, text) in [
            ("metadata/revision", "7"),
            ("metadata/x-velero-cluster-c.json", "{"),
        ] {
            store.store().put(key, text.into()).await.unwrap();
        }
        assert_eq!(
            store.clusters().await.unwrap(),
            [mark("a", 2), mark("b-2", 3)]
        );
        assert_eq!(store.list_backups().await.unwrap(), [""; 0]);
        store.validate().await.unwrap();
        for cluster in ["", "../a", "a/b"] {
            assert!(
                store.mark_cluster(&mark(cluster, 1)).await.is_err(),
                "{cluster:?}"
            );
        }
    }
}
