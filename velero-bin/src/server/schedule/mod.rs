//! Backups that are made again and again.
//!
//! Mirrors `pkg/controller/schedule_controller.go`.

mod decide;
mod reconcile;

pub(super) use reconcile::ScheduleReconciler;
