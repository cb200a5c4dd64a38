//! Which version of a kind is restored, where an archive has objects in several.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::Value;
use velero_core::action::{ActionError, ClusterReader};
use velero_core::{Catalog, GroupResource, ResourceIdentifier};

/// The first archive format with folders for versions.
const FIRST_FORMAT: &str = "1.1.0";
/// ConfigMap of Velero's namespace that holds the wishes of users.
const CONFIG_MAP: &str = "enableapigroupversions";
/// Its key.
const KEY: &str = "restoreResourcesVersionPriority";

/// The versions in which an archive has the objects of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SourceVersions {
    /// The one that the cluster preferred that was backed up.
    pub(crate) preferred: String,
    /// All of them, in any order.
    pub(crate) all: Vec<String>,
}

/// The versions in which users want objects restored, by kind.
///
/// ```
/// use velero_restore::VersionPriorities;
///
/// let wishes = VersionPriorities::parse("rockbands.music.example.io=v2beta1,v2beta2");
/// assert_eq!(wishes.of(&"rockbands.music.example.io".into()), ["v2beta1", "v2beta2"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VersionPriorities {
    by_resource: BTreeMap<String, Vec<String>>,
    warnings: Vec<String>,
}

impl VersionPriorities {
    /// Reads lines of the form `resource.group=v1,v2`, of which the first version counts most.
    ///
    /// Spaces do not count. A line of another form is passed over and told of in [`warnings`](Self::warnings); of two
    /// lines for one kind the later one counts.
    pub fn parse(text: &str) -> Self {
        let mut out = Self::default();
        for line in text.lines() {
            let line: String = line.chars().filter(|c| !c.is_whitespace()).collect();
            match line.split_once('=') {
                Some((resource, versions))
                    if !resource.is_empty() && !versions.is_empty() && !versions.contains('=') =>
                {
                    let versions = versions.split(',').map(str::to_owned).collect();
                    out.by_resource.insert(resource.to_owned(), versions);
                }
                None if line.is_empty() => {}
                _ => out.warnings.push(format!(
                    "{CONFIG_MAP}: the line {line:?} is passed over; \"resource.group=v1,v2\" is right"
                )),
            }
        }
        out
    }

    /// Reads the wishes from the ConfigMap `enableapigroupversions` of Velero's namespace; there are none without it.
    ///
    /// # Errors
    /// When the cluster cannot be asked for the ConfigMap.
    pub async fn read(cluster: &dyn ClusterReader, namespace: &str) -> Result<Self, ActionError> {
        let maps = GroupResource::core("configmaps");
        let id = ResourceIdentifier::namespaced(maps, namespace, CONFIG_MAP);
        let map = cluster.get(&id).await?;
        let text = map
            .as_ref()
            .and_then(|map| map.at("/data")?.get(KEY))
            .and_then(Value::as_str);
        Ok(text.map(Self::parse).unwrap_or_default())
    }

    /// The versions that are wanted for a kind, the best first.
    pub fn of(&self, resource: &GroupResource) -> &[String] {
        let versions = self.by_resource.get(&resource.to_string());
        versions.map_or(&[], Vec::as_slice)
    }

    /// What was passed over.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// Whether an archive of this format has folders for versions.
pub(crate) fn has_versions(format: Option<&str>) -> bool {
    format.is_some_and(|format| format >= FIRST_FORMAT)
}

/// Chooses the version of a kind for a cluster.
pub(crate) fn choice(
    resource: &GroupResource,
    source: &SourceVersions,
    catalog: &Catalog,
    wishes: &VersionPriorities,
) -> String {
    let served = catalog.resources().iter();
    let served = served.filter(|r| r.plural == resource.resource && r.group == resource.group);
    let (mut preferred, mut target) = ("", Vec::new());
    for version in served {
        if version.preferred {
            preferred = &version.version;
        }
        target.push(version.version.as_str());
    }
    choose(source, preferred, target, wishes.of(resource)).to_owned()
}

/// Mirrors `chooseAPIVersionsToRestore` in upstream's `pkg/restore/prioritize_group_version.go`, which looks at the
/// versions of the whole group, and gives up where the only common version is the best one of a list.
fn choose<'a>(
    source: &'a SourceVersions,
    preferred: &str,
    mut target: Vec<&str>,
    wishes: &[String],
) -> &'a str {
    let mut from: Vec<&str> = source.all.iter().map(String::as_str).collect();
    from.sort_by(|a, b| compare(a, b));
    target.sort_by(|a, b| compare(a, b));
    let common = |version: &str| target.contains(&version) && from.contains(&version);
    let wished = wishes.iter().map(String::as_str).find(|v| common(v));
    let rest = |list: &[&'a str]| list.iter().skip(1).copied().collect::<Vec<_>>();
    let chosen = wished
        .or_else(|| Some(preferred).filter(|v| common(v)))
        .or_else(|| Some(source.preferred.as_str()).filter(|v| common(v)))
        .or_else(|| {
            let from = rest(&from);
            target.iter().skip(1).copied().find(|v| from.contains(v))
        })
        .or_else(|| target.iter().copied().find(|v| common(v)));
    let chosen = chosen.and_then(|chosen| from.iter().copied().find(|v| *v == chosen));
    chosen.unwrap_or(&source.preferred)
}

/// Kubernetes' order of versions, the best first: stable before beta before alpha, newest first; anything else comes last,
/// by its text.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    rank(b).cmp(&rank(a)).then_with(|| a.cmp(b))
}

/// The place of a version in Kubernetes' order: the greater, the better.
pub(crate) fn rank(version: &str) -> (u8, u32, u32) {
    let number = |text: &str| text.parse::<u32>().ok();
    let Some(rest) = version.strip_prefix('v') else {
        return (0, 0, 0);
    };
    for (word, level) in [("beta", 2), ("alpha", 1)] {
        if let Some((major, minor)) = rest.split_once(word) {
            return match (number(major), number(minor)) {
                (Some(major), Some(minor)) => (level, major, minor),
                _ => (0, 0, 0),
            };
        }
    }
    number(rest).map_or((0, 0, 0), |major| (3, major, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_as_in_kubernetes() {
        let mut versions = [
            "foo10",
            "v1beta1",
            "foo1",
            "v11alpha2",
            "v2",
            "v10",
            "v12alpha1",
            "v3beta1",
            "v1",
            "v10beta3",
            "v11beta2",
            "v",
        ];
        versions.sort_by(|a, b| compare(a, b));
        assert_eq!(
            versions,
            [
                "v10",
                "v2",
                "v1",
                "v11beta2",
                "v10beta3",
                "v3beta1",
                "v1beta1",
                "v12alpha1",
                "v11alpha2",
                "foo1",
                "foo10",
                "v",
            ]
        );
    }

    #[test]
    fn wishes_of_users() {
        let text = "rockbands.music.example.io=v2beta1,v2beta2\n\n  orchestras . music = v2 , v3alpha1  \n\
            pods=v1\nsubscriptions.operators=v2=v1\n=v1\nempty=\nno version\na.b=v1\\nc.d=v2\npods=v2";
        let wishes = VersionPriorities::parse(text);
        for (resource, expected) in [
            ("rockbands.music.example.io", &["v2beta1", "v2beta2"][..]),
            ("orchestras.music", &["v2", "v3alpha1"]),
            ("pods", &["v2"]),
            ("subscriptions.operators", &[]),
            ("empty", &[]),
            ("a.b", &[]),
        ] {
            assert_eq!(wishes.of(&resource.into()), expected, "{resource}");
        }
        assert_eq!(wishes.warnings().len(), 5, "{:?}", wishes.warnings());
        assert_eq!(
            wishes.warnings()[0],
            "enableapigroupversions: the line \"subscriptions.operators=v2=v1\" is passed over; \"resource.group=v1,v2\" is right"
        );
    }

    #[test]
    fn choices() {
        // Versions of the archive and of the cluster, the preferred one first; wishes; what is chosen.
        for (from, to, wishes, expected) in [
            (&["v1", "v2beta1"][..], &[][..], &[][..], "v1"),
            (&["v1", "v2beta1"], &[], &["v2beta1"], "v1"),
            // Wishes count where both sides have the version.
            (
                &["v1", "v2", "v3"],
                &["v1", "v2", "v3"],
                &["v9", "v3", "v2"],
                "v3",
            ),
            (&["v1", "v2"], &["v1", "v3"], &["v3", "v2"], "v1"),
            // What the cluster prefers, then what the archive prefers.
            (&["v1", "v2"], &["v2", "v1"], &[], "v2"),
            (&["v1", "v2"], &["v3", "v1"], &[], "v1"),
            // Otherwise the best one that both have.
            (
                &["v3", "v2beta2", "v2beta1"],
                &["v4", "v2beta1", "v2beta2"],
                &[],
                "v2beta2",
            ),
            (&["v3", "v1"], &["v4", "v1"], &[], "v1"),
            // The peer takes none here, as the common one leads a list.
            (&["v1beta1", "v2"], &["v1", "v2"], &[], "v2"),
            (&["v1"], &["v2", "v3"], &[], "v1"),
        ] {
            let source = SourceVersions {
                preferred: from[0].to_owned(),
                all: from.iter().map(|v| (*v).to_owned()).collect(),
            };
            let wishes: Vec<String> = wishes.iter().map(|v| (*v).to_owned()).collect();
            let preferred = to.first().copied().unwrap_or_default();
            assert_eq!(
                choose(&source, preferred, to.to_vec(), &wishes),
                expected,
                "{from:?} {to:?} {wishes:?}"
            );
        }
    }

    #[test]
    fn formats_with_versions() {
        for (format, expected) in [
            (None, false),
            (Some("1"), false),
            (Some("1.0.9"), false),
            (Some("1.1.0"), true),
            (Some("1.2.0"), true),
        ] {
            assert_eq!(has_versions(format), expected, "{format:?}");
        }
    }
}
