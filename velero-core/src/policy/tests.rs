use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::filter::ResourceFilterSpec;
use crate::{ApiResource, Catalog};

fn one_rule(conditions: &str, action: &str) -> String {
    format!(
        "version: v1\nvolumePolicies:\n- conditions: {conditions}\n  action: {{type: {action}}}\n"
    )
}

fn facts(volume: &Value, claim: Option<(&str, &str)>) -> VolumeFacts {
    let labels = |text: &str| {
        text.split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect()
    };
    VolumeFacts {
        capacity: volume
            .pointer("/capacity/storage")
            .map(|q| q.as_str().unwrap().parse().unwrap())
            .unwrap_or_default(),
        storage_class: volume["storageClassName"].as_str().unwrap_or("").to_owned(),
        source: serde_json::from_value(volume.clone()).unwrap(),
        claim: claim.map(|(phase, text)| ClaimFacts {
            labels: labels(text),
            phase: phase.to_owned(),
        }),
    }
}

/// One line per rule of the table of conditions.
#[test]
fn conditions() {
    let disk = json!({"capacity": {"storage": "10Gi"}, "storageClassName": "gp2", "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Delete", "volumeMode": "Filesystem", "claimRef": {"name": "x"}, "nodeAffinity": {"required": {}},
        "csi": {"driver": "ebs", "volumeHandle": "h", "volumeAttributes": {"tier": "hot", "enc": "true"}}});
    let nfs = json!({"capacity": {"storage": "10Gi"}, "nfs": {"server": "10.0.0.1", "path": "/a"}});
    let bare = json!({"csi": {"driver": "ebs", "volumeAttributes": null}});
    let temp = json!({"name": "tmp", "emptyDir": {}});
    let by_claim = json!({"name": "d", "persistentVolumeClaim": {"claimName": "c"}});
    let pending = json!({});
    let none = None;
    for (conditions, volume, claim, expected) in [
        // Nothing asked, or asked for nothing: every volume.
        ("{}", &disk, none, true),
        ("", &temp, none, true),
        (
            "{capacity: '', storageClass: [], volumeTypes: [], pvcLabels: {}, pvcPhase: [], nfs:, csi:}",
            &temp,
            none,
            true,
        ),
        // Capacity: both ends are included, either may be left out.
        ("{capacity: '10Gi,20Gi'}", &disk, none, true),
        ("{capacity: '5Gi,10Gi'}", &disk, none, true),
        ("{capacity: '5Gi, 10240Mi '}", &disk, none, true),
        ("{capacity: '11Gi,20Gi'}", &disk, none, false),
        ("{capacity: '1Gi,9Gi'}", &disk, none, false),
        ("{capacity: '10Gi,'}", &disk, none, true),
        ("{capacity: '10.1Gi,'}", &disk, none, false),
        ("{capacity: ',10Gi'}", &disk, none, true),
        ("{capacity: ',9Gi'}", &disk, none, false),
        ("{capacity: ','}", &disk, none, true),
        ("{capacity: '1Gi,'}", &temp, none, false),
        ("{capacity: ',10Gi'}", &temp, none, true),
        // Storage class: exact.
        ("{storageClass: [gp2, ssd]}", &disk, none, true),
        ("{storageClass: [gp]}", &disk, none, false),
        ("{storageClass: ['']}", &nfs, none, false),
        // NFS.
        ("{nfs: {}}", &nfs, none, true),
        ("{nfs: {}}", &disk, none, false),
        ("{nfs: {server: 10.0.0.1}}", &nfs, none, true),
        ("{nfs: {server: 10.0.0.2}}", &nfs, none, false),
        ("{nfs: {path: /a}}", &nfs, none, true),
        ("{nfs: {server: 10.0.0.1, path: /b}}", &nfs, none, false),
        // CSI.
        ("{csi: {}}", &disk, none, true),
        ("{csi: {}}", &nfs, none, false),
        ("{csi: {driver: ebs}}", &disk, none, true),
        ("{csi: {driver: efs}}", &disk, none, false),
        (
            "{csi: {driver: ebs, volumeAttributes: {tier: hot}}}",
            &disk,
            none,
            true,
        ),
        (
            "{csi: {driver: ebs, volumeAttributes: {tier: hot, enc: true}}}",
            &disk,
            none,
            true,
        ),
        (
            "{csi: {driver: ebs, volumeAttributes: {tier: cold}}}",
            &disk,
            none,
            false,
        ),
        (
            "{csi: {driver: ebs, volumeAttributes: {other: hot}}}",
            &disk,
            none,
            false,
        ),
        (
            "{csi: {driver: ebs, volumeAttributes: {tier: hot}}}",
            &bare,
            none,
            false,
        ),
        // Types, of volumes and of what pods hold; unknown words match nothing.
        ("{volumeTypes: [nfs, csi]}", &disk, none, true),
        ("{volumeTypes: [nfs]}", &disk, none, false),
        ("{volumeTypes: [emptyDir, configMap]}", &temp, none, true),
        ("{volumeTypes: [whatever]}", &temp, none, false),
        (
            "{volumeTypes: [persistentVolumeClaim]}",
            &by_claim,
            none,
            false,
        ),
        ("{volumeTypes: [accessModes]}", &disk, none, false),
        // The claim: all labels, one of the phases.
        (
            "{pvcLabels: {a: b}}",
            &disk,
            Some(("Bound", "a=b,c=d")),
            true,
        ),
        (
            "{pvcLabels: {a: b, c: d}}",
            &disk,
            Some(("Bound", "a=b,c=d")),
            true,
        ),
        (
            "{pvcLabels: {a: b, c: x}}",
            &disk,
            Some(("Bound", "a=b,c=d")),
            false,
        ),
        ("{pvcLabels: {a: b}}", &disk, none, false),
        ("{pvcLabels: {n: 1}}", &disk, Some(("Bound", "n=1")), true),
        (
            "{pvcPhase: [Pending, Lost]}",
            &pending,
            Some(("Pending", "")),
            true,
        ),
        (
            "{pvcPhase: [Pending, Lost]}",
            &pending,
            Some(("Lost", "")),
            true,
        ),
        (
            "{pvcPhase: [Pending, Lost]}",
            &disk,
            Some(("Bound", "")),
            false,
        ),
        ("{pvcPhase: [Pending]}", &temp, none, false),
        // All conditions of a rule must hold.
        (
            "{capacity: '1Gi,', storageClass: [gp2], csi: {driver: ebs}, volumeTypes: [csi], pvcPhase: [Bound]}",
            &disk,
            Some(("Bound", "")),
            true,
        ),
        (
            "{capacity: '1Gi,', storageClass: [gp2], csi: {driver: efs}}",
            &disk,
            none,
            false,
        ),
        // An unbound claim has labels and phase alone.
        (
            "{storageClass: [gp2]}",
            &pending,
            Some(("Pending", "a=b")),
            false,
        ),
        (
            "{capacity: '1Gi,'}",
            &pending,
            Some(("Pending", "a=b")),
            false,
        ),
        (
            "{pvcLabels: {a: b}}",
            &pending,
            Some(("Pending", "a=b")),
            true,
        ),
    ] {
        let policies = ResourcePolicies::parse(&one_rule(conditions, "skip")).unwrap();
        let matched = policies.action_for(&facts(volume, claim)).is_some();
        assert_eq!(matched, expected, "{conditions} on {volume} {claim:?}");
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let policies = ResourcePolicies::parse(
        "version: v1
volumePolicies:
- conditions: {volumeTypes: [nfs]}
  action: {type: custom, parameters: {how: {deep: [1]}}}
- conditions: {capacity: '10Gi,'}
  action: {type: snapshot}
- conditions: {}
  action: {type: fs-backup}
- action: {type: skip}
",
    )
    .unwrap();
    let small = json!({"capacity": {"storage": "1Gi"}, "nfs": {"server": "s", "path": "/"}});
    let large = json!({"capacity": {"storage": "10Gi"}, "hostPath": {"path": "/"}});
    for (volume, at, kind) in [
        (&small, 0, VolumeActionKind::Custom),
        (&large, 1, VolumeActionKind::Snapshot),
        (&json!({"emptyDir": {}}), 2, VolumeActionKind::FsBackup),
    ] {
        let (found, action) = policies.rule_for(&facts(volume, None)).unwrap();
        assert_eq!((found, action.kind), (at, kind), "{volume}");
    }
    let how = &policies.volume_policies[0].action.parameters["how"];
    assert_eq!(*how, json!({"deep": [1]}));
    let empty = ResourcePolicies::parse("version: v1\n").unwrap();
    assert_eq!(empty, ResourcePolicies::default());
    assert_eq!(empty.action_for(&VolumeFacts::default()), None);
}

/// Each fault names the rule and the field.
#[test]
fn faults() {
    let rule = |conditions: &str| one_rule(conditions, "skip");
    let lists = |lists: &str| format!("version: v1\nincludeExcludePolicy: {lists}\n");
    for (yaml, expected) in [
        (String::new(), "it is empty"),
        ("a: [".to_owned(), "it is no yaml document"),
        (
            "version: v1\nversion: v1\n".to_owned(),
            "it is no yaml document",
        ),
        ("- a\n".to_owned(), "[\"a\"] is no mapping"),
        (
            "volumePolicies: []\n".to_owned(),
            "version: it is missing; write v1",
        ),
        (
            "version: v2\n".to_owned(),
            "version: \"v2\" is not known; write v1",
        ),
        (
            "version: v1\nvolumePolicy: []\n".to_owned(),
            "volumePolicy: unknown key; there are version,",
        ),
        (
            "version: v1\nvolumePolicies: {}\n".to_owned(),
            "volumePolicies: {} is no list",
        ),
        (
            "version: v1\nvolumePolicies: [{when: 1, action: {type: skip}}]\n".to_owned(),
            "volumePolicies[0].when: unknown key",
        ),
        (
            "version: v1\nvolumePolicies: [{action: {type: skip}}, {conditions: {}}]\n".to_owned(),
            "volumePolicies[1].action.type: it is missing; write skip, fs-backup, snapshot, custom",
        ),
        (
            "version: v1\nvolumePolicies: [{action: {}}]\n".to_owned(),
            "volumePolicies[0].action.type: it is missing",
        ),
        (
            "version: v1\nvolumePolicies: [{action: {type: skip, with: 1}}]\n".to_owned(),
            "volumePolicies[0].action.with: unknown key",
        ),
        (
            one_rule("{}", "drop"),
            "volumePolicies[0].action.type: \"drop\" is no action; write skip, fs-backup, snapshot, custom",
        ),
        (
            one_rule("{}", "Skip"),
            "volumePolicies[0].action.type: \"Skip\" is no action",
        ),
        (
            rule("{storageclass: [a]}"),
            "volumePolicies[0].conditions.storageclass: unknown key; there are capacity,",
        ),
        (
            rule("{storageClass: gp2}"),
            "volumePolicies[0].conditions.storageClass: \"gp2\" is no list",
        ),
        (
            rule("{storageClass: [[a]]}"),
            "volumePolicies[0].conditions.storageClass[0]: [\"a\"] is no text",
        ),
        (
            rule("{capacity: 5Gi}"),
            "volumePolicies[0].conditions.capacity: \"5Gi\" is no range",
        ),
        (
            rule("{capacity: '1,2,3'}"),
            "volumePolicies[0].conditions.capacity: \"1,2,3\" is no range",
        ),
        (
            rule("{capacity: '5,1'}"),
            "volumePolicies[0].conditions.capacity: \"5,1\": the smallest size is larger than the largest",
        ),
        (
            rule("{capacity: '5gb,'}"),
            "volumePolicies[0].conditions.capacity: \"5gb,\": invalid quantity \"5gb\"",
        ),
        (
            rule("{nfs: {host: a}}"),
            "volumePolicies[0].conditions.nfs.host: unknown key; there are server, path",
        ),
        (
            rule("{nfs: a}"),
            "volumePolicies[0].conditions.nfs: \"a\" is no mapping",
        ),
        (
            rule("{csi: {name: a}}"),
            "volumePolicies[0].conditions.csi.name: unknown key",
        ),
        (
            rule("{csi: {volumeAttributes: {a: b}}}"),
            "volumePolicies[0].conditions.csi.driver: it is missing; volumeAttributes need",
        ),
        (
            rule("{csi: {driver: a, volumeAttributes: [a]}}"),
            "volumePolicies[0].conditions.csi.volumeAttributes: [\"a\"] is no mapping",
        ),
        (
            rule("{pvcLabels: {a: [b]}}"),
            "volumePolicies[0].conditions.pvcLabels.a: [\"b\"] is no text",
        ),
        (
            rule("{pvcPhase: Pending}"),
            "volumePolicies[0].conditions.pvcPhase: \"Pending\" is no list",
        ),
        (
            lists("{includedResources: [pods]}"),
            "includeExcludePolicy.includedResources: unknown key",
        ),
        (
            lists("{excludedNamespaceScopedResources: ['*']}"),
            "includeExcludePolicy.excludedNamespaceScopedResources: \"*\" cannot stand here",
        ),
        (
            lists("{includedClusterScopedResources: ['*']}"),
            "includeExcludePolicy.includedClusterScopedResources: \"*\" cannot",
        ),
        (
            lists("{includedClusterScopedResources: [a], excludedClusterScopedResources: [b, a]}"),
            "includeExcludePolicy.excludedClusterScopedResources: \"a\" is in includedClusterScopedResources too",
        ),
        (
            lists("{includedNamespaceScopedResources: [a], excludedNamespaceScopedResources: [a]}"),
            "includeExcludePolicy.excludedNamespaceScopedResources: \"a\" is in",
        ),
    ] {
        let faults = ResourcePolicies::parse(&yaml).unwrap_err();
        assert!(
            faults.len() == 1 && faults[0].starts_with(expected) && !faults[0].contains('\n'),
            "{yaml}: {faults:#?}"
        );
    }
    let several =
        "version: v0\nvolumePolicies: [{conditions: {capacity: a}}, {action: {type: b}}]\n";
    assert_eq!(ResourcePolicies::parse(several).unwrap_err().len(), 4);
}

#[test]
fn config_maps_have_one_key_of_any_name() {
    let data = |keys: &[&str]| -> BTreeMap<String, String> {
        keys.iter()
            .map(|key| ((*key).to_owned(), one_rule("{capacity: '5,1'}", "skip")))
            .collect()
    };
    for (keys, expected) in [
        (
            &[][..],
            "policy ConfigMap velero/p: it has 0 data keys and must have exactly one",
        ),
        (
            &["a", "b"],
            "policy ConfigMap velero/p: it has 2 data keys and must have exactly one",
        ),
        (
            &["policy.yaml"],
            "policy ConfigMap velero/p, key policy.yaml: volumePolicies[0].conditions.capacity: \"5,1\": ",
        ),
    ] {
        let faults = ResourcePolicies::from_config_map("velero", "p", &data(keys)).unwrap_err();
        assert!(
            faults.len() == 1 && faults[0].starts_with(expected),
            "{faults:?}"
        );
    }
    let good = BTreeMap::from([("any".to_owned(), one_rule("{}", "skip"))]);
    assert!(ResourcePolicies::from_config_map("velero", "p", &good).is_ok());
}

/// What yaml can hold beside plain text: comments, anchors, several documents, and bombs.
#[test]
fn odd_documents() {
    for (yaml, good) in [
        ("# first\n---\nversion: v1 # the only one\n", true),
        (
            "version: 'v1'\r\nvolumePolicies:\r\n- action:\r\n    type: skip\r\n",
            true,
        ),
        ("{\"version\": \"v1\", \"volumePolicies\": []}", true),
        (
            "version: v1\nvolumePolicies:\n- action: &a {type: skip}\n- conditions: {volumeTypes: [nfs]}\n  action: *a\n",
            true,
        ),
        ("version: v1\n---\nversion: v1\n", false),
        ("version: v1\nvolumePolicies:\n\t- a\n", false),
        ("version: v1\nvolumePolicies: *nowhere\n", false),
        ("version: !!binary dg==\n", false),
    ] {
        let parsed = ResourcePolicies::parse(yaml);
        assert_eq!(parsed.is_ok(), good, "{yaml}: {parsed:?}");
    }
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for at in 1..12 {
        let alias = format!("*a{}", at - 1);
        bomb.push_str(&format!("a{at}: &a{at} [{}]\n", vec![alias; 9].join(", ")));
    }
    let faults = ResourcePolicies::parse(&bomb).unwrap_err();
    assert!(
        faults[0].starts_with("it is no yaml document"),
        "{faults:?}"
    );
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(ResourcePolicies::parse(&deep).is_err());
}

proptest::proptest! {
    #[test]
    fn no_text_is_too_much(text in "(version: v1\n)?([a-zA-Z0-9:,\\-\\[\\]{}*&!|>'\"# \n]{0,80})", quantity in "[-+0-9.eEKMGTPinumk]{0,60}") {
        let _ = ResourcePolicies::parse(&text);
        let _ = quantity.parse::<crate::Quantity>();
    }

    #[test]
    fn quantities_order_as_numbers_do(a in 0_u64..1 << 50, b in 0_u64..1 << 50) {
        let parse = |text: String| text.parse::<crate::Quantity>().unwrap();
        assert_eq!(parse(a.to_string()).cmp(&parse(b.to_string())), a.cmp(&b));
        assert_eq!(parse(format!("{a}Mi")).cmp(&parse(format!("{b}Mi"))), a.cmp(&b));
        assert_eq!(parse(format!("{a}m")).cmp(&parse(format!("{}.{:03}", a / 1000, a % 1000))), std::cmp::Ordering::Equal);
    }
}

fn catalog() -> Catalog {
    let resource = |group: &str, plural: &str, short: &str, namespaced| ApiResource {
        group: group.into(),
        version: "v1".into(),
        kind: plural.trim_end_matches('s').into(),
        plural: plural.into(),
        short_names: vec![short.into()],
        namespaced,
        preferred: true,
        ..ApiResource::default()
    };
    Catalog::new(
        vec![
            resource("", "pods", "po", true),
            resource("", "secrets", "", true),
            resource("apps", "deployments", "deploy", true),
            resource("", "persistentvolumes", "pv", false),
            resource("storage.k8s.io", "storageclasses", "sc", false),
        ],
        Vec::new(),
    )
}

/// What the lists become: namespaced includes and excludes, cluster includes and excludes.
#[test]
fn filters_behind_those_of_the_spec() {
    let names = |text: &str| -> Vec<String> {
        text.split(' ')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let spec = |[a, b, c, d]: [&str; 4]| ResourceFilterSpec {
        included_namespace_scoped: names(a),
        excluded_namespace_scoped: names(b),
        included_cluster_scoped: names(c),
        excluded_cluster_scoped: names(d),
        ..ResourceFilterSpec::default()
    };
    for (given, policy, expected) in [
        // An empty spec is narrowed.
        (["", "", "", ""], ["po", "", "", ""], ["pods", "", "", ""]),
        (
            ["", "", "", ""],
            ["", "secrets", "", "sc"],
            ["", "secrets", "", "storageclasses.storage.k8s.io"],
        ),
        // The spec wins, in every spelling.
        (
            ["deploy", "", "", ""],
            ["", "deployments.apps secrets", "", ""],
            ["deploy", "secrets", "", ""],
        ),
        (["", "po", "", ""], ["pods", "", "", ""], ["", "po", "", ""]),
        (
            ["po", "", "", ""],
            ["pods secrets", "", "", ""],
            ["po secrets", "", "", ""],
        ),
        // An included "*" keeps every exclude out.
        (
            ["*", "", "*", ""],
            ["", "secrets", "", "pv"],
            ["*", "", "*", ""],
        ),
        (
            ["*.apps", "", "", ""],
            ["", "deploy secrets", "", ""],
            ["*.apps", "secrets", "", ""],
        ),
        (["", "*", "", ""], ["pods", "", "", ""], ["", "*", "", ""]),
        // Entries of the other scope are left out, unknown ones and globs stay.
        (
            ["", "", "", ""],
            ["pv", "sc", "pods", "secrets"],
            ["", "", "", ""],
        ),
        (
            ["", "", "", ""],
            ["books.example.com *.apps", "", "", ""],
            ["books.example.com *.apps", "", "", ""],
        ),
        // Excludes of the policy come before its includes: a glob among them stops an include.
        (
            ["", "", "", ""],
            ["deployments.apps", "*.apps", "", ""],
            ["", "*.apps", "", ""],
        ),
    ] {
        let mut filters = spec(given);
        let lists = spec(policy);
        let policy = IncludeExcludePolicy {
            included_cluster_scoped: lists.included_cluster_scoped,
            excluded_cluster_scoped: lists.excluded_cluster_scoped,
            included_namespace_scoped: lists.included_namespace_scoped,
            excluded_namespace_scoped: lists.excluded_namespace_scoped,
        };
        policy.merge_into(&mut filters, &catalog());
        assert_eq!(filters, spec(expected), "{given:?} and {policy:?}");
    }
}
