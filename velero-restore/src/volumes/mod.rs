//! What becomes of PersistentVolumes, and of the claims that name them.
//!
//! [`known`] is what the documents of a backup tell of its volumes, [`decide`] the table of what is done with each,
//! [`prepare`] what is changed on the objects, and [`told`] what the restore's own document tells. None of them does IO:
//! what needs a look at the cluster, or a storage system, while items are restored is in `apply`. [`fresh`] is what comes
//! after the items: it gives volumes that were made anew what the old ones had.

mod decide;
mod fresh;
mod known;
mod prepare;
mod told;

pub(crate) use decide::{Decision, Loss, VolumeFate, decide};
pub use fresh::{NewVolume, NewVolumes};
pub use known::BackupVolumes;
pub(crate) use known::Known;
pub(crate) use prepare::{
    ClaimVolume, clone_name, has_own_source, prepare_claim, prepare_volume, rename,
};
pub(crate) use told::{of_snapshot, with_created_claims};
