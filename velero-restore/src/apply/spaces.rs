//! Namespaces that are there and are not what the backup has. No policy changes them, as in upstream's
//! `EnsureNamespaceExistsAndIsReady` (`pkg/util/kube/utils.go`); that they differ is told.

use velero_core::plan::{ItemVerdict, LiveObject, Verdict};
use velero_core::result::{Record, Severity};
use velero_core::{GroupResource, ItemTree, RawItem};

use super::rehearse::digest;
use super::run::Run;
use crate::compare::same;
use crate::verify::{content, differences};

/// What is said of a namespace that differs.
const DIFFERS: &str = "not restored: the namespace in the cluster differs from the one in the backup, and no restore changes \
                       a namespace that is there";
/// Where Kubernetes repeats the name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

impl Run {
    /// Notes how a namespace of the cluster differs from what a new one would be.
    pub(super) fn note_space(&self, target: &str, live: &RawItem, wanted: &ItemTree) {
        let Ok(mut tree) = live.tree() else {
            return;
        };
        let mut wanted = wanted.clone();
        tree.remove_labels(&[NAME_LABEL]);
        // Finalizers of the API server.
        tree.remove("", "spec");
        wanted.remove("", "spec");
        if same(&tree, &wanted) {
            return;
        }
        let (told, more) = differences(&tree, &wanted);
        let head = live.head();
        let found = ItemVerdict {
            verdict: Verdict::Conflict,
            reason: DIFFERS.to_owned(),
            differences: told,
            more_differences: more,
            wanted: digest(wanted.as_value()),
            live: Some(LiveObject {
                uid: head.uid.clone(),
                resource_version: head.resource_version.clone(),
                content: content(tree)
                    .map(|value| digest(&value))
                    .unwrap_or_default(),
            }),
            ..ItemVerdict::default()
        };
        self.namespaces.differs(target, found);
    }

    /// Warns of a namespace of the backup that is there and differs.
    pub(super) fn warn_of_space(&self, target: &str) {
        if self.rehearsal.is_none() && self.namespaces.difference(target).is_some() {
            let namespaces = &GroupResource::core("namespaces");
            let record = Record::item(Severity::Warning, namespaces, "", target, DIFFERS);
            self.record(record);
        }
    }
}
