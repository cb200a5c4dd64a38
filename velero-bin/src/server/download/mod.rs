//! Files of backups and restores for those who ask for them.
//!
//! Mirrors `pkg/controller/download_request_controller.go`. An address is one that the store has signed; for `filesystem`
//! locations it is a `file://` URL, for a command line on the same machine. Where a store cannot sign, and for those who
//! ask for it by an annotation as they cannot reach the store, the server passes files on itself: behind the API server's
//! proxy of a Service, by paths that are good for one file and a short time.

mod find;
mod gateway;
mod reconcile;
mod serve;
mod signed_path;

pub(super) use gateway::Gateway;
pub(super) use reconcile::DownloadReconciler;
