//! Claiming a backup's name before the long work of writing it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::backup_store::BackupStore;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{BackupFile, backup_dir, check_name};

/// Lies in the backup's own folder, where the peer passes over what it does not know.
const FILE: &str = "x-velero-reservation.json";
const LIMIT: u64 = 64 << 10;

#[derive(Serialize, Deserialize)]
struct Reservation {
    holder: String,
}

fn key(backup: &str) -> String {
    backup_dir(backup) + FILE
}

/// # Reserving names
///
/// Two writers of one name would mix their files, as only the last file, `velero-backup.json`, is written on condition.
/// So a writer first puts its mark in the folder, on condition that there is none, and removes it at the end. A folder
/// with a mark and without `velero-backup.json` is no backup, to the peer either. After a crash the mark stays: the same
/// holder may go on, anybody else must [break](BackupStore::break_reservation) it.
impl BackupStore {
    /// Claims a name for `holder`, a text that no other writer uses, such as the Backup's UID.
    ///
    /// Succeeds again for the same holder.
    ///
    /// # Errors
    ///
    /// [`Error::BackupExists`] when a complete backup has the name, [`Error::BackupReserved`] when somebody else
    /// is writing it.
    pub async fn reserve(&self, backup: &str, holder: &str) -> Result<()> {
        check_name("backup", backup)?;
        self.refuse_complete(backup).await?;
        let mark = Reservation {
            holder: holder.to_owned(),
        };
        let mark = serde_json::to_vec(&mark).map_err(|source| Error::Encode {
            what: "a reservation".to_owned(),
            source,
        })?;
        match self.put_mark(backup, mark.into()).await {
            Ok(()) => {}
            Err(err) if err.kind() == ErrorKind::AlreadyExists => {}
            Err(err) => return Err(err),
        }
        match self.reservation(backup).await? {
            Some(found) if found == holder => {}
            Some(found) => return Err(self.reserved(backup, found)),
            // The other writer has just finished or given up.
            None => return Err(self.reserved(backup, "a writer that has just ended".to_owned())),
        }
        // Another writer may have finished between the two looks.
        if let Err(err) = self.refuse_complete(backup).await {
            self.release(backup, holder).await?;
            return Err(err);
        }
        Ok(())
    }

    /// Says who holds a name.
    pub async fn reservation(&self, backup: &str) -> Result<Option<String>> {
        check_name("backup", backup)?;
        let key = key(backup);
        let bytes = match self.store().get(&key, LIMIT).await {
            Ok(bytes) => bytes,
            Err(err) if err.is_not_found() => return Ok(None),
            Err(err) => return Err(err),
        };
        let mark: Reservation = serde_json::from_slice(&bytes).map_err(|err| Error::Corrupt {
            store: self.store().describe(),
            key,
            detail: err.to_string(),
        })?;
        Ok(Some(mark.holder))
    }

    /// Gives a name back. One that nobody holds is given back already.
    ///
    /// # Errors
    ///
    /// [`Error::BackupReserved`] when somebody else holds it.
    pub async fn release(&self, backup: &str, holder: &str) -> Result<()> {
        match self.reservation(backup).await? {
            None => Ok(()),
            Some(found) if found == holder => self.store().delete(&key(backup)).await,
            Some(found) => Err(self.reserved(backup, found)),
        }
    }

    /// Removes every file of a backup that is being written, and keeps the claim on its name.
    ///
    /// # Errors
    ///
    /// [`Error::DeleteIncomplete`] with one error for each file that is left.
    pub async fn discard(&self, backup: &str) -> Result<()> {
        check_name("backup", backup)?;
        let (dir, mark) = (backup_dir(backup), key(backup));
        let mut errors = Vec::new();
        let entries = self.store().list(&dir).await?;
        for entry in entries.iter().filter(|entry| entry.key != mark) {
            if let Err(err) = self.store().delete(&entry.key).await {
                errors.push(err);
            }
        }
        if errors.is_empty() {
            return Ok(());
        }
        Err(Error::DeleteIncomplete {
            store: self.store().describe(),
            prefix: dir,
            attempted: entries.len(),
            errors,
        })
    }

    /// Removes a reservation, whoever holds it. For one whose holder is known to be gone.
    pub async fn break_reservation(&self, backup: &str) -> Result<()> {
        check_name("backup", backup)?;
        self.store().delete(&key(backup)).await
    }

    async fn refuse_complete(&self, backup: &str) -> Result<()> {
        if self.backup_exists(backup).await? {
            return Err(self.exists_error(backup));
        }
        Ok(())
    }

    async fn put_mark(&self, backup: &str, mark: Bytes) -> Result<()> {
        let key = key(backup);
        match self.store().put_if_absent(&key, mark.clone()).await {
            // Servers without conditional writes: as good as looking first can be.
            Err(err) if err.kind() == ErrorKind::Unsupported => {
                if !self.store().exists(&key).await? {
                    self.store().put(&key, mark).await?;
                }
                Ok(())
            }
            other => other,
        }
    }

    fn reserved(&self, backup: &str, holder: String) -> Error {
        Error::BackupReserved {
            store: self.store().describe(),
            backup: backup.to_owned(),
            holder,
        }
    }

    pub(crate) fn exists_error(&self, backup: &str) -> Error {
        Error::BackupExists {
            store: self.store().describe(),
            backup: backup.to_owned(),
        }
    }

    /// Writes `velero-backup.json` on condition that it is absent.
    pub(crate) async fn create_metadata(&self, backup: &str, json: Bytes) -> Result<()> {
        let artifact = BackupFile::Metadata.of(backup);
        match self
            .store()
            .put_if_absent(artifact.key(), json.clone())
            .await
        {
            Err(err) if err.kind() == ErrorKind::AlreadyExists => Err(self.exists_error(backup)),
            Err(err) if err.kind() == ErrorKind::Unsupported => {
                self.refuse_complete(backup).await?;
                self.store().put(artifact.key(), json).await
            }
            other => other,
        }
    }
}
