//! `velero schedule describe`.

use anyhow::Result;
use velero_core::api::Schedule;

use super::super::describe::{Colors, describe_schedule};
use super::super::exit::Exit;
use super::super::objects::Objects;
use super::super::select::ListArgs;
use super::super::{Environment, console};

/// Flags of `schedule describe`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct DescribeSchedule {
    #[command(flatten)]
    list: ListArgs,
}

impl DescribeSchedule {
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        let objects = Objects::new(environment.client().await?, &environment.namespace());
        let schedules: Vec<Schedule> = self.list.fetch(&objects).await?;
        let flag = environment.global.colorized.and_then(|state| state.0);
        let colors = Colors::choose(flag, environment.config.colorized);
        for (at, schedule) in schedules.iter().enumerate() {
            if at > 0 {
                console::out("\n\n");
            }
            console::out(describe_schedule(schedule, colors));
        }
        Ok(Exit::Success)
    }
}
