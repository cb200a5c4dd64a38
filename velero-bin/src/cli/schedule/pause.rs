//! `velero schedule pause` and `velero schedule unpause`.

use anyhow::Result;
use serde_json::{Value, json};
use velero_core::api::Schedule;

use super::super::delete::tell;
use super::super::exit::Exit;
use super::super::objects::Objects;
use super::super::select::SelectArgs;
use super::super::values::TriState;
use super::super::{Environment, console};

/// Flags of `schedule pause`.
pub(in crate::cli) type PauseSchedule = SetPaused<true>;

/// Flags of `schedule unpause`.
pub(in crate::cli) type UnpauseSchedule = SetPaused<false>;

/// Flags of commands that make schedules rest, or go on.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct SetPaused<const PAUSED: bool> {
    #[command(flatten)]
    select: SelectArgs,
    /// Whether a backup that is due when the schedule goes on is left out; the server decides without it
    #[arg(long, value_name = "BOOL")]
    skip_immediately: Option<TriState>,
}

impl<const PAUSED: bool> SetPaused<PAUSED> {
    /// Changes schedules. One that cannot be changed, and a name that does not exist, makes the command fail after the
    /// others were changed.
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        self.select.check()?;
        let schedules: Objects<Schedule> =
            Objects::new(environment.client().await?, &environment.namespace());
        let selected = self.select.fetch(&schedules).await?;
        if selected.objects.is_empty() && selected.missing.is_empty() {
            console::line("No schedules found");
        }
        let word = if PAUSED { "paused" } else { "unpaused" };
        let mut faults = selected.missing;
        for schedule in &selected.objects {
            let name = schedule.metadata.name.as_deref().unwrap_or_default();
            let Some(fields) = self.change(schedule) else {
                console::line(format_args!("Schedule {name:?} is {word} already."));
                continue;
            };
            match schedules.patch(name, &fields).await {
                Ok(()) => console::line(format_args!("Schedule {name:?} is {word}.")),
                Err(error) => faults.push(format!("cannot change schedule {name:?}: {error}")),
            }
        }
        Ok(tell(&faults))
    }

    /// The fields to change, if any. Without the flag `skipImmediately` goes when the schedule is changed, so that the
    /// server decides.
    fn change(&self, schedule: &Schedule) -> Option<Value> {
        let skip = self.skip_immediately.and_then(|state| state.0);
        let spec = &schedule.spec;
        let same_skip = skip.is_none() || skip == spec.skip_immediately;
        if spec.paused == PAUSED && same_skip {
            return None;
        }
        Some(json!({"spec": {"paused": PAUSED, "skipImmediately": skip}}))
    }
}

#[cfg(test)]
mod tests {
    use velero_core::api::ScheduleSpec;

    use super::*;

    #[test]
    fn only_what_differs_is_changed() {
        const YES: Option<bool> = Some(true);
        const NO: Option<bool> = Some(false);
        for (paused, skip, flag, expected) in [
            (false, None, None, Some((true, None))),
            (false, YES, None, Some((true, None))),
            (false, None, NO, Some((true, NO))),
            (true, None, None, None),
            (true, NO, None, None),
            (true, YES, YES, None),
            (true, NO, YES, Some((true, YES))),
        ] {
            let spec = ScheduleSpec {
                paused,
                skip_immediately: skip,
                ..ScheduleSpec::default()
            };
            let command: PauseSchedule = SetPaused {
                select: SelectArgs::default(),
                skip_immediately: flag.map(|flag| TriState(Some(flag))),
            };
            let expected = expected
                .map(|(paused, skip)| json!({"spec": {"paused": paused, "skipImmediately": skip}}));
            let found = command.change(&Schedule::new("velero", "s", spec));
            assert_eq!(found, expected, "{paused} {skip:?} {flag:?}");
        }
    }
}
