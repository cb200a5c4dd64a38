//! Commands about restores.

mod create;
mod delete;
mod get;
mod show;

pub(super) use create::CreateRestore;
pub(super) use delete::DeleteRestore;
pub(super) use get::GetRestore;
use get::{HEADINGS, restore_row};
pub(super) use show::{DescribeRestore, RestoreLogs};
