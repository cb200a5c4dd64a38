//! Requests to delete a backup with all that belongs to it.
//!
//! Mirrors `pkg/controller/backup_deletion_controller.go` without volumes: a backup with volume data that this version
//! cannot delete is left as it is, and the request says so. Unlike the peer's, a request that a killed server left in
//! progress is taken up again, faults that pass keep everything until the next try, and a store's backup is deleted only
//! if it is the one that the resource stands for.

mod actions;
mod decide;
mod delete;
mod reconcile;
mod volumes;

pub(super) use delete::tell_foreign;
pub(super) use reconcile::DeletionReconciler;
