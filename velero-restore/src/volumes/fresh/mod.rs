//! New volumes of restored claims: they get the reclaim policy and the labels of those that they replace.
//!
//! A claim whose data was copied or snapshotted is restored without its volume, and a provisioner makes a new one by the
//! storage class. What somebody had set on the old volume, `Retain` above all, comes back when the claim is bound.
//! [`wanted`] says which claims that are, [`sight`] how one stands, [`finish`] looks at the cluster until all are done.
//!
//! Mirrors `patchDynamicPVWithVolumeInfo` in upstream's `pkg/controller/restore_finalizer_controller.go`.

mod finish;
mod sight;
mod wanted;

pub use finish::NewVolumes;
pub use wanted::NewVolume;
