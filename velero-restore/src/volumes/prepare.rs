//! What is changed on volumes and claims before they are created.

use sha2::{Digest as _, Sha256};
use velero_core::ItemTree;
use velero_core::names::{annotations, hex};

use crate::request::RestoreRequest;
use crate::reset::reset_binding;

/// What the claim of a volume asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClaimVolume {
    /// The volume that it had.
    Same,
    /// The volume that it had, which has another name by now.
    Renamed(String),
    /// Any volume: it gets a new one.
    New,
}

/// Prepares a PersistentVolume that is restored: its claim lies in the target namespace and binds it anew. `true` when
/// that is another namespace.
pub(crate) fn prepare_volume(item: &mut ItemTree, request: &RestoreRequest) -> bool {
    let source = item.str_at("/spec/claimRef/namespace").to_owned();
    let target = request.target_namespace(&source);
    if let Some(namespace) = item.at_mut("/spec/claimRef/namespace") {
        *namespace = target.into();
    }
    reset_binding(item);
    source != target
}

/// Prepares a claim whose volume was decided about.
pub(crate) fn prepare_claim(item: &mut ItemTree, volume: &ClaimVolume) {
    reset_binding(item);
    match volume {
        ClaimVolume::Same => {}
        ClaimVolume::New => {
            item.remove("/spec", "volumeName");
        }
        ClaimVolume::Renamed(name) => {
            if let Some(volume) = item.at_mut("/spec/volumeName") {
                *volume = name.as_str().into();
            }
        }
    }
}

/// Whether an action has taken the volume away from a claim and said where its data comes from instead: a source of
/// data, or a selector that only a filled volume matches.
pub(crate) fn has_own_source(item: &ItemTree, archived: &ItemTree) -> bool {
    let volume = |tree: &ItemTree| !tree.str_at("/spec/volumeName").is_empty();
    let set = |at: &str| {
        item.at(at).is_some_and(|value| !value.is_null()) && item.at(at) != archived.at(at)
    };
    volume(archived)
        && !volume(item)
        && ["/spec/dataSource", "/spec/dataSourceRef", "/spec/selector"]
            .iter()
            .any(|at| set(at))
}

/// The name of the copy of a volume whose own name is taken. The same restore gives the same name, so that one that was
/// cut short finds what it had made.
pub(crate) fn clone_name(volume: &str, request: &RestoreRequest) -> String {
    let metadata = &request.restore().metadata;
    let restore = metadata.uid.as_deref().or(metadata.name.as_deref());
    let backup = &request.restore().spec.backup_name;
    let text = format!("{}/{backup}/{volume}", restore.unwrap_or_default());
    let hash = hex(&Sha256::digest(text.as_bytes())[..16]);
    let part = |from: usize, to: usize| hash.get(from..to).unwrap_or_default();
    let parts = [
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32),
    ];
    format!("velero-clone-{}", parts.join("-"))
}

/// Gives a volume another name; the old one stays as an annotation.
pub(crate) fn rename(item: &mut ItemTree, old: &str, new: &str) {
    item.metadata_mut().insert("name".into(), new.into());
    item.set_annotation(annotations::ORIGINAL_PV_NAME, old);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use velero_core::api::Restore;

    fn tree(value: Value) -> ItemTree {
        ItemTree::new(value).unwrap()
    }

    fn request(name: &str) -> RestoreRequest {
        let mut restore = Restore::default();
        restore.metadata.name = Some(name.into());
        restore.spec.backup_name = "b".into();
        RestoreRequest::resolve(restore).unwrap()
    }

    #[test]
    fn claims_follow_their_volume() {
        for (volume, expected) in [
            (ClaimVolume::Same, json!({"volumeName": "pv1"})),
            (
                ClaimVolume::Renamed("other".into()),
                json!({"volumeName": "other"}),
            ),
            (ClaimVolume::New, json!({})),
        ] {
            let mut item =
                tree(json!({"kind": "PersistentVolumeClaim", "spec": {"volumeName": "pv1"}}));
            prepare_claim(&mut item, &volume);
            assert_eq!(item.at("/spec"), Some(&expected), "{volume:?}");
        }
        // What an action has taken away does not come back under another name.
        let mut item = tree(json!({"kind": "PersistentVolumeClaim", "spec": {}}));
        prepare_claim(&mut item, &ClaimVolume::Renamed("other".into()));
        assert_eq!(item.at("/spec"), Some(&json!({})));
    }

    #[test]
    fn actions_that_bring_data_say_where_from() {
        let archived =
            tree(json!({"kind": "x", "spec": {"volumeName": "pv1", "selector": {"a": 1}}}));
        for (spec, expected) in [
            (json!({"volumeName": "pv1", "selector": {"a": 1}}), false),
            (json!({"selector": {"a": 1}}), false),
            (json!({"selector": {"a": 2}}), true),
            (json!({"dataSource": {"name": "s"}}), true),
            (json!({"dataSource": null}), false),
            (
                json!({"volumeName": "pv1", "dataSource": {"name": "s"}}),
                false,
            ),
        ] {
            let item = tree(json!({"kind": "x", "spec": spec}));
            assert_eq!(has_own_source(&item, &archived), expected, "{item:?}");
        }
    }

    #[test]
    fn copies_have_names_of_their_own() {
        let name = clone_name("pv1", &request("r"));
        assert_eq!(name.len(), "velero-clone-".len() + 36, "{name}");
        assert_eq!(name, clone_name("pv1", &request("r")));
        assert_ne!(name, clone_name("pv2", &request("r")));
        assert_ne!(name, clone_name("pv1", &request("s")));
        let mut item = tree(json!({"kind": "PersistentVolume", "metadata": {"name": "pv1"}}));
        rename(&mut item, "pv1", "pv2");
        let expected = json!({"name": "pv2", "annotations": {"velero.io/original-pv-name": "pv1"}});
        assert_eq!(item.at("/metadata"), Some(&expected));
    }
}
