//! Claiming a backup's name before the long work of writing it.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use velero_core::Timestamp;

use crate::backup_store::BackupStore;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{BackupFile, backup_dir, check_name};
use crate::process::ProcessId;

/// Lies in the backup's own folder, where the peer passes over what it does not know.
const FILE: &str = "x-velero-reservation.json";
const LIMIT: u64 = 64 << 10;
/// Looks at a mark that changes between reading and replacing it.
const ATTEMPTS: usize = 4;

/// Who claims a name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claimant {
    /// A text that no other writer uses: two servers that work on one Backup are two writers, so its UID alone is none.
    pub holder: String,
    /// Longest time without a sign of life ([`Reservation::renew`]) before others may take the name; 10 min.
    ///
    /// Clocks of writers must agree better than that.
    pub lease: Duration,
    /// The process that writes; the present one. Others on the same machine take the name as soon as it has ended.
    pub process: Option<ProcessId>,
}

impl Claimant {
    /// The present process, under a name of its own.
    pub fn new(holder: impl Into<String>) -> Self {
        Self {
            holder: holder.into(),
            lease: Duration::from_secs(600),
            process: Some(ProcessId::current()),
        }
    }

    /// Sets the longest time without a sign of life.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets the process that writes; without one, the lease alone decides.
    #[must_use]
    pub fn process(mut self, process: Option<ProcessId>) -> Self {
        self.process = process;
        self
    }

    fn mark(&self, now: Timestamp) -> Mark {
        Mark {
            holder: self.holder.clone(),
            token: uuid::Uuid::new_v4().to_string(),
            started: Some(now),
            renewed: Some(now),
            lease_seconds: self.lease.as_secs(),
            process: self.process.clone(),
        }
    }
}

/// What lies in the store while a name is claimed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Mark {
    holder: String,
    /// Tells two claims of the same holder apart.
    token: String,
    started: Option<Timestamp>,
    renewed: Option<Timestamp>,
    lease_seconds: u64,
    process: Option<ProcessId>,
}

impl Mark {
    fn expires(&self) -> Option<Timestamp> {
        let lease = lease_of(self.lease_seconds);
        self.renewed?.saturating_add(lease).ok()
    }

    /// Why nobody is behind the mark any more; `None` while somebody may be.
    fn abandoned(&self, now: Timestamp) -> Option<String> {
        if let Some(process) = self.process.as_ref().filter(|process| process.has_ended()) {
            return Some(format!("{process} has ended"));
        }
        let renewed = self.renewed?;
        (self.expires()? < now).then(|| format!("its last sign of life was at {renewed}"))
    }

    /// What is known of the holder, in brackets; empty when nothing is.
    fn details(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.process.as_ref().map(ToString::to_string));
        if let (Some(renewed), Some(expires)) = (self.renewed, self.expires()) {
            parts.push(format!("last sign of life at {renewed}"));
            parts.push(format!("free after {expires} if there is no other"));
        }
        match parts.is_empty() {
            true => String::new(),
            false => format!(" ({})", parts.join(", ")),
        }
    }

    fn bytes(&self) -> Result<Bytes> {
        serde_json::to_vec(self)
            .map(Bytes::from)
            .map_err(|source| Error::Encode {
                what: "a reservation".to_owned(),
                source,
            })
    }
}

fn lease_of(seconds: u64) -> Duration {
    // A damaged mark must not overflow; a hundred years are for ever.
    Duration::from_secs(seconds.min(100 * 366 * 24 * 3600))
}

fn key(backup: &str) -> String {
    backup_dir(backup) + FILE
}

/// A name that is held. Dropping it leaves the mark: give it back by [`Reservation::release`].
#[derive(Clone, Debug)]
pub struct Reservation {
    store: BackupStore,
    backup: String,
    token: String,
    taken_over: Option<String>,
}

impl Reservation {
    /// From whom the name was taken, and why, when it had been left behind.
    pub fn taken_over(&self) -> Option<&str> {
        self.taken_over.as_deref()
    }

    /// Gives a sign of life. Writers call it several times in each lease, and once before the last file.
    ///
    /// # Errors
    ///
    /// [`Error::ReservationLost`] when somebody else has the name by now: stop writing and leave the folder alone.
    pub async fn renew(&self, now: Timestamp) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let Some((bytes, mark)) = self.store.read_mark(&self.backup).await? else {
                return Err(self.lost("the mark is gone".to_owned()));
            };
            if mark.token != self.token {
                return Err(self.lost(format!("{:?} has taken it", mark.holder)));
            }
            let renewed = Mark {
                renewed: Some(now),
                ..mark
            };
            let store = self.store.store();
            if store
                .swap(&key(&self.backup), &bytes, renewed.bytes()?)
                .await?
            {
                return Ok(());
            }
        }
        Err(self.lost("somebody else keeps changing it".to_owned()))
    }

    /// Gives the name back. A mark that is gone is given back already.
    ///
    /// # Errors
    ///
    /// [`Error::ReservationLost`] when somebody else has the name by now.
    pub async fn release(self, now: Timestamp) -> Result<()> {
        if self.store.read_mark(&self.backup).await?.is_none() {
            return Ok(());
        }
        // After a sign of life nobody takes the mark over between this and its deletion.
        self.renew(now).await?;
        self.store.store().delete(&key(&self.backup)).await
    }

    fn lost(&self, detail: String) -> Error {
        Error::ReservationLost {
            store: self.store.store().describe(),
            backup: self.backup.clone(),
            detail,
        }
    }
}

/// # Reserving names
///
/// Two writers of one name would mix their files, as only the last file, `velero-backup.json`, is written on condition.
/// So a writer first puts its mark in the folder, on condition that there is none, renews it while it works, and
/// removes it at the end. A folder with a mark and without `velero-backup.json` is no backup, to the peer either.
///
/// A mark whose writer is gone, because its process has ended or its lease has run out, is replaced by the next writer
/// on condition that it is still the same. A writer that lives but could not renew its mark notices at its next try.
/// On stores without conditional writes all of this is as good as looking first can be.
impl BackupStore {
    /// Claims a name. The same holder may claim it again, and then the earlier claim is lost.
    ///
    /// What an earlier writer has left in the folder is removed.
    ///
    /// # Errors
    ///
    /// [`Error::BackupExists`] when a complete backup has the name, [`Error::BackupReserved`] when somebody else
    /// is writing it.
    pub async fn reserve(
        &self,
        backup: &str,
        claimant: &Claimant,
        now: Timestamp,
    ) -> Result<Reservation> {
        check_name("backup", backup)?;
        self.refuse_complete(backup).await?;
        let reservation = self.claim(backup, claimant, now).await?;
        // Another writer may have finished between the two looks.
        if let Err(err) = self.refuse_complete(backup).await {
            reservation.release(now).await?;
            return Err(err);
        }
        if reservation.taken_over.is_some() {
            self.delete_unfinished(backup, key(backup)).await?;
        }
        Ok(reservation)
    }

    /// Claims a backup that is complete, to change its files. The same holder may claim it again.
    ///
    /// Nothing in the folder is removed. Between this and [`Reservation::release`] nobody else gets the claim while it
    /// lives; readers are not kept off.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is no such backup, [`Error::BackupReserved`] when somebody else is changing it.
    pub async fn reserve_complete(
        &self,
        backup: &str,
        claimant: &Claimant,
        now: Timestamp,
    ) -> Result<Reservation> {
        check_name("backup", backup)?;
        self.require_complete(backup).await?;
        let reservation = self.claim(backup, claimant, now).await?;
        // It may have been deleted between the two looks, and the mark must not be all that is left.
        if let Err(err) = self.require_complete(backup).await {
            reservation.release(now).await?;
            return Err(err);
        }
        Ok(reservation)
    }

    /// Puts the claimant's mark in the folder.
    async fn claim(
        &self,
        backup: &str,
        claimant: &Claimant,
        now: Timestamp,
    ) -> Result<Reservation> {
        let mark = claimant.mark(now);
        let taken_over = self.take(backup, &mark, now).await?;
        Ok(Reservation {
            store: self.clone(),
            backup: backup.to_owned(),
            token: mark.token,
            taken_over,
        })
    }

    /// Says who holds a name.
    pub async fn reservation(&self, backup: &str) -> Result<Option<String>> {
        check_name("backup", backup)?;
        Ok(self.read_mark(backup).await?.map(|(_, mark)| mark.holder))
    }

    /// Key of the mark by which the name of a backup is claimed, for messages.
    pub fn reservation_key(backup: &str) -> String {
        key(backup)
    }

    /// Removes every file of a backup that is being written, also what writes that broke off have left, and keeps the
    /// claim on its name. Files that are not the backup's stay.
    ///
    /// # Errors
    ///
    /// [`Error::DeleteIncomplete`] with one error for each file that is left.
    pub async fn discard(&self, backup: &str) -> Result<()> {
        check_name("backup", backup)?;
        self.delete_unfinished(backup, key(backup)).await
    }

    /// Removes a reservation, whoever holds it. For one whose holder is known to be gone.
    pub async fn break_reservation(&self, backup: &str) -> Result<()> {
        check_name("backup", backup)?;
        self.store().delete(&key(backup)).await
    }

    /// Puts the mark in its place; says from whom the name was taken, if anybody left it behind.
    async fn take(&self, backup: &str, mark: &Mark, now: Timestamp) -> Result<Option<String>> {
        let bytes = mark.bytes()?;
        for _ in 0..ATTEMPTS {
            match self.put_mark(backup, bytes.clone()).await {
                Ok(()) => {}
                Err(err) if err.kind() == ErrorKind::AlreadyExists => {}
                Err(err) => return Err(err),
            }
            // The answer to the write does not decide: it may be one to its repetition.
            let Some((found_bytes, found)) = self.read_mark(backup).await? else {
                continue;
            };
            if found.token == mark.token {
                return Ok(None);
            }
            let why = match found.holder == mark.holder {
                true => Some("the same writer claims it again".to_owned()),
                false => found.abandoned(now),
            };
            let Some(why) = why else {
                return Err(self.reserved(backup, &found));
            };
            if self
                .store()
                .swap(&key(backup), &found_bytes, bytes.clone())
                .await?
            {
                return Ok(Some(format!("{:?}: {why}", found.holder)));
            }
        }
        let unknown = Mark {
            holder: "a writer that has just ended".to_owned(),
            ..Mark::default()
        };
        Err(self.reserved(backup, &unknown))
    }

    async fn read_mark(&self, backup: &str) -> Result<Option<(Bytes, Mark)>> {
        let key = key(backup);
        let bytes = match self.store().get(&key, LIMIT).await {
            Ok(bytes) => bytes,
            Err(err) if err.is_not_found() => return Ok(None),
            Err(err) => return Err(err),
        };
        match serde_json::from_slice(&bytes) {
            Ok(mark) => Ok(Some((bytes, mark))),
            Err(err) => Err(Error::Corrupt {
                store: self.store().describe(),
                key,
                detail: err.to_string(),
            }),
        }
    }

    async fn refuse_complete(&self, backup: &str) -> Result<()> {
        if self.backup_exists(backup).await? {
            return Err(self.exists_error(backup));
        }
        Ok(())
    }

    async fn require_complete(&self, backup: &str) -> Result<()> {
        if self.backup_exists(backup).await? {
            return Ok(());
        }
        Err(Error::NotFound {
            store: self.store().describe(),
            key: BackupFile::Metadata.of(backup).key().to_owned(),
        })
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

    fn reserved(&self, backup: &str, mark: &Mark) -> Error {
        Error::BackupReserved {
            store: self.store().describe(),
            backup: backup.to_owned(),
            holder: mark.holder.clone(),
            details: mark.details(),
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
