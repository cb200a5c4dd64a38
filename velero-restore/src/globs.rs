//! Lists with globs that do not parse, where a restore deletes objects.
//!
//! Such a glob, and all that is sorted after it, match nothing, as in the peer: an exclusion would do nothing.

use velero_core::api::{BackupSpec, RestoreSpec};
use velero_core::filter::IncludesExcludes;

/// What is wrong with the lists of a restore.
pub(crate) fn of_restore(spec: &RestoreSpec) -> Vec<String> {
    faults([
        ("includedNamespaces", &spec.included_namespaces),
        ("excludedNamespaces", &spec.excluded_namespaces),
        ("includedResources", &spec.included_resources),
        ("excludedResources", &spec.excluded_resources),
    ])
}

/// What is wrong with the lists of a backup.
pub(crate) fn of_backup(spec: &BackupSpec) -> Vec<String> {
    faults([
        ("includedNamespaces", &spec.included_namespaces),
        ("excludedNamespaces", &spec.excluded_namespaces),
        ("includedResources", &spec.included_resources),
        ("excludedResources", &spec.excluded_resources),
        (
            "includedClusterScopedResources",
            &spec.included_cluster_scoped_resources,
        ),
        (
            "excludedClusterScopedResources",
            &spec.excluded_cluster_scoped_resources,
        ),
        (
            "includedNamespaceScopedResources",
            &spec.included_namespace_scoped_resources,
        ),
        (
            "excludedNamespaceScopedResources",
            &spec.excluded_namespace_scoped_resources,
        ),
    ])
}

fn faults<const N: usize>(lists: [(&str, &Vec<String>); N]) -> Vec<String> {
    let mut faults = Vec::new();
    for (field, list) in lists {
        let list = IncludesExcludes::new(list.iter().cloned(), std::iter::empty::<String>());
        faults.extend(list.broken().map(|glob| {
            format!(
                "{field}: {:?} is no pattern, and it and all that is sorted after it would match nothing; a restore that \
                 deletes objects needs one, as \"team-*\" and \"team-[ab]\" are",
                glob.as_str()
            )
        }));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_list_is_looked_at() {
        let bad = || vec!["[a-z".to_owned(), "secrets".to_owned()];
        let fine = vec!["team-*".to_owned(), "*".to_owned()];
        let spec = RestoreSpec {
            included_namespaces: bad(),
            excluded_namespaces: bad(),
            included_resources: fine.clone(),
            excluded_resources: bad(),
            ..RestoreSpec::default()
        };
        let found = of_restore(&spec);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[2].starts_with("excludedResources: \"[a-z\" is no pattern"),
            "{found:?}"
        );
        let spec = BackupSpec {
            included_namespaces: fine,
            excluded_namespaces: bad(),
            included_resources: bad(),
            excluded_resources: bad(),
            included_cluster_scoped_resources: bad(),
            excluded_cluster_scoped_resources: bad(),
            included_namespace_scoped_resources: bad(),
            excluded_namespace_scoped_resources: bad(),
            ..BackupSpec::default()
        };
        assert_eq!(of_backup(&spec).len(), 7);
    }
}
