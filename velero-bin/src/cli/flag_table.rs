//! Tables of flags and of what they set, for tests.

use serde_json::{Value, json};

use super::peer_flags::peer;

/// What a flag does: it sets a field, or is not about the object.
pub(super) enum Does {
    Sets(String, Value),
    Prints,
}
use Does::{Prints, Sets};

/// A flag, words that give it, and what it does.
pub(super) type Flag = (&'static str, &'static [&'static str], Does);

/// A flag that sets a field.
pub(super) fn sets(
    flag: &'static str,
    args: &'static [&'static str],
    field: impl Into<String>,
    value: Value,
) -> Flag {
    (flag, args, Sets(field.into(), value))
}

/// A flag that is not about the object.
pub(super) fn prints(flag: &'static str, args: &'static [&'static str]) -> Flag {
    (flag, args, Prints)
}

/// Checks that a table has all flags of a command of the peer and no other, and that each does to an object what the
/// table says.
pub(super) fn check(command: &str, mut flags: Vec<Flag>, object: impl Fn(&[&str]) -> Value) {
    flags.sort_by_key(|(flag, ..)| *flag);
    let theirs = &peer()[command];
    let theirs = theirs
        .keys()
        .map(String::as_str)
        .filter(|flag| *flag != "help");
    let ours = flags.iter().map(|(flag, ..)| *flag);
    assert_eq!(ours.collect::<Vec<_>>(), theirs.collect::<Vec<_>>());
    let plain = object(&[]);
    for (flag, args, does) in flags {
        match does {
            Sets(field, value) => {
                let set = object(args);
                assert_eq!(set.pointer(&field), Some(&value), "--{flag}");
                assert_ne!(plain.pointer(&field), Some(&value), "--{flag}");
            }
            Prints => assert_eq!(object(args), plain, "--{flag}"),
        }
    }
}

/// The flags about the content of backups, of which `at` is where the spec lies, and those that all `create` commands have.
pub(super) fn backup_flags(at: &str) -> Vec<Flag> {
    let selector = |key: &str| json!({"matchLabels": {key: "b"}});
    let spec = |flag, args, field, value| sets(flag, args, format!("{at}/{field}"), value);
    vec![
        sets(
            "annotations",
            &["--annotations=a=b"],
            "/metadata/annotations",
            json!({"a": "b"}),
        ),
        spec(
            "csi-snapshot-timeout",
            &["--csi-snapshot-timeout=7m"],
            "csiSnapshotTimeout",
            json!("7m0s"),
        ),
        spec(
            "data-mover",
            &["--data-mover=mine"],
            "datamover",
            json!("mine"),
        ),
        spec(
            "default-volumes-to-fs-backup",
            &["--default-volumes-to-fs-backup"],
            "defaultVolumesToFsBackup",
            json!(true),
        ),
        spec(
            "exclude-cluster-scoped-resources",
            &["--exclude-cluster-scoped-resources=a,b"],
            "excludedClusterScopedResources",
            json!(["a", "b"]),
        ),
        spec(
            "exclude-namespace-scoped-resources",
            &["--exclude-namespace-scoped-resources=a"],
            "excludedNamespaceScopedResources",
            json!(["a"]),
        ),
        spec(
            "exclude-namespaces",
            &["--exclude-namespaces=a"],
            "excludedNamespaces",
            json!(["a"]),
        ),
        spec(
            "exclude-resources",
            &["--exclude-resources=a"],
            "excludedResources",
            json!(["a"]),
        ),
        spec(
            "include-cluster-resources",
            &["--include-cluster-resources=false"],
            "includeClusterResources",
            json!(false),
        ),
        spec(
            "include-cluster-scoped-resources",
            &["--include-cluster-scoped-resources=*"],
            "includedClusterScopedResources",
            json!(["*"]),
        ),
        spec(
            "include-namespace-scoped-resources",
            &["--include-namespace-scoped-resources=a"],
            "includedNamespaceScopedResources",
            json!(["a"]),
        ),
        spec(
            "include-namespaces",
            &["--include-namespaces=a*"],
            "includedNamespaces",
            json!(["a*"]),
        ),
        spec(
            "include-resources",
            &["--include-resources=a"],
            "includedResources",
            json!(["a"]),
        ),
        spec(
            "item-operation-timeout",
            &["--item-operation-timeout=1h"],
            "itemOperationTimeout",
            json!("1h0m0s"),
        ),
        prints("label-columns", &["-L", "a"]),
        sets(
            "labels",
            &["--labels", "a=b,c=d"],
            "/metadata/labels",
            json!({"a": "b", "c": "d"}),
        ),
        spec(
            "or-selector",
            &["--or-selector", "a=b or c=b"],
            "orLabelSelectors",
            json!([selector("a"), selector("c")]),
        ),
        spec(
            "ordered-resources",
            &["--ordered-resources", "pods=n/a,n/b;pvs=v"],
            "orderedResources",
            json!({"pods": "n/a,n/b", "pvs": "v"}),
        ),
        prints("output", &["-o", "json"]),
        spec(
            "parallel-files-upload",
            &["--parallel-files-upload=4"],
            "uploaderConfig/parallelFilesUpload",
            json!(4),
        ),
        spec(
            "resource-policies-configmap",
            &["--resource-policies-configmap=p"],
            "resourcePolicy",
            json!({"kind": "configmap", "name": "p"}),
        ),
        spec("selector", &["-l", "a=b"], "labelSelector", selector("a")),
        prints("show-labels", &["--show-labels"]),
        spec(
            "snapshot-move-data",
            &["--snapshot-move-data=true"],
            "snapshotMoveData",
            json!(true),
        ),
        spec(
            "snapshot-volumes",
            &["--snapshot-volumes"],
            "snapshotVolumes",
            json!(true),
        ),
        spec(
            "storage-location",
            &["--storage-location=s"],
            "storageLocation",
            json!("s"),
        ),
        spec("ttl", &["--ttl=1h30m"], "ttl", json!("1h30m0s")),
        spec(
            "volume-snapshot-locations",
            &[
                "--volume-snapshot-locations=a,b",
                "--volume-snapshot-locations=c",
            ],
            "volumeSnapshotLocations",
            json!(["a", "b", "c"]),
        ),
    ]
}
