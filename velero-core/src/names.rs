//! Names that Velero and its users write on objects: labels, annotations, finalizers, and the rules for long values.
//!
//! Mirrors `pkg/apis/velero/v1/labels_annotations.go`, `pkg/label/label.go` and the constants spread over the CSI actions.

use sha2::{Digest, Sha256};
use sha3::Sha3_224;

/// API group of every kind that Velero owns.
pub const GROUP: &str = "velero.io";

/// Namespace that Velero is installed into unless told otherwise.
pub const DEFAULT_NAMESPACE: &str = "velero";

/// Most bytes that Kubernetes takes in a label value (the limit of a DNS label).
pub const MAX_LABEL_VALUE: usize = 63;

/// Labels, by the object they are found on.
pub mod labels {
    /// Name of the backup an object belongs to; the value goes through [`valid_label_name`](super::valid_label_name).
    pub const BACKUP_NAME: &str = "velero.io/backup-name";
    /// UID of the backup an object belongs to.
    pub const BACKUP_UID: &str = "velero.io/backup-uid";
    /// Name of the restore that made an object; the value goes through [`valid_label_name`](super::valid_label_name).
    pub const RESTORE_NAME: &str = "velero.io/restore-name";
    /// UID of the restore that made an object.
    pub const RESTORE_UID: &str = "velero.io/restore-uid";
    /// Name of the schedule that made a backup, never shortened.
    pub const SCHEDULE_NAME: &str = "velero.io/schedule-name";
    /// Name of the backup storage location of a backup or repository, shortened when long.
    pub const STORAGE_LOCATION: &str = "velero.io/storage-location";
    /// Namespace whose volumes a backup repository holds.
    pub const VOLUME_NAMESPACE: &str = "velero.io/volume-namespace";
    /// Type of a backup repository: `kopia` or `restic`.
    pub const REPOSITORY_TYPE: &str = "velero.io/repository-type";
    /// Name of the repository that a maintenance job works on.
    pub const REPOSITORY_NAME: &str = "velero.io/repo-name";
    /// UID of the pod that a pod volume restore fills.
    pub const POD_UID: &str = "velero.io/pod-uid";
    /// UID of the claim behind a pod volume or a data upload.
    pub const PVC_UID: &str = "velero.io/pvc-uid";
    /// Identifier of the asynchronous operation of a data upload (`du-...`) or download (`dd-...`).
    pub const ASYNC_OPERATION_ID: &str = "velero.io/async-operation-id";
    /// Data upload that a hosting pod works for.
    pub const DATA_UPLOAD: &str = "velero.io/data-upload";
    /// Data download that a hosting pod works for.
    pub const DATA_DOWNLOAD: &str = "velero.io/data-download";
    /// Pod volume backup that a hosting pod works for.
    pub const POD_VOLUME_BACKUP: &str = "velero.io/pod-volume-backup";
    /// Pod volume restore that a hosting pod works for.
    pub const POD_VOLUME_RESTORE: &str = "velero.io/pod-volume-restore";
    /// Group by which hosting pods are spread over nodes: `snapshot-exposer` or `generic-restore-exposer`.
    pub const EXPOSER_POD_GROUP: &str = "velero.io/exposer-pod-group";
    /// Present while a volume is being made reachable for a data mover.
    pub const EXPOSE_ON_GOING: &str = "velero.io/expose-on-going";
    /// Marks the ConfigMap that remembers a moved snapshot for deletion.
    pub const DATA_UPLOAD_SNAPSHOT_INFO: &str = "velero.io/data-upload-snapshot-info";
    /// Claim, as `namespace.name`, that a data upload result belongs to.
    pub const PVC_NAMESPACE_NAME: &str = "velero.io/pvc-namespace-name";
    /// What a ConfigMap of Velero is for, such as `DataUpload`.
    pub const RESOURCE_USAGE: &str = "velero.io/resource-usage";
    /// Why the last attempt to delete an expired backup failed.
    pub const GC_FAILURE: &str = "velero.io/gc-failure";
    /// Set to `true` by users to keep an object, or all of a namespace, out of backups.
    pub const EXCLUDE_FROM_BACKUP: &str = "velero.io/exclude-from-backup";
    /// Default key by which claims are put into one volume group snapshot.
    pub const VOLUME_GROUP: &str = "velero.io/volume-group";
    /// Marks the VolumeSnapshotClass to use for a driver.
    pub const CSI_VOLUME_SNAPSHOT_CLASS: &str = "velero.io/csi-volumesnapshot-class";
    /// Marks the VolumeGroupSnapshotClass to use for a driver.
    pub const CSI_VOLUME_GROUP_SNAPSHOT_CLASS: &str = "velero.io/csi-volumegroupsnapshot-class";
    /// Name of the VolumeSnapshot taken of a claim; also used as an annotation.
    pub const VOLUME_SNAPSHOT_NAME: &str = "velero.io/volume-snapshot-name";
    /// Tag, not label, of a native snapshot: the backup it was taken for.
    pub const SNAPSHOT_TAG_BACKUP: &str = "velero.io/backup";
    /// Tag, not label, of a native snapshot: the PersistentVolume it was taken of.
    pub const SNAPSHOT_TAG_VOLUME: &str = "velero.io/pv";
    /// Selector that ties a claim to the volume which a data mover is filling for it.
    pub const DYNAMIC_PV_RESTORE: &str = "velero.io/dynamic-pv-restore";
    /// Marks a ConfigMap that holds the configuration of a plugin.
    pub const PLUGIN_CONFIG: &str = "velero.io/plugin-config";
    /// Key of the label on everything that the installer makes; the value is [`COMPONENT_VELERO`].
    pub const COMPONENT: &str = "component";
    /// Value of [`COMPONENT`].
    pub const COMPONENT_VELERO: &str = "velero";
    /// Key of the label that selects the server's pods; the value is [`COMPONENT_VELERO`].
    pub const DEPLOY: &str = "deploy";
    /// Key of the label that selects the pods of one node-agent DaemonSet.
    pub const NAME: &str = "name";
    /// Key of the label on all node-agent pods; the value is [`ROLE_NODE_AGENT`].
    pub const ROLE: &str = "role";
    /// Value of [`ROLE`], and the name of the Linux node-agent DaemonSet.
    pub const ROLE_NODE_AGENT: &str = "node-agent";
}

/// Annotations, by who writes them.
pub mod annotations {
    /// Ends the run of a Backup or a Restore; the value says who wants that. Ours alone.
    pub const CANCEL: &str = "x.velero.io/cancel";
    /// The cluster that has made a Backup: the uid of its namespace `kube-system`. Ours alone.
    pub const CLUSTER: &str = "x.velero.io/cluster";
    /// When the run of a schedule was due that a Backup was made for, in RFC 3339. Ours alone.
    pub const DUE: &str = "x.velero.io/due";
    /// How far the deletion of a backup is, in words, on its DeleteBackupRequest. Ours alone.
    pub const PROGRESS: &str = "x.velero.io/progress";
    /// The files of a Restore that its store has not taken and the server keeps, separated by commas. Ours alone.
    pub const KEPT_BY_SERVER: &str = "x.velero.io/kept-by-server";
    /// [`THROUGH_SERVER`] on a DownloadRequest of somebody who cannot reach the store. Ours alone.
    pub const THROUGH: &str = "x.velero.io/through";
    /// Asks for an address at the server itself.
    pub const THROUGH_SERVER: &str = "server";
    /// What a Backup, a Restore or a DownloadRequest waits for, and since when, in words. Ours alone.
    pub const WAITS_FOR: &str = "x.velero.io/waits-for";
    /// Git version of the cluster that a backup was taken from.
    pub const SOURCE_CLUSTER_GIT_VERSION: &str = "velero.io/source-cluster-k8s-gitversion";
    /// Major version of the cluster that a backup was taken from.
    pub const SOURCE_CLUSTER_MAJOR_VERSION: &str = "velero.io/source-cluster-k8s-major-version";
    /// Minor version of the cluster that a backup was taken from.
    pub const SOURCE_CLUSTER_MINOR_VERSION: &str = "velero.io/source-cluster-k8s-minor-version";
    /// How long item actions of a backup may wait for a resource, a Go duration.
    pub const RESOURCE_TIMEOUT: &str = "velero.io/resource-timeout";
    /// How long the pod volumes of one backup or restore may take, a Go duration.
    pub const POD_VOLUME_TIMEOUT: &str = "velero.io/pod-volume-timeout";
    /// Volumes of a pod, separated by commas, whose files are backed up.
    pub const VOLUMES_TO_BACKUP: &str = "backup.velero.io/backup-volumes";
    /// Volumes of a pod, separated by commas, whose files are not backed up.
    pub const VOLUMES_TO_EXCLUDE: &str = "backup.velero.io/backup-volumes-excludes";
    /// Put on an item by an action: its additional items enter the backup whatever the filters say.
    pub const MUST_INCLUDE_ADDITIONAL_ITEMS: &str =
        "backup.velero.io/must-include-additional-items";
    /// Put on a claim by the CSI action: its volume does not come from a CSI driver.
    pub const SKIPPED_NO_CSI_PV: &str = "backup.velero.io/skipped-no-csi-pv";
    /// Put on an item by an action: leave it out of the archive.
    pub const SKIP_FROM_BACKUP: &str = "velero.io/skip-from-backup";
    /// Prefix, followed by a volume name, of the pod annotation that held a snapshot's identifier in very old backups.
    pub const POD_VOLUME_SNAPSHOT_PREFIX: &str = "snapshot.velero.io/";
    /// Handle of a CSI snapshot in its storage system.
    pub const CSI_SNAPSHOT_HANDLE: &str = "velero.io/csi-volumesnapshot-handle";
    /// Size that a volume restored from a CSI snapshot must have at least, a quantity.
    pub const CSI_SNAPSHOT_RESTORE_SIZE: &str = "velero.io/csi-volumesnapshot-restore-size";
    /// CSI driver that took a snapshot.
    pub const CSI_DRIVER_NAME: &str = "velero.io/csi-driver-name";
    /// Deletion policy of a snapshot's content before Velero changed it.
    pub const CSI_CONTENT_DELETION_POLICY: &str = "velero.io/csi-vsc-deletion-policy";
    /// Handle of a CSI group snapshot in its storage system.
    pub const CSI_GROUP_SNAPSHOT_HANDLE: &str = "velero.io/csi-volumegroupsnapshot-handle";
    /// VolumeSnapshotClass that a user wants for a claim.
    pub const CSI_SNAPSHOT_CLASS: &str = "velero.io/csi-volumesnapshot-class";
    /// Prefix, followed by a driver name, of the backup annotation that chooses a VolumeSnapshotClass.
    pub const CSI_SNAPSHOT_CLASS_DRIVER_PREFIX: &str = "velero.io/csi-volumesnapshot-class_";
    /// VolumeGroupSnapshotClass that a user wants for a claim; spelled otherwise than [`CSI_GROUP_SNAPSHOT_CLASS_DRIVER_PREFIX`].
    pub const CSI_GROUP_SNAPSHOT_CLASS: &str = "velero.io/csi-volume-group-snapshot-class";
    /// Prefix, followed by a driver name, of the backup annotation that chooses a VolumeGroupSnapshotClass.
    pub const CSI_GROUP_SNAPSHOT_CLASS_DRIVER_PREFIX: &str =
        "velero.io/csi-volumegroupsnapshot-class_";
    /// Marks the snapshot class that Kubernetes takes when none is named.
    pub const SNAPSHOT_IS_DEFAULT_CLASS: &str = "snapshot.storage.kubernetes.io/is-default-class";
    /// Name of the secret that a CSI driver needs to delete a snapshot.
    pub const CSI_SNAPSHOTTER_SECRET_NAME: &str = "csi.storage.k8s.io/snapshotter-secret-name";
    /// Namespace of the secret that a CSI driver needs to delete a snapshot.
    pub const CSI_SNAPSHOTTER_SECRET_NAMESPACE: &str =
        "csi.storage.k8s.io/snapshotter-secret-namespace";
    /// Name of the secret that a CSI driver needs to list snapshots.
    pub const CSI_SNAPSHOTTER_LIST_SECRET_NAME: &str =
        "csi.storage.k8s.io/snapshotter-list-secret-name";
    /// Namespace of the secret that a CSI driver needs to list snapshots.
    pub const CSI_SNAPSHOTTER_LIST_SECRET_NAMESPACE: &str =
        "csi.storage.k8s.io/snapshotter-list-secret-namespace";
    /// Data upload of a claim, as `namespace/name`.
    pub const DATA_UPLOAD_NAME: &str = "velero.io/data-upload-name";
    /// Name of the VolumeSnapshot taken of a claim; also used as a label.
    pub const VOLUME_SNAPSHOT_NAME: &str = super::labels::VOLUME_SNAPSHOT_NAME;
    /// Claim behind the volume of a pod volume backup.
    pub const PVC_NAME: &str = "velero.io/pvc-name";
    /// Says for one object, `true` or `false`, whether its status is restored.
    pub const RESTORE_STATUS: &str = "velero.io/restore-status";
    /// Name that a renamed PersistentVolume had in the backup.
    pub const ORIGINAL_PV_NAME: &str = "velero.io/original-pv-name";

    /// Annotations of a pod that run commands in it around its backup.
    pub mod backup_hook {
        /// Prefix of the hook that runs before the pod is read; old pods have the keys without `pre.`.
        pub const PRE_PREFIX: &str = "pre.hook.backup.velero.io/";
        /// Older spelling of [`PRE_PREFIX`], still read.
        pub const PRE_PREFIX_OLD: &str = "hook.backup.velero.io/";
        /// Prefix of the hook that runs after the pod was read.
        pub const POST_PREFIX: &str = "post.hook.backup.velero.io/";
        /// Behind a prefix: container to run in; the first one if absent.
        pub const CONTAINER: &str = "container";
        /// Behind a prefix: the command, plain or as a JSON list of strings.
        pub const COMMAND: &str = "command";
        /// Behind a prefix: `Fail` or `Continue`; anything else counts as `Continue`.
        pub const ON_ERROR: &str = "on-error";
        /// Behind a prefix: how long the command may run, a Go duration.
        pub const TIMEOUT: &str = "timeout";
    }

    /// Annotations of a pod that act on it when it is restored.
    pub mod restore_hook {
        /// Container of the command that runs after the restore; the first one if absent.
        pub const POST_CONTAINER: &str = "post.hook.restore.velero.io/container";
        /// Command that runs after the restore, plain or as a JSON list of strings.
        pub const POST_COMMAND: &str = "post.hook.restore.velero.io/command";
        /// `Fail` or `Continue` (the default).
        pub const POST_ON_ERROR: &str = "post.hook.restore.velero.io/on-error";
        /// How long the command may run, a Go duration.
        pub const POST_EXEC_TIMEOUT: &str = "post.hook.restore.velero.io/exec-timeout";
        /// How long to wait for the container to run, a Go duration.
        pub const POST_WAIT_TIMEOUT: &str = "post.hook.restore.velero.io/wait-timeout";
        /// Whether to wait for the container to be ready, not only running.
        pub const POST_WAIT_FOR_READY: &str = "post.hook.restore.velero.io/wait-for-ready";
        /// Image of the init container that is added to the pod.
        pub const INIT_CONTAINER_IMAGE: &str = "init.hook.restore.velero.io/container-image";
        /// Name of the init container; made up if absent.
        pub const INIT_CONTAINER_NAME: &str = "init.hook.restore.velero.io/container-name";
        /// Command of the init container, plain or as a JSON list of strings.
        pub const INIT_COMMAND: &str = "init.hook.restore.velero.io/command";
        /// How long the init container may take, a Go duration.
        pub const INIT_TIMEOUT: &str = "init.hook.restore.velero.io/timeout";
    }
}

/// Finalizers.
pub mod finalizers {
    /// On a Restore: its files in the bucket go first.
    pub const RESTORE_EXTERNAL_RESOURCES: &str = "restores.velero.io/external-resources-finalizer";
    /// On a PodVolumeBackup or PodVolumeRestore: work in progress is cancelled and cleaned up first.
    pub const POD_VOLUME: &str = "velero.io/pod-volume-finalizer";
    /// On a DataUpload or DataDownload: work in progress is cancelled and cleaned up first.
    pub const DATA_UPLOAD_DOWNLOAD: &str = "velero.io/data-upload-download-finalizer";
    /// On a VolumeSnapshotContent: put there by older versions, only ever removed now.
    pub const VOLUME_SNAPSHOT_CONTENT_PROTECT: &str =
        "velero.io/volume-snapshot-content-protect-finalizer";
}

/// Whether a text can be the name of a namespace: a DNS-1123 label.
///
/// ```
/// assert!(velero_core::names::is_namespace_name("kube-system"));
/// assert!(!velero_core::names::is_namespace_name("Kube_System"));
/// ```
pub fn is_namespace_name(text: &str) -> bool {
    text.len() <= MAX_LABEL_VALUE && is_dns_part(text)
}

/// What is wrong with the key of a label or annotation, if something is: `name` or `dns.prefix/name`.
pub fn key_fault(key: &str) -> Option<&'static str> {
    const LONGEST_PREFIX: usize = 253;
    let (prefix, name) = key
        .split_once('/')
        .map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if name.is_empty() || !is_label_part(name) {
        return Some(
            "a name is 1 to 63 letters, digits, '-', '_' or '.', and begins and ends with a letter or digit",
        );
    }
    let good = |prefix: &str| prefix.len() <= LONGEST_PREFIX && prefix.split('.').all(is_dns_part);
    (!prefix.is_none_or(good)).then_some("the part before '/' must be a dns name")
}

/// What is wrong with the value of a label, if something is.
pub fn label_value_fault(value: &str) -> Option<&'static str> {
    (!is_label_part(value)).then_some(
        "a value is at most 63 letters, digits, '-', '_' or '.', and begins and ends with a letter or digit",
    )
}

/// One part of a DNS name, of any length.
fn is_dns_part(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(edge) && text.ends_with(edge) && text.chars().all(|c| edge(c) || c == '-')
}

fn is_label_part(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= MAX_LABEL_VALUE
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && edge(text.chars().next())
        && edge(text.chars().next_back())
}

/// Shortens a value so that it fits in a label.
///
/// Up to 63 bytes it stays as it is. A longer one becomes its first 57 bytes and the first 6 hexadecimal digits of the SHA-256 of
/// the whole. Kubernetes names are ASCII; should the cut fall inside a character, that character is dropped.
/// Mirrors `GetValidName` in `pkg/label/label.go`.
///
/// ```
/// let long = "this_is_a_very_long_label_value_that_will_be_rejected_by_Kubernetes";
/// assert_eq!(
///     velero_core::names::valid_label_name(long),
///     "this_is_a_very_long_label_value_that_will_be_rejected_by_8d0722",
/// );
/// ```
pub fn valid_label_name(value: &str) -> String {
    const HASH_DIGITS: usize = 6;
    if value.len() <= MAX_LABEL_VALUE {
        return value.to_owned();
    }
    let mut hash = hex(&Sha256::digest(value));
    hash.truncate(HASH_DIGITS);
    let cut = value.floor_char_boundary(MAX_LABEL_VALUE - HASH_DIGITS);
    format!("{}{hash}", &value[..cut])
}

/// Gives a value itself if it fits in a label, and its SHA3-224 as 56 hexadecimal digits if not.
///
/// Mirrors `ReturnNameOrHash` in `pkg/label/label.go`.
pub fn name_or_hash(value: &str) -> String {
    if value.len() <= MAX_LABEL_VALUE {
        value.to_owned()
    } else {
        hex(&Sha3_224::digest(value))
    }
}

/// Bytes as hexadecimal digits, in lower case.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_those_that_api_servers_take() {
        let long = "x".repeat(64);
        for (key, good) in [
            ("a", true),
            ("A_b.c-9", true),
            ("example.com/a", true),
            ("", false),
            ("Bad Key", false),
            ("-a", false),
            (long.as_str(), false),
            ("/a", false),
            ("a/", false),
            ("a/b/c", false),
            ("Example.com/a", false),
            ("a..b/c", false),
            (".a/c", false),
            ("-a/c", false),
        ] {
            assert_eq!(key_fault(key).is_none(), good, "{key:?}");
        }
        for (value, good) in [
            ("", true),
            ("v1.2_x", true),
            ("a b", false),
            ("a/b", false),
            ("_a", false),
            (long.as_str(), false),
        ] {
            assert_eq!(label_value_fault(value).is_none(), good, "{value:?}");
        }
    }

    #[test]
    fn namespaces_are_dns_labels() {
        for (name, good) in [
            ("a", true),
            ("kube-system", true),
            ("9", true),
            ("", false),
            ("Bad_NS", false),
            ("a.b", false),
            ("-a", false),
            ("a-", false),
        ] {
            assert_eq!(is_namespace_name(name), good, "{name:?}");
        }
        assert!(!is_namespace_name(&"a".repeat(64)));
    }
}
