use super::*;

fn resource(group: &str, plural: &str, namespaced: bool) -> ApiResource {
    ApiResource {
        group: group.into(),
        version: "v1".into(),
        kind: plural.trim_end_matches('s').into(),
        plural: plural.into(),
        singular: plural.trim_end_matches('s').into(),
        namespaced,
        verbs: ["list", "create", "get", "delete"].into_iter().collect(),
        preferred: true,
        ..ApiResource::default()
    }
}

fn catalog() -> Catalog {
    let mut reports = resource("reports.io", "podreports", true);
    reports.verbs = ["list", "get"].into_iter().collect();
    let mut volumes = resource("", "persistentvolumes", false);
    volumes.short_names = vec!["pv".into()];
    Catalog::new(
        vec![
            resource("", "pods", true),
            resource("", "secrets", true),
            resource("", "namespaces", false),
            volumes,
            resource("storage.k8s.io", "storageclasses", false),
            resource("snapshot.storage.k8s.io", "volumesnapshots", true),
            resource("snapshot.storage.k8s.io", "volumesnapshotcontents", false),
            reports,
        ],
        Vec::new(),
    )
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

/// `included`, `excluded`, and the switch of the old family.
fn old(included: &[&str], excluded: &[&str], cluster: Option<bool>) -> ResourceFilterSpec {
    ResourceFilterSpec {
        included_resources: names(included),
        excluded_resources: names(excluded),
        include_cluster_resources: cluster,
        ..Default::default()
    }
}

/// The lists of the new family: cluster-scoped included and excluded, namespace-scoped included and excluded.
fn new(lists: [&[&str]; 4]) -> ResourceFilterSpec {
    let [cluster, no_cluster, namespaced, no_namespaced] = lists;
    ResourceFilterSpec {
        included_cluster_scoped: names(cluster),
        excluded_cluster_scoped: names(no_cluster),
        included_namespace_scoped: names(namespaced),
        excluded_namespace_scoped: names(no_namespaced),
        ..Default::default()
    }
}

fn filter(spec: &ResourceFilterSpec, namespaces: &[&str], unfiltered: bool) -> ScopeFilter {
    let live = names(&["default", "shop"]);
    let namespaces = NamespaceFilter::resolve(&names(namespaces), &[], &live);
    ScopeFilter::compile(spec, &catalog(), &namespaces, unfiltered)
}

const ALL: &str = "pods secrets namespaces persistentvolumes storageclasses";

#[test]
fn kinds_collected_by_filters() {
    let none = ResourceFilterSpec::default();
    for (spec, namespaces, unfiltered, expected) in [
        // No list at all.
        (none.clone(), &["*"][..], true, ALL),
        (none.clone(), &["*"], false, "pods secrets namespaces"),
        (none.clone(), &["shop"], false, "pods secrets namespaces"),
        (none.clone(), &["x-*"], false, "pods secrets namespaces"),
        // What controllers have put on the lists is no filter.
        (
            new([&[], &[SNAPSHOT_CONTENTS], &[], &[SNAPSHOTS]]),
            &["*"],
            true,
            ALL,
        ),
        // The old family: cluster-scoped kinds with all namespaces, by the switch, or not at all.
        (old(&["*"], &[], None), &["*"], false, ALL),
        (old(&["*"], &[], None), &["default", "shop"], false, ALL),
        (
            old(&["*"], &[], None),
            &["shop"],
            false,
            "pods secrets namespaces",
        ),
        (old(&["*"], &[], None), &["x-*"], false, ALL),
        (old(&["*"], &[], Some(true)), &["shop"], false, ALL),
        (old(&["*"], &[], Some(false)), &["*"], false, "pods secrets"),
        (old(&[], &[], Some(false)), &["*"], true, "pods secrets"),
        (
            old(&[], &["secrets"], None),
            &["*"],
            true,
            "pods namespaces persistentvolumes storageclasses",
        ),
        (
            old(&["po", "pv"], &[], None),
            &["*"],
            false,
            "persistentvolumes",
        ),
        (
            old(&["pod", "pv"], &[], None),
            &["*"],
            false,
            "pods persistentvolumes",
        ),
        (old(&["pod", "pv"], &[], None), &["shop"], false, "pods"),
        (
            old(&["pod", "pv"], &[], Some(true)),
            &["shop"],
            false,
            "pods persistentvolumes",
        ),
        (
            old(&["Secrets", "Namespace"], &[], None),
            &["shop"],
            false,
            "secrets namespaces",
        ),
        (
            old(&["*.storage.k8s.io", "p*"], &["pods"], None),
            &["*"],
            false,
            "persistentvolumes storageclasses",
        ),
        (old(&["*", "pods"], &["*"], None), &["*"], false, ALL),
        (old(&["unicorns"], &[], None), &["*"], false, ""),
        (old(&["unicorns", "pods"], &[], None), &["*"], false, "pods"),
        (old(&[], &["unicorns"], None), &["*"], false, ALL),
        (
            old(&["podreports", "podreports.reports.io"], &[], None),
            &["*"],
            false,
            "",
        ),
        (old(&["vs"], &[], Some(true)), &["*"], false, ""),
        (old(&["volumesnapshot"], &[], Some(true)), &["*"], false, ""),
        // An include that is written as controllers exclude it goes, and an empty list takes everything.
        (old(&[SNAPSHOTS], &[], Some(true)), &["*"], false, ALL),
        // The new family.
        (new([&["*"], &[], &[], &[]]), &["shop"], false, ALL),
        (
            new([&["*"], &["storageclasses"], &[], &[]]),
            &["shop"],
            false,
            "pods secrets namespaces persistentvolumes",
        ),
        (
            new([&["pv"], &[], &[], &["*"]]),
            &["*"],
            false,
            "namespaces persistentvolumes",
        ),
        (
            new([&["pv"], &["namespaces"], &[], &["*"]]),
            &["*"],
            false,
            "persistentvolumes",
        ),
        (new([&[], &["*"], &[], &[]]), &["*"], false, "pods secrets"),
        (
            new([&[], &[], &["Secrets"], &[]]),
            &["*"],
            false,
            "secrets namespaces",
        ),
        (
            new([&[], &[], &["*"], &["secret"]]),
            &["*"],
            false,
            "pods namespaces",
        ),
        (
            new([&[], &["pv"], &[], &[]]),
            &["*"],
            false,
            "pods secrets namespaces",
        ),
        (
            new([&["s*", "p*"], &["*volumes"], &["*e*"], &["po*"]]),
            &["*"],
            false,
            "secrets namespaces storageclasses",
        ),
        // An entry of the other scope goes, one that no kind is known by stays.
        (
            new([&["pods", "pv"], &[], &["pv"], &[]]),
            &["*"],
            false,
            "pods secrets namespaces persistentvolumes",
        ),
        (
            new([&[], &[], &["unicorns"], &[]]),
            &["*"],
            false,
            "namespaces",
        ),
        (
            new([&[], &[], &["podreport"], &[]]),
            &["*"],
            false,
            "namespaces",
        ),
    ] {
        let filter = filter(&spec, namespaces, unfiltered);
        let catalog = catalog();
        let found: Vec<&str> = catalog
            .preferred()
            .filter(|r| r.verbs.can_back_up() && filter.collects(r))
            .map(|r| r.plural.as_str())
            .collect();
        assert_eq!(
            found.join(" "),
            expected,
            "{spec:?} {namespaces:?} {unfiltered}"
        );
    }
}

#[test]
fn related_objects_by_filters() {
    let (volumes, classes) = ("persistentvolumes", "storageclasses.storage.k8s.io");
    for (spec, kept, dropped) in [
        (
            ResourceFilterSpec::default(),
            &["pods", volumes, classes][..],
            &[SNAPSHOT_CONTENTS][..],
        ),
        (
            old(&[], &[], Some(false)),
            &["pods", "namespaces"],
            &[volumes, classes],
        ),
        (
            old(&["pods"], &[], None),
            &["pods", "namespaces"],
            &["secrets", volumes],
        ),
        (
            old(&["pods", "pv"], &[], None),
            &["pods", volumes],
            &["secrets", classes],
        ),
        (
            old(&["pods"], &[], Some(true)),
            &["pods", volumes],
            &["secrets"],
        ),
        (
            old(&["pods"], &["pv"], Some(true)),
            &["pods", classes],
            &[volumes],
        ),
        (
            new([&[], &["pv"], &[], &[]]),
            &["pods", classes],
            &[volumes],
        ),
        (
            new([&[], &["*"], &[], &[]]),
            &["pods", "namespaces"],
            &[volumes, classes],
        ),
        (
            new([&["storageclasses"], &[], &[], &[]]),
            &["pods", volumes, classes],
            &[],
        ),
        (
            new([&[], &[], &["pods"], &[]]),
            &["pods", volumes],
            &["secrets"],
        ),
        (
            new([&[], &[], &[], &["*"]]),
            &[volumes, "namespaces"],
            &["pods", "secrets"],
        ),
    ] {
        let filter = filter(&spec, &["shop"], false);
        for (list, expected) in [(kept, true), (dropped, false)] {
            for name in list {
                let catalog = catalog();
                let resource = catalog.resolve(name).unwrap();
                assert_eq!(
                    filter.keeps_related(&resource.group_resource(), resource.namespaced),
                    expected,
                    "{spec:?} {name}"
                );
            }
        }
    }
}

#[test]
fn lists_are_validated_as_in_the_peer() {
    for (spec, faults) in [
        (ResourceFilterSpec::default(), 0),
        (old(&["*"], &["pods"], Some(true)), 0),
        (old(&["*", "*"], &[], None), 0),
        (old(&["*", "pods"], &[], None), 1),
        (old(&[], &["*"], None), 1),
        (old(&["pods", "pv"], &["pods", "pv"], None), 2),
        (old(&["*"], &["*"], None), 2),
        (new([&["*"], &["pv"], &["*"], &["pods"]]), 0),
        (new([&[], &["*"], &[], &["*"]]), 0),
        (new([&["*", "pv"], &[], &["*", "pods"], &[]]), 2),
        (new([&[], &["*", "pv"], &[], &["*", "pods"]]), 2),
        (new([&["pv"], &["*"], &["pods"], &["*"]]), 2),
        (new([&["pv"], &["pv"], &["pods"], &["pods"]]), 2),
        (
            ResourceFilterSpec {
                include_cluster_resources: Some(false),
                ..new([&["pv"], &[], &[], &[]])
            },
            1,
        ),
        (
            ResourceFilterSpec {
                excluded_resources: names(&["pods"]),
                ..new([&[], &[], &[], &["pods"]])
            },
            1,
        ),
        (
            ResourceFilterSpec {
                excluded_cluster_scoped: names(&[SNAPSHOT_CONTENTS]),
                ..old(&["pods"], &[], None)
            },
            0,
        ),
    ] {
        let found = spec.validate();
        assert_eq!(found.len(), faults, "{spec:?}: {found:?}");
    }
}

#[test]
fn lists_with_entries_that_have_no_effect_are_told() {
    for (spec, expected) in [
        (old(&["pods", "unicorns", "pv"], &["x*"], None), vec![]),
        (
            old(&["b[", "pods"], &[], None),
            vec!["resources: the pattern \"b[\" cannot be read"],
        ),
        (
            new([&["pods"], &[], &[], &["pv"]]),
            vec![
                "included cluster-scoped resources: \"pods\" is namespace-scoped",
                "excluded namespace-scoped resources: \"pv\" is cluster-scoped",
            ],
        ),
    ] {
        let filter = filter(&spec, &["*"], false);
        let notes = filter.notes();
        assert_eq!(notes.len(), expected.len(), "{notes:?}");
        for (note, start) in notes.iter().zip(expected) {
            assert!(note.starts_with(start), "{note}");
        }
    }
}
