use super::*;
use velero_core::ApiResource;

fn catalog(down: &[&str]) -> Catalog {
    let resource = |group: &str, plural: &str, verbs: &[&str]| ApiResource {
        group: group.into(),
        version: "v1".into(),
        kind: plural.trim_end_matches('s').into(),
        plural: plural.into(),
        singular: plural.trim_end_matches('s').into(),
        verbs: verbs.iter().copied().collect(),
        preferred: true,
        ..ApiResource::default()
    };
    let failures = down.iter().map(|group_version| DiscoveryFailure {
        group_version: (*group_version).to_owned(),
        message: "it is down".to_owned(),
    });
    let all = ["list", "create", "get", "delete"];
    Catalog::new(
        vec![
            resource("", "pods", &all),
            resource("apps", "deployments", &all),
            resource("metrics.k8s.io", "podmetrics", &["list", "get"]),
        ],
        failures.collect(),
    )
}

fn including(names: &[&str]) -> ResourceFilterSpec {
    ResourceFilterSpec {
        included_resources: names.iter().map(|name| (*name).to_owned()).collect(),
        ..ResourceFilterSpec::default()
    }
}

fn lines(records: &[Record]) -> Vec<String> {
    records.iter().map(Record::line).collect()
}

#[test]
fn groups_that_are_asked_for_are_errors() {
    let catalog = catalog(&["books.io/v1"]);
    for (names, asked) in [
        (&[][..], None),
        (&["*"], None),
        (&["pods", "deploy*", "deployments.apps"], None),
        (&["novels.other.io", "*.other.io"], None),
        // A bare name that nobody is known to serve may be of that group.
        (&["pods", "novels"], Some("\"novels\"")),
        (&["novels.books.io"], Some("\"novels.books.io\"")),
        (&["Novel.books"], Some("\"Novel.books\"")),
        (&["*.books.io"], Some("\"*.books.io\"")),
        (
            &["novel*.books.io", "*.io"],
            Some("\"novel*.books.io\", includedResources \"*.io\""),
        ),
    ] {
        let found = lines(&groups(&including(names), &catalog));
        let what = "the resources of books.io/v1 are not in the backup";
        let expected = match asked {
            None => format!("message: /{what}: it is down"),
            Some(asked) => format!(
                "error: /{what}, and includedResources {asked} may mean one of them: it is down"
            ),
        };
        assert_eq!(found, [expected], "{names:?}");
        // No second word about a name that such an error is about.
        assert!(asked.is_none() || resources(&including(&["novels"]), &catalog).is_empty());
    }
}

#[test]
fn includes_that_stand_for_nothing_are_warnings() {
    let unknown = "the cluster serves no such resource";
    let fixed = "its objects cannot be listed, read, created and deleted one by one, and are not in the backup";
    let glob = "it matches no resource of the cluster that can be backed up";
    for (name, expected) in [
        ("pods", None),
        ("Pod", None),
        ("deployments.apps", None),
        ("*", None),
        ("dep*", None),
        ("[", None),
        ("unicorns", Some(unknown)),
        ("pods.apps", Some(unknown)),
        ("", Some(unknown)),
        ("podmetrics", Some(fixed)),
        ("*.books.io", Some(glob)),
        ("podm*", Some(glob)),
    ] {
        let found = lines(&resources(&including(&[name]), &catalog(&[])));
        let expected = expected.map(|why| format!("message: /includedResources {name:?}: {why}"));
        assert_eq!(found, Vec::from_iter(expected), "{name}");
    }
    let new = ResourceFilterSpec {
        included_cluster_scoped: vec!["a".into()],
        included_namespace_scoped: vec!["b".into()],
        ..ResourceFilterSpec::default()
    };
    assert_eq!(
        lines(&resources(&new, &catalog(&[]))),
        [
            format!("message: /includedClusterScopedResources \"a\": {unknown}"),
            format!("message: /includedNamespaceScopedResources \"b\": {unknown}")
        ]
    );
}

#[test]
fn excludes_that_stand_for_nothing_are_warnings() {
    let unknown = "the cluster serves no such resource";
    let glob = "it matches no resource of the cluster";
    let down = catalog(&["books.io/v1"]);
    for (name, expected) in [
        ("pods", None),
        ("Pod", None),
        ("*", None),
        ("dep*", None),
        // What cannot be backed up is left out all the same.
        ("podmetrics", None),
        ("podm*", None),
        (SNAPSHOTS, None),
        (SNAPSHOT_CONTENTS, None),
        ("unicorns", Some(unknown)),
        ("pods.apps", Some(unknown)),
        ("*.books.io", Some(glob)),
    ] {
        let of = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        for (field, filters) in [
            (
                "excludedResources",
                ResourceFilterSpec {
                    excluded_resources: of(&[name]),
                    ..ResourceFilterSpec::default()
                },
            ),
            (
                "excludedClusterScopedResources",
                ResourceFilterSpec {
                    excluded_cluster_scoped: of(&[name]),
                    ..ResourceFilterSpec::default()
                },
            ),
            (
                "excludedNamespaceScopedResources",
                ResourceFilterSpec {
                    excluded_namespace_scoped: of(&[name]),
                    ..ResourceFilterSpec::default()
                },
            ),
        ] {
            let found = lines(&resources(&filters, &catalog(&[])));
            let expected = expected.map(|why| format!("message: /{field} {name:?}: {why}"));
            assert_eq!(found, Vec::from_iter(expected), "{name}");
            // Of a group that does not answer nobody knows.
            let hidden = ["unicorns", "*.books.io"].contains(&name);
            assert!(!hidden || resources(&filters, &down).is_empty(), "{name}");
        }
    }
}

#[test]
fn includes_that_excludes_take_back_are_warnings() {
    for (include, excludes, expected) in [
        ("Pod", &["pods"][..], Some("\"pods\"")),
        ("pods", &["po*"], Some("\"po*\"")),
        ("p*s", &["deploy*", "Pod"], Some("\"Pod\"")),
        ("*s", &["pods"], None),
        ("*o*s*", &["pods", "dep*"], Some("\"pods\", \"dep*\"")),
        ("*", &["pods"], None),
        ("pods", &["deployments"], None),
    ] {
        let of = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let (includes, excludes) = (of(&[include]), of(excludes));
        let filters = ResourceFilterSpec {
            included_namespace_scoped: includes,
            excluded_namespace_scoped: excludes,
            ..ResourceFilterSpec::default()
        };
        let found = lines(&resources(&filters, &catalog(&[])));
        let expected = expected.map(|why| {
                format!(
                    "message: /includedNamespaceScopedResources {include:?}: nothing is left of it by excludedNamespaceScopedResources {why}"
                )
            });
        assert_eq!(found, Vec::from_iter(expected), "{include}");
    }
}

#[test]
fn alternatives_that_take_everything_are_warnings() {
    let web: Selector = "app=web".parse().unwrap();
    let all = Selector::default();
    let told = |list: &[&Selector]| {
        let list: Vec<Selector> = list.iter().map(|s| (*s).clone()).collect();
        lines(&selectors(&list))
    };
    let expected = "message: /orLabelSelectors[1]: it is empty and takes everything; the others have no effect";
    assert_eq!(told(&[&web, &all]), [expected]);
    for fine in [&[][..], &[&all], &[&web], &[&web, &web]] {
        assert!(told(fine).is_empty());
    }
}

#[test]
fn namespaces_that_are_none() {
    let strings = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let live = ["bank", "shop"].map(|name| ItemHead {
        name: name.into(),
        ..ItemHead::default()
    });
    for (includes, excludes, expected) in [
        (&[][..], &[][..], &[][..]),
        (&["*"], &["bank"], &[]),
        (&["shop", "b*"], &[], &[]),
        (
            &["x-*", "shop", "y?"],
            &[],
            &[
                "includedNamespaces \"x-*\": no ",
                "includedNamespaces \"y?\": no ",
            ],
        ),
        (
            &["*"],
            &["bank", "gone", "g*", "", "sh?p"],
            &[
                "excludedNamespaces \"gone\": the cluster has no such namespace",
                "excludedNamespaces \"g*\": no namespace of the cluster matches",
                "no namespace of the cluster is left",
            ],
        ),
        // The cluster may have it: where only the names of the spec may be read, nothing else is known.
        (&["shop"], &["gone"], &[]),
        // Told elsewhere.
        (&["gone"], &[], &[]),
        (&[""], &[], &[]),
        (
            &["shop"],
            &["sh*"],
            &[
                "no namespace of the cluster is left by includedNamespaces \"shop\", excludedNamespaces \"sh*\"",
            ],
        ),
        (
            &["*"],
            &["?*"],
            &["no namespace of the cluster is left by excludedNamespaces \"?*\""],
        ),
    ] {
        let (includes, excludes) = (strings(includes), strings(excludes));
        let filter = NamespaceFilter::resolve(&includes, &excludes, &strings(&["bank", "shop"]));
        let found = namespaces(&includes, &excludes, &filter, &live);
        assert_eq!(found.len(), expected.len(), "{includes:?} {found:?}");
        for (record, start) in found.iter().zip(expected) {
            assert!(record.message.starts_with(start), "{record:?} {start}");
        }
    }
}
