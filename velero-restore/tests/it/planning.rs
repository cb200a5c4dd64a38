//! Plans: what is taken, what is left out and why.

use std::io::Cursor;

use serde_json::{Value, json};
use velero_core::GroupResource;
use velero_core::archive::{ArchiveWriter, ArchiveWriterOptions, ItemPath};
use velero_core::plan::{ExclusionReason, RestorePlan};
use velero_core::result::{About, Severity};
use velero_restore::{ArchiveIndex, NEVER_RESTORED, RestoreOptions, plan};

use crate::common::*;

fn world() -> Vec<Value> {
    let pod = |name: &str, phase: &str| {
        let mut pod = object("v1", "Pod", "shop", name);
        pod["status"] = json!({"phase": phase});
        pod
    };
    let mut mirror = pod("mirror", "Running");
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    let mut labelled = config_map("shop", "labelled");
    labelled["metadata"]["labels"] = json!({"app": "web"});
    let mut job = object("batch/v1", "Job", "shop", "done");
    job["status"] = json!({"completionTime": "2026-01-01T00:00:00Z"});
    vec![
        namespace("shop"),
        namespace("other"),
        labelled,
        config_map("shop", "plain"),
        config_map("other", "plain"),
        pod("running", "Running"),
        pod("done", "Succeeded"),
        mirror,
        job,
        object("v1", "Node", "", "n1"),
        object("velero.io/v1", "DeleteBackupRequest", "velero", "again"),
        object("velero.io/v1", "Backup", "velero", "b0"),
        object("rbac.authorization.k8s.io/v1", "ClusterRole", "", "reader"),
        object(
            "snapshot.storage.k8s.io/v1",
            "VolumeSnapshot",
            "shop",
            "snap",
        ),
        object("gone.example.com/v1", "Thing", "shop", "t1"),
    ]
}

async fn planned(spec: Value) -> RestorePlan {
    let request = request(spec);
    let (index, _) = ArchiveIndex::read(
        Cursor::new(archive(&world())),
        request.selectors(),
        &RestoreOptions::default(),
    )
    .unwrap();
    let catalog = catalog().await;
    let first = plan(&index, &request, &catalog);
    assert_eq!(
        first,
        plan(&index, &request, &catalog),
        "a plan is a pure function"
    );
    first
}

fn kinds(plan: &RestorePlan) -> Vec<(String, usize)> {
    plan.waves
        .iter()
        .map(|w| (w.resource.to_string(), w.items.len()))
        .collect()
}

fn owned(kinds: &[(&str, usize)]) -> Vec<(String, usize)> {
    kinds.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect()
}

#[tokio::test]
async fn filters_select_what_the_peer_selects() {
    let everything: &[(&str, usize)] = &[
        ("namespaces", 2),
        ("clusterroles.rbac.authorization.k8s.io", 1),
        ("configmaps", 3),
        ("pods", 1),
    ];
    for (spec, expected) in [
        (json!({}), everything),
        (
            json!({"includedNamespaces": ["*"], "includedResources": ["*"]}),
            everything,
        ),
        (
            json!({"includedNamespaces": ["shop"]}),
            &[("configmaps", 2), ("pods", 1)],
        ),
        (
            json!({"includedNamespaces": ["sh*"]}),
            &[("configmaps", 2), ("pods", 1)],
        ),
        (
            json!({"excludedNamespaces": ["shop"]}),
            &[("configmaps", 1)],
        ),
        (
            json!({"includedNamespaces": ["shop"], "includeClusterResources": true}),
            &[
                ("namespaces", 2),
                ("clusterroles.rbac.authorization.k8s.io", 1),
                ("configmaps", 2),
                ("pods", 1),
            ],
        ),
        (
            json!({"includeClusterResources": false}),
            &[("configmaps", 3), ("pods", 1)],
        ),
        (json!({"includedResources": ["cm"]}), &[("configmaps", 3)]),
        (
            json!({"excludedResources": ["configmaps", "ns"]}),
            &[("clusterroles.rbac.authorization.k8s.io", 1), ("pods", 1)],
        ),
        (json!({"includedResources": ["unicorns"]}), &[]),
        (json!({"excludedResources": ["unicorns"]}), everything),
        (
            json!({"labelSelector": {"matchLabels": {"app": "web"}}}),
            &[("configmaps", 1)],
        ),
        (
            json!({"orLabelSelectors": [{"matchLabels": {"app": "web"}}, {"matchLabels": {"team": "green"}}]}),
            &[("namespaces", 2), ("configmaps", 1)],
        ),
    ] {
        assert_eq!(
            kinds(&planned(spec.clone()).await),
            owned(expected),
            "{spec}"
        );
    }
}

#[tokio::test]
async fn what_is_left_out_has_a_reason() {
    let plan = planned(json!({})).await;
    let reason = |kind: &str, reason| {
        plan.excluded
            .get(&(kind.into(), reason))
            .copied()
            .unwrap_or_default()
    };
    assert_eq!(reason("pods", ExclusionReason::Completed), 1);
    assert_eq!(reason("pods", ExclusionReason::MirrorPod), 1);
    assert_eq!(reason("jobs.batch", ExclusionReason::Completed), 1);
    for kind in [
        "nodes",
        "deletebackuprequests.velero.io",
        "backups.velero.io",
    ] {
        assert_eq!(reason(kind, ExclusionReason::NeverRestored), 1, "{kind}");
    }
    assert_eq!(
        plan.unserved
            .iter()
            .map(|(k, n)| (k.to_string(), *n))
            .collect::<Vec<_>>(),
        [("things.gone.example.com".to_owned(), 1)]
    );
    let lines: Vec<String> = plan
        .records
        .iter()
        .map(velero_core::result::Record::line)
        .collect();
    assert!(
        lines.iter().any(|l| l.starts_with(
            "resource: /things.gone.example.com name: /t1 error: /the cluster does not serve"
        )),
        "{lines:?}"
    );
    assert!(
        lines
            .iter()
            .any(|l| l.contains("name: /snap message: /snapshots of CSI drivers")),
        "{lines:?}"
    );
    let total = plan.len() as u64
        + plan.excluded.values().sum::<u64>()
        + plan.unserved.values().sum::<u64>();
    assert_eq!(total, world().len() as u64, "every item is accounted for");
}

#[tokio::test]
async fn no_work_order_and_nothing_of_a_server_is_ever_restored() {
    let never = NEVER_RESTORED.iter().copied().chain([
        "deletebackuprequests.velero.io",
        "downloadrequests.velero.io",
        "serverstatusrequests.velero.io",
        "podvolumebackups.velero.io",
        "podvolumerestores.velero.io",
        "datadownloads.velero.io",
    ]);
    let catalog = catalog().await;
    for kind in never {
        let mut writer = ArchiveWriter::new(Vec::new(), ArchiveWriterOptions::default()).unwrap();
        let resource = GroupResource::from(kind);
        let version = format!("{}/v1", resource.group);
        let item = object(version.trim_start_matches('/'), "Thing", "shop", "x");
        let path = ItemPath::new(resource.clone(), "shop", "x");
        add(&mut writer, &path, item.to_string().as_bytes());
        let bytes = writer.finish().unwrap();
        // Nor where the spec asks for all kinds.
        for spec in [json!({}), json!({"includedResources": ["*"]})] {
            let request = request(spec);
            let (index, _) = ArchiveIndex::read(
                Cursor::new(bytes.clone()),
                request.selectors(),
                &RestoreOptions::default(),
            )
            .unwrap();
            let plan = plan(&index, &request, &catalog);
            let key = (resource.clone(), ExclusionReason::NeverRestored);
            assert_eq!(plan.excluded.get(&key), Some(&1), "{kind}: {plan:?}");
            assert!(plan.is_empty(), "{kind}: {plan:?}");
        }
    }
}

/// The lines of records about the run.
fn run_lines(plan: &RestorePlan) -> Vec<&str> {
    plan.records
        .iter()
        .filter(|record| record.about == About::Run)
        .map(|record| {
            assert_eq!(record.severity, Severity::Warning);
            record.message.as_str()
        })
        .collect()
}

/// The phase stays as the peer's, `Completed`; but nobody is to take a misspelt name for success.
#[tokio::test]
async fn what_a_request_names_and_the_backup_does_not_hold_is_warned_of() {
    const NOTHING: &str = "nothing is restored (15 items in the backup): none is selected by ";
    let nothing = |by: &str| format!("{NOTHING}{by}");
    for (spec, expected) in [
        (json!({}), vec![]),
        (
            json!({"includedNamespaces": ["shop", "o*"], "includedResources": ["cm", "po*", "*.velero.io"],
                "namespaceMapping": {"other": "copy"}}),
            vec![],
        ),
        // Served, though the backup has none of it.
        (json!({"includedResources": ["secrets", "pods"]}), vec![]),
        (
            json!({"includedNamespaces": ["shop", "nope"]}),
            vec!["includedNamespaces \"nope\": the backup holds no such namespace".to_owned()],
        ),
        (
            json!({"includedNamespaces": ["zzz*"]}),
            vec![
                "includedNamespaces \"zzz*\": no namespace of the backup matches".to_owned(),
                nothing("includedNamespaces \"zzz*\""),
            ],
        ),
        (
            json!({"includedResources": ["frobs", "x*"], "excludedResources": ["nodes", "jobs"]}),
            vec![
                "includedResources \"frobs\": neither the backup nor the cluster knows such a resource".to_owned(),
                "includedResources \"x*\": neither the backup nor the cluster knows such a resource".to_owned(),
                nothing("excludedResources \"jobs\", includedResources \"frobs\", \"x*\""),
            ],
        ),
        // A kind that is excluded and that nobody knows is told too: what was meant is restored. Namespaces that are excluded
        // need not be there.
        (
            json!({"excludedResources": ["secrest", "po", "nodes", "Events", "backups.velero.io"],
                "excludedNamespaces": ["typo", "o*", "zzz*"]}),
            vec![
                "excludedResources \"secrest\": neither the backup nor the cluster knows such a resource".to_owned(),
            ],
        ),
        // An empty name selects nothing, and is to blame for it.
        (
            json!({"includedResources": [""]}),
            vec![nothing("includedResources \"\"")],
        ),
        (
            json!({"labelSelector": {"matchLabels": {"no": "x"}}, "includeClusterResources": false}),
            vec![nothing("includeClusterResources false, labelSelector \"no=x\"")],
        ),
        (
            json!({"namespaceMapping": {"nope": "x", "shop": "y"}}),
            vec!["namespaceMapping \"nope\" to \"x\": the backup holds no namespace \"nope\"".to_owned()],
        ),
    ] {
        let plan = planned(spec.clone()).await;
        assert_eq!(run_lines(&plan), expected, "{spec}");
    }
}

#[tokio::test]
async fn a_run_that_selects_nothing_completes_with_warnings() {
    let server = velero_testkit::ApiServer::new();
    let result = restore(&server, &world(), json!({"includedNamespaces": ["nope"]})).await;
    assert_eq!((result.counts.total, result.errors()), (0, 0));
    assert_eq!(result.phase().to_string(), "Completed");
    assert_eq!(result.warnings(), 2, "{:?}", result.records);
    let finished = [object("v1", "Node", "", "n1")];
    let result = restore(&server, &finished, json!({})).await;
    assert_eq!(
        warnings(&result),
        [
            "velero: message: /nothing is restored (1 item in the backup): all are of kinds, or in states, that are never \
             restored"
        ]
    );
}

#[tokio::test]
async fn namespaces_come_from_their_source() {
    let plan = planned(json!({"namespaceMapping": {"shop": "copy"}})).await;
    let pairs: Vec<(&str, &str)> = plan
        .namespaces
        .iter()
        .map(|(t, s)| (t.as_str(), s.as_str()))
        .collect();
    assert_eq!(pairs, [("copy", "shop"), ("other", "other")]);
}

#[test]
fn an_index_is_small() {
    let items: Vec<Value> = (0..20_000)
        .map(|n| config_map("default", &format!("map-{n}")))
        .collect();
    let (index, spool) = ArchiveIndex::read(
        Cursor::new(archive(&items)),
        request(json!({})).selectors(),
        &RestoreOptions::default(),
    )
    .unwrap();
    assert_eq!(index.len(), 20_000);
    let found = index
        .find(&"configmaps".into(), "default", "map-19999")
        .unwrap();
    let item = index.item(found).unwrap();
    assert_eq!(
        (item.api_version, item.kind, item.name),
        ("v1", "ConfigMap", "map-19999")
    );
    let bytes = spool.read(item.location).unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&bytes).unwrap(),
        items[19_999]
    );
    assert!(
        index
            .find(&"configmaps".into(), "default", "nope")
            .is_none()
    );
    assert!(!spool.is_on_disk() && spool.compressed_bytes() < 4 << 20);
}

/// Makes a text of a number.
type Text<'a> = &'a dyn Fn(usize) -> String;

#[test]
fn a_spool_is_at_most_half_as_large_again_as_its_archive() {
    // Letters in no order, which shrink by a quarter.
    let noise = |seed: usize, length: usize| -> String {
        let mut state = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut letter = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(b'0' + (state >> 32) as u8 % 64)
        };
        (0..length).map(|_| letter()).collect()
    };
    let fox = "the quick brown fox jumps over the lazy dog; ";
    let texts: [(&str, usize, Text<'_>); 4] = [
        ("hardly anything", 5_000, &|_| "a".to_owned()),
        ("the same text", 2_000, &|_| fox.repeat(20)),
        ("noise", 1_000, &|n| noise(n, 900)),
        ("much noise", 3, &|n| noise(n, 900_000)),
    ];
    for (what, count, text) in texts {
        let mut writer = ArchiveWriter::new(Vec::new(), ArchiveWriterOptions::default()).unwrap();
        for n in 0..count {
            let mut map = config_map("default", &format!("map-{n}"));
            map["data"]["text"] = json!(text(n));
            add(&mut writer, &path_of(&map), map.to_string().as_bytes());
        }
        let archive = writer.finish().unwrap();
        let size = archive.len() as u64;
        let request = request(json!({}));
        let options = RestoreOptions::default();
        let (_, spool) =
            ArchiveIndex::read(Cursor::new(archive), request.selectors(), &options).unwrap();
        let spooled = spool.compressed_bytes();
        assert!(
            spooled * 2 <= size * 3,
            "{what}: {spooled} bytes of an archive of {size}"
        );
    }
}
