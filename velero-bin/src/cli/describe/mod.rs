//! `describe`: objects at length.

mod backup;
mod hooks;
mod json;
mod operations;
mod restore;
mod schedule;
mod text;

pub(super) use backup::{describe_backup, fetch_backup_files};
pub(super) use json::backup_json;
pub(super) use restore::{describe_restore, fetch_restore_files};
pub(super) use schedule::describe_schedule;
pub(super) use text::Colors;
