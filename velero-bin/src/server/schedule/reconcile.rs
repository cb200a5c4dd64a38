//! The shell around the decisions about schedules.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use kube::runtime::controller::Action;
use serde_json::Value;
use velero_core::api::{Backup, Schedule, Time};
use velero_core::names::{annotations, labels};

use super::decide::{Then, Turn, is_run, next, turn};
use crate::cli::names;
use crate::runs::from_template;
use crate::server::context::{Context, whole_seconds};
use crate::server::controller::{Reconciler, Retry};
use crate::server::objects::Lock;

/// Makes the backups of schedules.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::server) struct ScheduleReconciler;

impl Reconciler for ScheduleReconciler {
    type Kind = Schedule;

    async fn reconcile(&self, context: &Context, name: &str) -> Result<Action, Retry> {
        let Some(schedule) = context.objects.get::<Schedule>(name).await? else {
            return Ok(Action::await_change());
        };
        if schedule.metadata.deletion_timestamp.is_some() {
            return Ok(Action::await_change());
        }
        context.metrics.add_schedule(name);
        let settings = &context.settings;
        let zone = |name: Option<&str>| zone(name, &settings.zone);
        let now = (settings.clock)();
        let next = next(&schedule, now, zone, settings.skip_immediately);
        let mut wanted = next.schedule;
        wanted.status.last_skipped = wanted
            .status
            .last_skipped
            .map(|time| Time(whole_seconds(time.0)));
        let schedule = context
            .objects
            .patch(&schedule, &wanted, Lock::Unchanged)
            .await?;
        Ok(match next.then {
            // One that is deleted meanwhile is noticed then.
            Then::Rest => Action::requeue(settings.schedule_period),
            Then::Wait(pause) => Action::requeue(pause.min(settings.schedule_period)),
            Then::Submit(due) => submit(context, &schedule, due, now).await?,
        })
    }

    fn gone(&self, context: &Context, name: &str) {
        context.metrics.remove_schedule(name);
    }
}

/// A time zone by its name; the process's own without one, and for the name that Go has for it.
fn zone(name: Option<&str>, own: &TimeZone) -> Result<TimeZone, String> {
    match name {
        None | Some("Local") => Ok(own.clone()),
        Some(name) => TimeZone::get(name)
            .map_err(|_| format!("there is no time zone {name:?}; name one such as Europe/Berlin")),
    }
}

/// Makes the backup of a run that is due, and notes that.
async fn submit(
    context: &Context,
    schedule: &Schedule,
    due: Timestamp,
    now: Timestamp,
) -> Result<Action, Retry> {
    let name = schedule.metadata.name.as_deref().unwrap_or_default();
    let of_schedule = format!("{}={name}", labels::SCHEDULE_NAME);
    let backups: Vec<Backup> = context.objects.list_labelled(&of_schedule).await?;
    let made = match turn(due, &backups) {
        Turn::Made(at) => at,
        Turn::Held(backup) => {
            tracing::info!(
                schedule = name,
                backup,
                "a backup is due, and waits until this one is read"
            );
            return Ok(Action::requeue(context.settings.schedule_period));
        }
        Turn::Make => make(context, schedule, due, now).await?,
    };
    let mut noted = schedule.clone();
    noted.status.last_backup = Some(Time(made));
    context
        .objects
        .patch(schedule, &noted, Lock::SameObject)
        .await?;
    // When the next one is due is decided on what is written.
    Ok(Action::requeue(context.settings.tick))
}

/// Makes the backup; gives when.
async fn make(
    context: &Context,
    schedule: &Schedule,
    due: Timestamp,
    now: Timestamp,
) -> Result<Timestamp, Retry> {
    let source = schedule.metadata.name.as_deref().unwrap_or_default();
    let name = names::timed(source, &now.to_zoned(context.settings.zone.clone()));
    let mut backup = from_template(context.objects.namespace(), &name, schedule);
    let own = backup.metadata.annotations.get_or_insert_default();
    own.insert(annotations::DUE.to_owned(), due.to_string());
    let object: Value = serde_json::to_value(&backup).map_err(anyhow::Error::from)?;
    match context.objects.create::<Backup>(&object).await {
        Ok(_) => tracing::info!(schedule = source, backup = name, %due, "the backup is due: made"),
        Err(error) if error.is_conflict() => {
            let there: Option<Backup> = context.objects.get(&name).await?;
            if !there.is_some_and(|there| is_run(&there, due)) {
                return Err(error.into());
            }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(whole_seconds(now))
}
