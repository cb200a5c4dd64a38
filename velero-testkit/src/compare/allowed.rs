//! What may differ.

/// A field that may differ between a source and what was restored from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowedDifference {
    /// Kind of the objects, several with `|` between them, or `*` for all.
    pub kind: &'static str,
    /// Way to the field; everything below it may differ too. `[]` stands for each element of a list, and
    /// `[field=value]` for those elements whose `field` is `value`, or one of several with `|` between them. A last
    /// step may name several fields, with `|` between them.
    pub path: &'static [&'static str],
    /// Why.
    pub reason: &'static str,
}

impl AllowedDifference {
    /// Whether the entry is about objects of this kind.
    #[must_use]
    pub fn is_about(&self, kind: &str) -> bool {
        self.kind.split('|').any(|one| one == "*" || one == kind)
    }
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
        &[
            "metadata",
            "uid|resourceVersion|creationTimestamp|generation|generateName",
        ],
        "given by the API server to each object anew, or of use only when it gives a name",
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
        "owner of a field that is given at creation",
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
        "Pod|ReplicaSet",
        &[
            "metadata",
            "managedFields",
            "[]",
            "fieldsV1",
            "f:metadata",
            "f:ownerReferences",
        ],
        "keeps the uid of the owner that was backed up as a key, beside that of the owner which adopts the object",
    ),
    allow(
        "*",
        &["status"],
        "written by controllers, not restored unless asked for",
    ),
    allow(
        "PersistentVolumeClaim",
        &[
            "metadata",
            "annotations",
            "pv.kubernetes.io/bind-completed|pv.kubernetes.io/bound-by-controller",
        ],
        "written at binding, which a restored claim goes through again",
    ),
    allow(
        "PersistentVolumeClaim",
        &[
            "metadata",
            "managedFields",
            "[manager=kube-controller-manager|kwok]",
            "fieldsV1",
            "f:spec",
            "f:volumeName",
        ],
        "the volume controller and the provisioner race for the binding",
    ),
    allow(
        "PersistentVolumeClaim",
        &[
            "metadata",
            "managedFields",
            "[manager=kube-controller-manager|kwok]",
            "fieldsV1",
            "f:metadata",
            "f:annotations",
            "f:pv.kubernetes.io/bind-completed|f:pv.kubernetes.io/bound-by-controller|\
             f:volume.beta.kubernetes.io/storage-provisioner|f:volume.kubernetes.io/storage-provisioner|.",
        ],
        "the volume controller and the provisioner race for the binding",
    ),
    allow(
        "PersistentVolume",
        &["metadata", "managedFields", "[manager=kwok]"],
        "the provisioner writes a volume once or several times, as it is called; it makes that of a restored claim anew",
    ),
    allow(
        "PersistentVolume",
        &["spec", "claimRef", "resourceVersion"],
        "version of the claim when it was bound",
    ),
    allow(
        "Service",
        &["spec", "clusterIP|clusterIPs"],
        "given by the API server out of its range",
    ),
    allow(
        "Service",
        &["spec", "ports", "[]", "nodePort"],
        "given by the API server unless the user chose it",
    ),
    allow("Pod", &["spec", "nodeName"], "given by the scheduler"),
    allow(
        "Endpoints|EndpointSlice",
        &[
            "metadata",
            "annotations",
            "endpoints.kubernetes.io/last-change-trigger-time",
        ],
        "time of the last change of a pod, absent when the last change was another",
    ),
    allow(
        "Endpoints|EndpointSlice",
        &[
            "metadata",
            "managedFields",
            "[]",
            "fieldsV1",
            "f:metadata",
            "f:annotations",
            "f:endpoints.kubernetes.io/last-change-trigger-time|.",
        ],
        "owner of that time, and of the map that it needs",
    ),
    allow(
        "Job",
        &[
            "metadata",
            "labels",
            "controller-uid|batch.kubernetes.io/controller-uid",
        ],
        "tells the uid of the Job that was backed up",
    ),
];
