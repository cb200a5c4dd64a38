//! Decisions about schedules, without IO.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use velero_core::Cron;
use velero_core::api::{Backup, BackupPhase, Schedule, SchedulePhase, Time};
use velero_core::names::{MAX_LABEL_VALUE, annotations};

use crate::server::context::until;

/// What becomes of a schedule.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Next {
    /// The schedule as it is to be written before anything else.
    pub(super) schedule: Schedule,
    pub(super) then: Then,
}

/// What to do once the schedule is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// It makes no backups as it is.
    Rest,
    /// The next backup is due then.
    Wait(Duration),
    /// A backup has been due since.
    Submit(Timestamp),
}

/// Decides about one schedule. `zone` finds a time zone by its name, that of the process without one; `skip` is what
/// counts where the schedule does not say whether a run is left out.
pub(super) fn next(
    schedule: &Schedule,
    now: Timestamp,
    zone: impl Fn(Option<&str>) -> Result<TimeZone, String>,
    skip: bool,
) -> Next {
    let mut schedule = schedule.clone();
    let rule = rule(&schedule, zone);
    let active = !schedule.spec.paused && schedule.metadata.deletion_timestamp.is_none();
    if active && schedule.spec.skip_immediately.unwrap_or(skip) {
        schedule.spec.skip_immediately = Some(false);
        schedule.status.last_skipped = Some(Time(now));
    }
    let then = match &rule {
        Ok((cron, zone)) if active => {
            let due = cron.next(base(&schedule, now), zone);
            due.map_or(Then::Rest, |due| match due <= now {
                true => Then::Submit(due),
                false => Then::Wait(until(due, now)),
            })
        }
        _ => Then::Rest,
    };
    schedule.status.phase = Some(match &rule {
        Ok(_) => SchedulePhase::Enabled,
        Err(_) => SchedulePhase::FailedValidation,
    });
    schedule.status.validation_errors = rule.err().into_iter().collect();
    Next { schedule, then }
}

/// When backups are made, or what is wrong with the schedule.
fn rule(
    schedule: &Schedule,
    zone: impl Fn(Option<&str>) -> Result<TimeZone, String>,
) -> Result<(Cron, TimeZone), String> {
    let name = schedule.metadata.name.as_deref().unwrap_or_default();
    if name.len() > MAX_LABEL_VALUE {
        return Err(format!(
            "metadata.name {name:?} is not valid: its backups carry it as a label, which takes {MAX_LABEL_VALUE} characters at most"
        ));
    }
    let cron: Cron = schedule
        .spec
        .schedule
        .parse()
        .map_err(|error| format!("spec.schedule: {error}"))?;
    let zone = zone(cron.zone()).map_err(|error| format!("spec.schedule: {error}"))?;
    Ok((cron, zone))
}

/// The time from which the next run is counted.
fn base(schedule: &Schedule, now: Timestamp) -> Timestamp {
    let created = schedule.metadata.creation_timestamp.as_ref();
    let status = &schedule.status;
    let last = status.last_backup.as_ref().or(created).map(|time| time.0);
    let skipped = status.last_skipped.as_ref().map(|time| time.0);
    last.max(skipped).unwrap_or(now)
}

/// What is there already of a run that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing: make the backup.
    Make,
    /// Its backup was made, at this time, and that was not noted.
    Made(Timestamp),
    /// This backup of the schedule has not been read yet.
    Held(String),
}

/// Decides about a run by the schedule's backups.
///
/// One that has not begun, or is being read, holds the next one back. Those that only wait for operations do not: the state
/// of the cluster is in them, and slow data is no reason to make backups less often.
pub(super) fn turn(due: Timestamp, backups: &[Backup]) -> Turn {
    if let Some(backup) = backups.iter().find(|backup| is_run(backup, due)) {
        let created = backup.metadata.creation_timestamp.as_ref();
        return Turn::Made(created.map_or(due, |created| created.0.max(due)));
    }
    let unread = |backup: &&Backup| {
        use BackupPhase::*;
        matches!(backup.phase(), New | Queued | ReadyToStart | InProgress)
    };
    match backups.iter().find(unread) {
        Some(backup) => Turn::Held(backup.metadata.name.clone().unwrap_or_default()),
        None => Turn::Make,
    }
}

/// Whether a backup was made for the run that was due at a time.
pub(super) fn is_run(backup: &Backup, due: Timestamp) -> bool {
    let annotations = backup.metadata.annotations.as_ref();
    let said = annotations.and_then(|all| all.get(annotations::DUE));
    said.and_then(|said| said.parse().ok()) == Some(due)
}

#[cfg(test)]
mod tests;
