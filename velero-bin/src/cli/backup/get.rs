//! `velero backup get`.

use anyhow::Result;
use jiff::Timestamp;
use velero_core::api::Backup;

use super::super::exit::Exit;
use super::super::objects::Objects;
use super::super::output::{self, Format};
use super::super::select::{ListArgs, OutputArgs};
use super::super::{Environment, ages};

/// Columns of the table.
pub(in crate::cli) const HEADINGS: &[&str] = &[
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

/// Flags of `backup get`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct GetBackup {
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl GetBackup {
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        let objects = Objects::new(environment.client().await?, &environment.namespace());
        let mut backups: Vec<Backup> = self.list.fetch(&objects).await?;
        if self.output.output == Format::Table {
            backups.sort_by_cached_key(sort_key);
            let now = Timestamp::now();
            output::print_table(
                &self
                    .output
                    .columns
                    .table(HEADINGS, &backups, |backup| backup_row(backup, now)),
            );
        } else {
            let values = backups
                .iter()
                .map(serde_json::to_value)
                .collect::<Result<Vec<_>, _>>()?;
            output::print_objects("Backup", &values, self.output.output)?;
        }
        Ok(Exit::Success)
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

/// The cells of one backup.
pub(in crate::cli) fn backup_row(backup: &Backup, now: Timestamp) -> Vec<String> {
    let status = &backup.status;
    let phase = if backup.metadata.deletion_timestamp.is_some() {
        "Deleting"
    } else {
        backup.phase().as_str()
    };
    let position = if status.queue_position == 0 {
        String::new()
    } else {
        status.queue_position.to_string()
    };
    let selector = backup
        .spec
        .label_selector
        .as_ref()
        .and_then(|selector| velero_core::Selector::try_from(selector).ok());
    vec![
        backup.metadata.name.clone().unwrap_or_default(),
        phase.to_owned(),
        status.errors.to_string(),
        status.warnings.to_string(),
        ages::local(status.start_timestamp.as_ref(), "<nil>"),
        ages::relative(expiration(backup), now),
        backup.spec.storage_location.clone(),
        position,
        selector
            .filter(|selector| !selector.is_empty())
            .map_or_else(|| "<none>".to_owned(), |selector| selector.to_string()),
    ]
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
            backup_row(&backup, now),
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
        assert_eq!(
            backup_row(&backup, now)[5..],
            ["3h ago", "", "2", "app=web"]
        );
        backup.metadata.deletion_timestamp = Some(Time(now));
        assert_eq!(backup_row(&backup, now)[1], "Deleting");
    }
}
