//! What becomes of PersistentVolumes, and of the claims that name them.
//!
//! [`known`] is what the documents of a backup tell of its volumes, [`decide`] the table of what is done with each, and
//! [`prepare`] what is changed on the objects. Nothing here does IO: what needs a look at the cluster, or a storage
//! system, is in `apply`.

mod decide;
mod known;
mod prepare;

pub(crate) use decide::{Decision, Loss, VolumeFate, decide};
pub use known::BackupVolumes;
pub(crate) use known::Known;
pub(crate) use prepare::{
    ClaimVolume, clone_name, has_own_source, prepare_claim, prepare_volume, rename,
};
