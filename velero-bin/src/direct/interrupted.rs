//! Restores of direct mode that were interrupted: the same command goes on with them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use velero_cluster::Cluster;
use velero_core::CancellationToken;
use velero_core::api::{Restore, Time};
use velero_core::names::hex;
use velero_persistence::{BackupStore, ProcessId, layout};

use crate::cli::console;
use crate::runs::{
    FoundJournal, JOURNAL_END, LEASE, Mark, RestoreJournal, cluster_identity,
    prepare_direct_restore, read_journal,
};

/// Longest time since the last sign of life of a restore that goes on by itself.
const RECENT: Duration = Duration::from_secs(3600);

/// Where a command restores from, and into what.
pub(super) struct Between<'a> {
    pub(super) store: &'a BackupStore,
    pub(super) cluster: &'a Cluster,
    pub(super) cancel: &'a CancellationToken,
}

impl Between<'_> {
    /// What tells a command from others: the backup, the cluster and all flags that say what is restored. `more` is what
    /// the restore goes by beside its spec.
    pub(super) async fn identity(&self, restore: &Restore, more: &str) -> String {
        let (metadata, backup) = (&restore.metadata, &restore.spec.backup_name);
        let stored = self.store.get_metadata(backup).await;
        // A backup that is not there, or damaged, is told of by the run.
        let stored: Value = stored
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let of_backup = |field: &str| stored["metadata"][field].clone();
        let command = json!({
            "backup": [backup, of_backup("uid"), of_backup("creationTimestamp")],
            "cluster": cluster_identity(self.cluster).await,
            "namespace": metadata.namespace,
            "name": metadata.name,
            "labels": metadata.labels,
            "annotations": metadata.annotations,
            "spec": restore.spec,
            "more": more,
        });
        let hash = Sha256::digest(command.to_string().as_bytes());
        hex(&hash[..20])
    }

    /// The restore that the same command has begun and not ended, unless it is to begin anew.
    ///
    /// # Errors
    /// When another process is at it, it was interrupted long ago and nobody has said what is to become of it, or the
    /// store fails.
    pub(super) async fn find(
        &self,
        restore: &Restore,
        identity: &str,
        which: Which,
    ) -> Result<Option<FoundJournal>> {
        let anew = which == Which::Anew;
        let given = restore.metadata.name.as_deref().unwrap_or_default();
        let now = Timestamp::now();
        let mut same = Vec::new();
        for found in self.all(restore, given, identity).await? {
            let is_same = found.document.identity == identity;
            let claim = found.document.claim.clone().unwrap_or_default();
            let lives = claim.may_live(now);
            if lives && (!anew || !given.is_empty()) && (is_same || !given.is_empty()) {
                bail!("{}", under_way(&found, &claim, given));
            }
            if is_same && !lives {
                same.push(found);
            } else if !is_same && !given.is_empty() {
                console::note(format_args!(
                    "another restore was begun under the name {given:?} and was interrupted; what it has to remember stays"
                ));
            }
        }
        if anew {
            for found in same {
                let (mark, cancel) = (own_mark(now), self.cancel.clone());
                RestoreJournal::found(self.cluster, self.store, found, mark, cancel)
                    .forget()
                    .await;
            }
            return Ok(None);
        }
        let found = same
            .into_iter()
            .max_by_key(|found| found.document.entries.since);
        if let Some(found) = found.as_ref().filter(|_| which == Which::Recent) {
            refuse_stale(found, now)?;
        }
        Ok(found)
    }

    /// Journals that may be the command's: of the name that it gives, or all.
    async fn all(
        &self,
        restore: &Restore,
        given: &str,
        identity: &str,
    ) -> Result<Vec<FoundJournal>> {
        let mut names = Vec::new();
        if given.is_empty() {
            for entry in self.store.store().list(layout::RESTORES).await? {
                let path = entry.key.strip_prefix(layout::RESTORES);
                let name = path.and_then(|path| path.strip_suffix(JOURNAL_END));
                names.extend(name.map(str::to_owned));
            }
        } else {
            names.push(given.to_owned());
        }
        let mut all = Vec::new();
        for name in names {
            let bytes = read_journal(self.store, &name).await?;
            all.extend(bytes.and_then(FoundJournal::in_store));
        }
        let namespace = restore.metadata.namespace.as_deref().unwrap_or_default();
        all.extend(FoundJournal::in_maps(self.cluster, namespace, identity).await);
        Ok(all)
    }

    /// Goes on with a restore that was interrupted, and claims it.
    ///
    /// # Errors
    /// When another process has been faster.
    pub(super) async fn resume(
        &self,
        found: FoundJournal,
    ) -> Result<(Restore, Arc<RestoreJournal>)> {
        let restore = found.restore.clone();
        let (name, since) = (
            restore.metadata.name.as_deref().unwrap_or_default(),
            found.document.entries.since,
        );
        let began = since.map_or(String::new(), |since| format!(", begun at {since},"));
        console::note(format_args!(
            "restore {name:?}{began} was interrupted and goes on (--restart begins a new one)"
        ));
        let now = Timestamp::now();
        let (mark, cancel) = (own_mark(now), self.cancel.clone());
        let journal = RestoreJournal::found(self.cluster, self.store, found, mark, cancel);
        journal.take_over(now).await;
        if journal.is_lost() {
            bail!("restore {name:?} was taken up by another process just now");
        }
        Ok((restore, Arc::new(journal)))
    }

    /// Begins a restore, which has its name by now.
    pub(super) fn begin(
        &self,
        mut restore: Restore,
        identity: String,
    ) -> (Restore, Arc<RestoreJournal>) {
        let now = Timestamp::now();
        prepare_direct_restore(&mut restore, now);
        let started = Timestamp::from_second(now.as_second()).unwrap_or(now);
        restore.status.start_timestamp = Some(Time(started));
        let (known, cancel) = ((identity, own_mark(now)), self.cancel.clone());
        let journal = RestoreJournal::of_command(self.cluster, self.store, &restore, known, cancel);
        (restore, Arc::new(journal))
    }
}

/// Which interrupted restore a command goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// One with signs of life within [`RECENT`]; an older one is refused.
    Recent,
    /// However old it is.
    Any,
    /// None: what is left of it is removed.
    Anew,
}

/// Refuses to go on with what was interrupted long ago: much can have changed since that the restore would not look at.
fn refuse_stale(found: &FoundJournal, now: Timestamp) -> Result<()> {
    let document = &found.document;
    let renewed = document.claim.as_ref().and_then(|claim| claim.renewed);
    let Some(last) = renewed.max(document.entries.since) else {
        return Ok(());
    };
    let age = Duration::try_from(now.duration_since(last)).unwrap_or_default();
    if age <= RECENT {
        return Ok(());
    }
    let name = found.restore.metadata.name.as_deref().unwrap_or_default();
    let minutes = age.as_secs() / 60;
    bail!(
        "restore {name:?} was interrupted {} h {} min ago (last sign of life at {last}), and the cluster can have changed since; \
         --resume goes on with it, --restart begins a new one",
        minutes / 60,
        minutes % 60
    )
}

fn own_mark(now: Timestamp) -> Mark {
    Mark {
        holder: uuid::Uuid::new_v4().to_string(),
        renewed: Some(now),
        lease_seconds: LEASE.as_secs(),
        process: Some(ProcessId::current()),
    }
}

fn under_way(found: &FoundJournal, claim: &Mark, given: &str) -> String {
    let name = found.restore.metadata.name.as_deref().unwrap_or_default();
    let process = claim.process.as_ref();
    let who = process.map_or_else(|| "another process".to_owned(), ToString::to_string);
    let renewed = claim
        .renewed
        .map(|at| format!("; last sign of life at {at}"));
    let renewed = renewed.unwrap_or_default();
    let instead = match given {
        "" => "--restart begins another one beside it",
        _ => "another --restore-name begins one beside it",
    };
    format!("restore {name:?} is under way in {who}{renewed}; {instead}")
}
