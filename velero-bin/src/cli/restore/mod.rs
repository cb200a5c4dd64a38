//! Commands about restores.

mod create;
mod delete;
mod fetched;
mod get;
mod plan;
mod show;
mod source;

pub(super) use create::CreateRestore;
pub(super) use delete::DeleteRestore;
pub(super) use get::GetRestore;
pub(super) use plan::PlanRestore;
pub(super) use show::{DescribeRestore, RestoreLogs};
