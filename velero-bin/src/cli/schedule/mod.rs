//! Commands about schedules.

mod create;
mod get;
mod pause;
mod show;

use velero_core::api::Schedule;

use super::delete::DeleteObjects;
use super::listed::GetObjects;

pub(super) use create::CreateSchedule;
pub(super) use pause::{PauseSchedule, UnpauseSchedule};
pub(super) use show::DescribeSchedule;

/// `schedule get`.
pub(super) type GetSchedule = GetObjects<Schedule>;

/// `schedule delete`. Backups that a schedule owns go with it; others stay.
pub(super) type DeleteSchedule = DeleteObjects<Schedule>;
