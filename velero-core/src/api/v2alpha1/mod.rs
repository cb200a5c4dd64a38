//! Kinds of `velero.io/v2alpha1`.

mod data_download;
mod data_upload;

pub use data_download::{DataDownload, DataDownloadSpec, DataDownloadStatus, TargetVolumeSpec};
pub use data_upload::{
    CsiSnapshotSpec, DataUpload, DataUploadResult, DataUploadSpec, DataUploadStatus, NodeOs,
};
