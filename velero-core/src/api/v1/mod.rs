//! Kinds of `velero.io/v1`.

mod backup;
mod hook;
mod location;
mod pod_volume;
mod repository;
mod request;
mod restore;
mod schedule;

pub use backup::{
    Backup, BackupMetadata, BackupPhase, BackupProgress, BackupSpec, BackupStatus, HookStatus,
    UploaderConfigForBackup,
};
pub use hook::{
    BackupHooks, BackupResourceHook, BackupResourceHookSpec, ExecHook, ExecRestoreHook,
    HookErrorMode, InitRestoreHook, RestoreHooks, RestoreResourceHook, RestoreResourceHookSpec,
};
pub use location::{
    BackupStorageLocation, BackupStorageLocationAccessMode, BackupStorageLocationPhase,
    BackupStorageLocationSpec, BackupStorageLocationStatus, ObjectStorageLocation,
    VolumeSnapshotLocation, VolumeSnapshotLocationPhase, VolumeSnapshotLocationSpec,
    VolumeSnapshotLocationStatus,
};
pub use pod_volume::{
    DataMoveOperationProgress, DataMovePhase, PodVolumeBackup, PodVolumeBackupSpec,
    PodVolumeBackupStatus, PodVolumeRestore, PodVolumeRestoreSpec, PodVolumeRestoreStatus,
};
pub use repository::{
    BackupRepository, BackupRepositoryMaintenanceResult, BackupRepositoryMaintenanceStatus,
    BackupRepositoryPhase, BackupRepositorySpec, BackupRepositoryStatus,
};
pub use request::{
    DeleteBackupRequest, DeleteBackupRequestPhase, DeleteBackupRequestSpec,
    DeleteBackupRequestStatus, DownloadRequest, DownloadRequestPhase, DownloadRequestSpec,
    DownloadRequestStatus, DownloadTarget, DownloadTargetKind, PluginInfo, ServerStatusRequest,
    ServerStatusRequestPhase, ServerStatusRequestSpec, ServerStatusRequestStatus,
};
pub use restore::{
    Restore, RestorePhase, RestoreProgress, RestoreSpec, RestoreStatus, RestoreStatusSpec,
    UploaderConfigForRestore,
};
pub use schedule::{Schedule, SchedulePhase, ScheduleSpec, ScheduleStatus};
