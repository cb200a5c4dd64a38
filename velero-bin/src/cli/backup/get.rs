//! `velero backup get`.

use jiff::Timestamp;
use velero_core::api::Backup;

use super::super::ages;
use super::super::listed::{GetObjects, Listed, selector_cell};

/// `backup get`.
pub(in crate::cli) type GetBackup = GetObjects<Backup>;

impl Listed for Backup {
    const NOUN: &'static str = "backup";
    const HEADINGS: &'static [&'static str] = &[
        "name",
        "status",
        "errors",
        "warnings",
        "created",
        "expires",
        "storage location",
        "queue position",
        "selector",
    ];

    fn cells(&self, now: Timestamp) -> Vec<String> {
        let status = &self.status;
        let phase = if self.metadata.deletion_timestamp.is_some() {
            "Deleting"
        } else {
            self.phase().as_str()
        };
        let position = if status.queue_position == 0 {
            String::new()
        } else {
            status.queue_position.to_string()
        };
        vec![
            self.metadata.name.clone().unwrap_or_default(),
            phase.to_owned(),
            status.errors.to_string(),
            status.warnings.to_string(),
            ages::local(status.start_timestamp.as_ref(), "<nil>"),
            ages::relative(expiration(self), now),
            self.spec.storage_location.clone(),
            position,
            selector_cell(self.spec.label_selector.as_ref()),
        ]
    }

    fn arrange(backups: &mut [Self]) {
        backups.sort_by_cached_key(sort_key);
    }
}

/// By name; names that differ only in a time at their end, newest first.
fn sort_key(backup: &Backup) -> (String, std::cmp::Reverse<String>) {
    let name = backup.metadata.name.clone().unwrap_or_default();
    match name.rsplit_once('-') {
        Some((prefix, time)) if time.len() == 14 && time.bytes().all(|b| b.is_ascii_digit()) => {
            (prefix.to_owned(), std::cmp::Reverse(time.to_owned()))
        }
        _ => (name, std::cmp::Reverse(String::new())),
    }
}

/// The expiration, or what it will be: creation and the time to live.
fn expiration(backup: &Backup) -> Option<Timestamp> {
    if let Some(expiration) = &backup.status.expiration {
        return Some(expiration.0);
    }
    let created = backup.metadata.creation_timestamp.as_ref()?.0;
    (!backup.spec.ttl.is_zero()).then(|| {
        created
            .checked_add(jiff::SignedDuration::from_nanos(backup.spec.ttl.as_nanos()))
            .ok()
    })?
}

#[cfg(test)]
mod tests {
    use super::*;
    use velero_core::api::{BackupPhase, BackupSpec, Time};

    #[test]
    fn backups_of_a_schedule_are_sorted_newest_first() {
        let mut names = ["b", "a-20260101000000", "a-20260102000000", "a-x", "a"]
            .map(|name| Backup::new("velero", name, BackupSpec::default()));
        names.sort_by_cached_key(sort_key);
        let sorted: Vec<_> = names
            .iter()
            .map(|backup| backup.metadata.name.as_deref().unwrap())
            .collect();
        assert_eq!(
            sorted,
            ["a-20260102000000", "a-20260101000000", "a", "a-x", "b"]
        );
    }

    #[test]
    fn rows_tell_state_and_expiry() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut backup = Backup::new(
            "velero",
            "b",
            BackupSpec {
                ttl: velero_core::GoDuration::from_hours(48),
                ..Default::default()
            },
        );
        backup.metadata.creation_timestamp = Some(Time(now));
        assert_eq!(
            backup.cells(now),
            ["b", "New", "0", "0", "<nil>", "2d", "", "", "<none>"]
        );
        backup.status.phase = Some(BackupPhase::Queued);
        backup.status.queue_position = 2;
        backup.status.expiration = Some(Time("2025-12-31T21:00:00Z".parse().unwrap()));
        backup.spec.label_selector = Some(
            "app=web"
                .parse::<velero_core::Selector>()
                .unwrap()
                .to_label_selector(),
        );
        assert_eq!(backup.cells(now)[5..], ["3h ago", "", "2", "app=web"]);
        backup.metadata.deletion_timestamp = Some(Time(now));
        assert_eq!(backup.cells(now)[1], "Deleting");
    }
}
