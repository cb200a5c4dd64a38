//! The configuration of built-in actions, as plain data.

use std::collections::BTreeMap;

use serde_json::Value;
use velero_core::action::{ActionError, ClusterReader};
use velero_core::names::labels;
use velero_core::{GroupResource, ItemTree, Selector};

/// Label of the ConfigMap that configures `velero.io/change-storage-class`.
pub(super) const STORAGE_CLASS: &str = "velero.io/change-storage-class";
/// Label of the ConfigMap that configures `velero.io/change-image-name`.
pub(super) const IMAGE_NAME: &str = "velero.io/change-image-name";
/// Value of these labels for actions of a restore.
const KIND: &str = "RestoreItemAction";

/// A part of image names and what takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageChange {
    /// The part to replace, wherever it stands in an image's name; not empty.
    pub old: String,
    /// What takes its place; not empty.
    pub new: String,
}

/// What built-in actions change on their way, where somebody has configured them.
///
/// In a cluster this lies in ConfigMaps of Velero's namespace, see [`ActionConfig::read`]; in a program it can be made by
/// hand. The default changes nothing.
///
/// ```
/// use velero_restore::actions::{ActionConfig, ImageChange};
///
/// let mut config = ActionConfig::default();
/// config.storage_classes.insert("gp2".into(), "gp3".into());
/// config.images.push(ImageChange { old: "docker.io/".into(), new: "registry.example.com/".into() });
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActionConfig {
    /// Names of StorageClasses in the backup, and the classes to use instead.
    pub storage_classes: BTreeMap<String, String>,
    /// Changes of image names; of those that apply to a name the first one is made.
    pub images: Vec<ImageChange>,
    /// What was passed over because it cannot be read as a change. Each becomes a warning of the run.
    pub warnings: Vec<String>,
}

impl ActionConfig {
    /// Reads the configuration from the ConfigMaps of Velero's namespace, in one list.
    ///
    /// # Errors
    /// When the ConfigMaps cannot be listed, or more than one is meant for an action.
    pub async fn read(cluster: &dyn ClusterReader, namespace: &str) -> Result<Self, ActionError> {
        let selector: Selector = labels::PLUGIN_CONFIG.parse()?;
        let maps = cluster
            .list(&GroupResource::core("configmaps"), namespace, &selector)
            .await?;
        Self::from_config_maps(&maps)
    }

    /// Takes the configuration out of ConfigMaps with the label `velero.io/plugin-config`; others are passed over.
    ///
    /// A ConfigMap of storage classes has a key for each class and the new class as its value. One of images has values
    /// of the form `old,new` under any keys, which give the order.
    ///
    /// # Errors
    /// When more than one is meant for an action.
    pub fn from_config_maps(maps: &[ItemTree]) -> Result<Self, ActionError> {
        let mut config = Self::default();
        if let Some(map) = only(maps, STORAGE_CLASS)? {
            for (old, new) in data(map) {
                if new.is_empty() {
                    config.warnings.push(passed_over(
                        map,
                        &old,
                        "it is empty; name a storage class",
                    ));
                } else {
                    config.storage_classes.insert(old, new);
                }
            }
        }
        if let Some(map) = only(maps, IMAGE_NAME)? {
            for (key, row) in data(map) {
                match image_change(&row) {
                    Some(change) => config.images.push(change),
                    None => {
                        let why = format!("{row:?} is not of the form \"old,new\"");
                        config.warnings.push(passed_over(map, &key, &why));
                    }
                }
            }
        }
        Ok(config)
    }
}

/// Reads `old,new`; spaces around both do not count.
fn image_change(row: &str) -> Option<ImageChange> {
    let (old, new) = row.split_once(',')?;
    let (old, new) = (old.trim(), new.trim());
    (!old.is_empty() && !new.is_empty()).then(|| ImageChange {
        old: old.to_owned(),
        new: new.to_owned(),
    })
}

fn passed_over(map: &ItemTree, key: &str, why: &str) -> String {
    let (namespace, name) = (map.namespace(), map.name());
    format!("ConfigMap {namespace}/{name}: data {key:?} is passed over: {why}")
}

/// The ConfigMap that is meant for an action.
fn only<'a>(maps: &'a [ItemTree], label: &str) -> Result<Option<&'a ItemTree>, ActionError> {
    let is_meant = |map: &&ItemTree| {
        let labels = map.labels();
        labels.contains_key(labels::PLUGIN_CONFIG)
            && labels.get(label).is_some_and(|kind| kind == KIND)
    };
    let meant: Vec<&ItemTree> = maps.iter().filter(is_meant).collect();
    if meant.len() > 1 {
        let names: Vec<&str> = meant.iter().map(|map| map.name()).collect();
        return Err(ActionError::new(format_args!(
            "{} ConfigMaps have the label {label}={KIND}, and one is right: {}",
            meant.len(),
            names.join(", ")
        )));
    }
    Ok(meant.first().copied())
}

fn data(map: &ItemTree) -> BTreeMap<String, String> {
    let data = map.at("/data").and_then(Value::as_object);
    data.into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(name: &str, label: &str, kind: &str, data: Value) -> ItemTree {
        let mut map = json!({"kind": "ConfigMap", "metadata": {"namespace": "velero", "name": name}, "data": data});
        map["metadata"]["labels"] = json!({"velero.io/plugin-config": "", label: kind});
        ItemTree::new(map).unwrap()
    }

    #[test]
    fn config_maps_are_found_by_their_labels() {
        let classes = json!({"old": "new", "empty": ""});
        let mut unlabelled = map("b", STORAGE_CLASS, KIND, json!({"x": "y"}));
        unlabelled.remove_labels(&[labels::PLUGIN_CONFIG]);
        let config = ActionConfig::from_config_maps(&[
            map("a", STORAGE_CLASS, KIND, classes),
            unlabelled,
            map("c", STORAGE_CLASS, "BackupItemAction", json!({"x": "y"})),
            map(
                "d",
                "velero.io/pod-volume-restore",
                KIND,
                json!({"image": "i"}),
            ),
        ])
        .unwrap();
        let expected = [("old".to_owned(), "new".to_owned())];
        assert_eq!(config.storage_classes, BTreeMap::from(expected));
        assert_eq!(
            config.warnings,
            [
                "ConfigMap velero/a: data \"empty\" is passed over: it is empty; name a storage class"
            ]
        );
        assert_eq!(
            ActionConfig::from_config_maps(&[]).unwrap(),
            ActionConfig::default()
        );
    }

    #[test]
    fn two_for_one_action_are_an_error() {
        let maps = ["a", "b"].map(|name| map(name, IMAGE_NAME, KIND, json!({})));
        let error = ActionConfig::from_config_maps(&maps).unwrap_err();
        assert_eq!(
            error.to_string(),
            "2 ConfigMaps have the label velero.io/change-image-name=RestoreItemAction, and one is right: a, b"
        );
    }

    #[test]
    fn rows_of_images() {
        for (row, expected) in [
            ("a,b", Some(("a", "b"))),
            (" a , b ", Some(("a", "b"))),
            ("a,b,c", Some(("a", "b,c"))),
            (
                "1.1.1.1:5000,2.2.2.2:3000",
                Some(("1.1.1.1:5000", "2.2.2.2:3000")),
            ),
            ("a", None),
            ("a,", None),
            ("a, ", None),
            (",b", None),
            ("", None),
        ] {
            let config =
                ActionConfig::from_config_maps(&[map("a", IMAGE_NAME, KIND, json!({"k": row}))]);
            let config = config.unwrap();
            let expected: Vec<ImageChange> = expected
                .into_iter()
                .map(|(old, new)| ImageChange {
                    old: old.into(),
                    new: new.into(),
                })
                .collect();
            assert_eq!(config.images, expected, "{row:?}");
            assert_eq!(config.warnings.len(), 1 - expected.len(), "{row:?}");
        }
    }

    #[test]
    fn rows_are_changes_in_the_order_of_their_keys() {
        let rows = json!({"case10": "c,3", "b": "b,2", "case2": "d,4", "a": "a,1", "odd": "odd"});
        let config = ActionConfig::from_config_maps(&[map("a", IMAGE_NAME, KIND, rows)]).unwrap();
        let new: Vec<&str> = config.images.iter().map(|change| &*change.new).collect();
        assert_eq!(new, ["1", "2", "3", "4"]);
    }
}
