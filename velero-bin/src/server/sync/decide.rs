//! Decisions about synchronisation, without IO.

use std::collections::BTreeSet;

use jiff::Timestamp;
use velero_core::GoDuration;
use velero_core::api::{Backup, BackupPhase, BackupStorageLocation, BackupStorageLocationSpec};
use velero_core::names::{labels, valid_label_name};
use velero_persistence::BackupStore;

use crate::server::context::after;

/// Seconds between two looks at the keys of a location where nobody has said how often.
const KEYS: i64 = 5;
/// Seconds after which cluster and store are compared as a whole then, even where no key has changed.
const EVERYTHING: i64 = 60;

/// How a location is looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// At the names of its backups; only what has changed is followed up.
    Keys,
    /// All of it is compared with the cluster.
    Everything,
}

/// What is remembered of a location from one look to the next.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// Names of the backups in its store.
    pub(super) names: BTreeSet<String>,
    /// Those of them that were not finished.
    pub(super) pending: BTreeSet<String>,
    /// When it was last looked into.
    pub(super) looked: Option<Timestamp>,
    /// When it was last compared as a whole.
    pub(super) compared: Option<Timestamp>,
    /// Looks in a row that have failed.
    pub(super) failures: u32,
    /// When this cluster last left its mark there.
    pub(super) marked: Option<Timestamp>,
    /// Its store, as it was opened for an earlier look.
    pub(super) store: Option<Opened>,
}

/// Seconds for which a store is looked into by credentials that were read once.
const OPENED: i64 = 60;

/// A store that was opened.
#[derive(Debug, Clone)]
pub(super) struct Opened {
    pub(super) store: BackupStore,
    pub(super) spec: BackupStorageLocationSpec,
    pub(super) at: Timestamp,
}

impl Known {
    /// The store of a location, if it was opened a short while ago, and all was well since.
    pub(super) fn opened(
        &self,
        location: &BackupStorageLocation,
        now: Timestamp,
    ) -> Option<BackupStore> {
        let opened = self.store.as_ref().filter(|_| self.failures == 0)?;
        let is_fresh = now < after(opened.at, OPENED * 1_000_000_000);
        (is_fresh && opened.spec == location.spec).then(|| opened.store.clone())
    }
}

/// Whether and how a location is to be looked into now. `period` is that of the flag.
pub(super) fn look(
    location: &BackupStorageLocation,
    period: Option<GoDuration>,
    known: &Known,
    now: Timestamp,
) -> Option<Look> {
    let passed =
        |since: Option<Timestamp>, nanos: i64| since.is_none_or(|since| now >= after(since, nanos));
    let seconds = |count: i64| count.saturating_mul(1_000_000_000);
    let pause = match known.failures {
        0 => 0,
        failures => (KEYS << failures.min(4)).min(EVERYTHING),
    };
    if !location.is_available() || !passed(known.looked, seconds(pause)) {
        return None;
    }
    let own = location.spec.backup_sync_period;
    let said = own
        .filter(|own| !own.is_negative())
        .or(period.filter(|p| !p.is_negative()));
    if let Some(said) = said {
        // What this server has just done may not be in the location yet.
        let last = location.status.last_synced_time.as_ref().map(|time| time.0);
        let last = last.max(known.compared);
        let due = !said.is_zero() && passed(last, said.as_nanos());
        return due.then_some(Look::Everything);
    }
    if passed(known.compared, seconds(EVERYTHING)) {
        return Some(Look::Everything);
    }
    passed(known.looked, seconds(KEYS)).then_some(Look::Keys)
}

/// Seconds between two marks of this cluster in a location.
const MARK: i64 = 3600;

/// Whether this cluster is to leave its mark in a location that it writes to.
pub(super) fn is_to_mark(location: &BackupStorageLocation, known: &Known, now: Timestamp) -> bool {
    let due = |marked: Timestamp| now >= after(marked, MARK * 1_000_000_000);
    !location.is_read_only() && known.marked.is_none_or(due)
}

/// What to do about a backup that only the store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Import {
    /// Create it as it is, or with another phase.
    Create {
        /// The phase it gets instead of its own.
        phase: Option<BackupPhase>,
    },
    /// Leave it alone for now: whoever writes it has not finished.
    Unfinished,
}

/// Decides by the metadata in the store. An unfinished backup that has expired is imported as partially failed, so
/// that it can be deleted.
pub(super) fn import(metadata: &Backup, now: Timestamp) -> Import {
    let unfinished = !metadata.phase().is_terminal();
    if !unfinished {
        return Import::Create { phase: None };
    }
    match &metadata.status.expiration {
        Some(expiration) if expiration.0 <= now => Import::Create {
            phase: Some(BackupPhase::PartiallyFailed),
        },
        _ => Import::Unfinished,
    }
}

/// Backups of a location that its store no longer has. What has ended since the store was listed, or is missing from an
/// old list, is among them: each is to be looked for by its name.
pub(super) fn orphans<'a>(
    backups: &'a [Backup],
    location: &str,
    in_store: &BTreeSet<String>,
) -> Vec<&'a Backup> {
    let label = valid_label_name(location);
    let of_location = |backup: &&Backup| {
        let labels = backup.metadata.labels.as_ref();
        labels.and_then(|l| l.get(labels::STORAGE_LOCATION)) == Some(&label)
    };
    let ended = |backup: &&Backup| {
        matches!(
            backup.phase(),
            BackupPhase::Completed | BackupPhase::PartiallyFailed
        )
    };
    let absent = |backup: &&Backup| {
        backup
            .metadata
            .name
            .as_ref()
            .is_some_and(|name| !in_store.contains(name))
    };
    backups
        .iter()
        .filter(of_location)
        .filter(ended)
        .filter(absent)
        .collect()
}

#[cfg(test)]
mod tests {
    use velero_core::api::{BackupSpec, BackupStorageLocationPhase, Time};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    #[test]
    fn due_rule() {
        use Look::{Everything, Keys};
        let seconds = |count: i64| GoDuration::from_secs(count);
        let minute = Some(GoDuration::from_mins(1));
        // Available, last synchronised, own period, the flag's, then what is known, in seconds.
        for (available, last, own, flag, (looked, compared, failures), now, expected) in [
            (false, None, None, minute, (None, None, 0), 0, None),
            (
                true,
                None,
                None,
                minute,
                (None, None, 0),
                0,
                Some(Everything),
            ),
            (true, Some(0), None, minute, (None, None, 0), 59, None),
            (
                true,
                Some(0),
                None,
                minute,
                (Some(0), Some(0), 0),
                60,
                Some(Everything),
            ),
            // 0 means never, wherever it is said.
            (
                true,
                Some(0),
                Some(GoDuration::ZERO),
                minute,
                (None, None, 0),
                999,
                None,
            ),
            (
                true,
                None,
                Some(GoDuration::ZERO),
                None,
                (None, None, 0),
                999,
                None,
            ),
            (
                true,
                None,
                None,
                Some(GoDuration::ZERO),
                (None, None, 0),
                999,
                None,
            ),
            // Less says nothing.
            (
                true,
                Some(0),
                Some(seconds(-1)),
                minute,
                (None, None, 0),
                60,
                Some(Everything),
            ),
            (
                true,
                Some(0),
                Some(seconds(5)),
                minute,
                (None, None, 0),
                5,
                Some(Everything),
            ),
            (
                true,
                Some(0),
                None,
                Some(seconds(-1)),
                (Some(0), Some(0), 0),
                5,
                Some(Keys),
            ),
            // Where nobody says how often.
            (
                true,
                Some(0),
                None,
                None,
                (None, None, 0),
                1,
                Some(Everything),
            ),
            (true, Some(0), None, None, (Some(0), Some(0), 0), 4, None),
            (
                true,
                Some(0),
                None,
                None,
                (Some(0), Some(0), 0),
                5,
                Some(Keys),
            ),
            (true, Some(0), None, None, (Some(55), Some(0), 0), 59, None),
            (
                true,
                Some(0),
                None,
                None,
                (Some(55), Some(0), 0),
                60,
                Some(Everything),
            ),
            // What fails is tried again less and less often.
            (true, None, None, minute, (Some(0), None, 1), 9, None),
            (
                true,
                None,
                None,
                minute,
                (Some(0), None, 1),
                10,
                Some(Everything),
            ),
            (true, None, None, None, (Some(0), None, 9), 59, None),
            (
                true,
                None,
                None,
                None,
                (Some(0), None, 9),
                60,
                Some(Everything),
            ),
        ] {
            let mut location = BackupStorageLocation::default();
            let phase = match available {
                true => BackupStorageLocationPhase::Available,
                false => BackupStorageLocationPhase::Unavailable,
            };
            location.status.phase = Some(phase);
            location.status.last_synced_time = last.map(|s| Time(at(s)));
            location.spec.backup_sync_period = own;
            let known = Known {
                looked: looked.map(at),
                compared: compared.map(at),
                failures,
                ..Known::default()
            };
            let found = look(&location, flag, &known, at(now));
            assert_eq!(
                found, expected,
                "{last:?} {own:?} {flag:?} {looked:?} {compared:?} {failures} {now}"
            );
        }
    }

    #[test]
    fn unfinished_backups_wait_unless_expired() {
        use BackupPhase::*;
        let as_is = Import::Create { phase: None };
        let failed = Import::Create {
            phase: Some(PartiallyFailed),
        };
        for (phase, expiration, expected) in [
            (Completed, None, &as_is),
            (Completed, Some(-1), &as_is),
            (PartiallyFailed, Some(9), &as_is),
            (Failed, Some(9), &as_is),
            (WaitingForPluginOperations, Some(9), &Import::Unfinished),
            (WaitingForPluginOperations, None, &Import::Unfinished),
            (FinalizingPartiallyFailed, Some(-1), &failed),
            (Finalizing, Some(0), &failed),
            (InProgress, Some(9), &Import::Unfinished),
        ] {
            let mut backup = Backup::default();
            backup.status.phase = Some(phase.clone());
            backup.status.expiration = expiration.map(|s| Time(at(s)));
            assert_eq!(&import(&backup, at(0)), expected, "{phase} {expiration:?}");
        }
    }

    #[test]
    fn a_cluster_leaves_its_mark_each_hour_where_it_writes() {
        for (mode, marked, now, expected) in [
            ("", None, 0, true),
            ("ReadWrite", Some(0), 3599, false),
            ("ReadWrite", Some(0), 3600, true),
            ("ReadOnly", None, 0, false),
        ] {
            let location: BackupStorageLocation = serde_json::from_value(serde_json::json!({
                "metadata": {"name": "l"}, "spec": {"provider": "aws", "accessMode": mode},
            }))
            .unwrap();
            let known = Known {
                marked: marked.map(at),
                ..Known::default()
            };
            assert_eq!(
                is_to_mark(&location, &known, at(now)),
                expected,
                "{mode} {marked:?} {now}"
            );
        }
    }

    #[test]
    fn orphans_are_ended_backups_of_the_location() {
        let backup = |name: &str, label: &str, phase: BackupPhase| {
            let mut backup = Backup::new("velero", name, BackupSpec::default());
            backup.metadata.labels =
                Some([(labels::STORAGE_LOCATION.to_owned(), label.to_owned())].into());
            backup.status.phase = Some(phase);
            backup
        };
        let long = "l".repeat(70);
        let backups = [
            backup("there", "main", BackupPhase::Completed),
            backup("gone", "main", BackupPhase::Completed),
            backup("partly", "main", BackupPhase::PartiallyFailed),
            backup("failed", "main", BackupPhase::Failed),
            backup("running", "main", BackupPhase::InProgress),
            backup("deleting", "main", BackupPhase::Deleting),
            backup("other", "side", BackupPhase::Completed),
            backup("long", &valid_label_name(&long), BackupPhase::Completed),
            Backup::new("velero", "unlabelled", BackupSpec::default()),
        ];
        let in_store = BTreeSet::from(["there".to_owned()]);
        let names = |location: &str| -> Vec<&str> {
            orphans(&backups, location, &in_store)
                .iter()
                .filter_map(|b| b.metadata.name.as_deref())
                .collect()
        };
        assert_eq!(names("main"), ["gone", "partly"]);
        assert_eq!(names(&long), ["long"]);
    }
}
