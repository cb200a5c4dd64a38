//! What may differ.

/// A field that may differ between a source and what was restored from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowedDifference {
    /// Kind of the objects, or `*` for all.
    pub kind: &'static str,
    /// Way to the field; everything below it may differ too. `[]` stands for each element of a list, and
    /// `[field=value]` for those elements whose `field` is `value`. A last step may name several fields, with `|`
    /// between them.
    pub path: &'static [&'static str],
    /// Why.
    pub reason: &'static str,
}

const fn allow(
    kind: &'static str,
    path: &'static [&'static str],
    reason: &'static str,
) -> AllowedDifference {
    AllowedDifference { kind, path, reason }
}

/// What may differ between the objects that were backed up and the objects that a restore made of them.
pub const ALLOWED: &[AllowedDifference] = &[
    allow(
        "*",
        &["metadata", "uid"],
        "given by the API server at creation",
    ),
    allow(
        "*",
        &["metadata", "resourceVersion"],
        "given by the API server at each write",
    ),
    allow("*", &["metadata", "creationTimestamp"], "time of creation"),
    allow(
        "*",
        &["metadata", "generation"],
        "counts the writes of this object's life",
    ),
    allow(
        "*",
        &["metadata", "generateName"],
        "only of use at creation, when the name is given",
    ),
    allow(
        "*",
        &["metadata", "ownerReferences", "[]", "uid"],
        "uid of the restored owner",
    ),
    allow(
        "*",
        &[
            "metadata",
            "labels",
            "velero.io/backup-name|velero.io/restore-name",
        ],
        "tell where a restored object comes from",
    ),
    allow(
        "*",
        &["metadata", "managedFields", "[]", "time"],
        "time of the write",
    ),
    allow(
        "*",
        &["metadata", "managedFields", "[subresource=status]"],
        "status is not restored, nor who wrote it",
    ),
    allow(
        "*",
        &[
            "metadata",
            "managedFields",
            "[]",
            "fieldsV1",
            "f:metadata",
            "f:generateName",
        ],
        "as the field",
    ),
    allow(
        "*",
        &[
            "metadata",
            "managedFields",
            "[]",
            "fieldsV1",
            "f:metadata",
            "f:ownerReferences",
        ],
        "keys are uids",
    ),
    allow(
        "*",
        &[
            "metadata",
            "managedFields",
            "[]",
            "fieldsV1",
            "f:metadata",
            "f:labels",
            "f:velero.io/backup-name|f:velero.io/restore-name|.",
        ],
        "owners of the restore labels, and of the map that they need",
    ),
    allow(
        "*",
        &["status"],
        "written by controllers, not restored unless asked for",
    ),
    allow(
        "PersistentVolumeClaim",
        &["metadata", "annotations", "pv.kubernetes.io/bind-completed"],
        "written at binding",
    ),
    allow(
        "PersistentVolumeClaim",
        &[
            "metadata",
            "annotations",
            "pv.kubernetes.io/bound-by-controller",
        ],
        "written at binding",
    ),
    allow(
        "PersistentVolume",
        &["spec", "claimRef", "uid"],
        "uid of the restored claim",
    ),
    allow(
        "PersistentVolume",
        &["spec", "claimRef", "resourceVersion"],
        "version of the restored claim",
    ),
    allow(
        "Service",
        &["spec", "clusterIP"],
        "given by the API server out of its range",
    ),
    allow(
        "Service",
        &["spec", "clusterIPs"],
        "given by the API server out of its range",
    ),
    allow(
        "Service",
        &["spec", "ports", "[]", "nodePort"],
        "given by the API server unless the user chose it",
    ),
    allow("Pod", &["spec", "nodeName"], "given by the scheduler"),
    allow(
        "Endpoints",
        &[
            "metadata",
            "annotations",
            "endpoints.kubernetes.io/last-change-trigger-time",
        ],
        "time of the last change of a pod",
    ),
    allow(
        "Job",
        &["metadata", "labels", "controller-uid"],
        "tells the uid of the Job that was backed up",
    ),
    allow(
        "Job",
        &["metadata", "labels", "batch.kubernetes.io/controller-uid"],
        "tells the uid of the Job that was backed up",
    ),
];
