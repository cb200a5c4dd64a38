//! Backup storage locations: which one is the default, and whether each can be used.
//!
//! Mirrors `pkg/controller/backup_storage_location_controller.go`. Where the peer sets `spec.default` on the location
//! that its flag names at each start, and so can move the default away from where a user has put it, this does so only
//! when no location is marked.

mod decide;
mod reconcile;
mod seen;

pub(super) use decide::default_location;
pub(super) use reconcile::LocationReconciler;
pub(super) use seen::SeenLocations;
