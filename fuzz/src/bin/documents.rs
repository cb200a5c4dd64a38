//! The documents beside an archive, and what is written over them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use velero_core::api::{Backup, BackupPhase, Document};
use velero_core::artifact::{BackupItemOperation, RestoreItemOperation, VolumeInfo};
use velero_core::result::{ResourceList, ResultsFile};

fuzz_target!(|data: &[u8]| {
    if let Ok(mut metadata) = Document::<Backup>::parse(data) {
        let _ = metadata.update(|backup| backup.status.phase = Some(BackupPhase::Failed));
        let bytes = metadata.to_pretty_bytes();
        let again = Document::<Backup>::parse(&bytes);
        assert!(again.is_ok_and(|again| *again.get().phase() == BackupPhase::Failed));
    }
    let _ = serde_json::from_slice::<ResultsFile>(data);
    let _ = serde_json::from_slice::<ResourceList>(data);
    let _ = serde_json::from_slice::<Vec<VolumeInfo>>(data);
    let _ = serde_json::from_slice::<Vec<BackupItemOperation>>(data);
    let _ = serde_json::from_slice::<Vec<RestoreItemOperation>>(data);
});
