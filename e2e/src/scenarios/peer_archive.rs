//! Backups that the peer has written, restored by us, give the states that the peer restored.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use serde_json::Value;
use velero_testkit::compare::{ALLOWED, AllowedDifference, compare};

use crate::{
    Context, S3Server, Site, peer,
    scope::is_outside,
    site::SOON,
    state::{self, identity, text},
};

const BUCKET: &str = "demo";

/// Restores `demo-full` as it is, and `demo-ns` under another name of its namespace.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let store = S3Server::start(cx.scratch().join("s3")).await?;
    peer::fill(&store.create_bucket(BUCKET)?)?;
    restored(
        cx,
        &store,
        Case {
            backup: "demo-full",
            restore: "demo-fresh",
            flags: &[],
            namespace: "demo",
            expected: "restored-state.json",
        },
    )
    .await?;
    restored(
        cx,
        &store,
        Case {
            backup: "demo-ns",
            restore: "demo-mapped",
            flags: &["--namespace-mappings", "demo:copy"],
            namespace: "copy",
            expected: "restored-mapped-state.json",
        },
    )
    .await
}

struct Case {
    backup: &'static str,
    /// The peer's restore had the same name: it is in labels.
    restore: &'static str,
    flags: &'static [&'static str],
    namespace: &'static str,
    expected: &'static str,
}

async fn restored(cx: &Context, store: &S3Server, case: Case) -> Result<()> {
    let site = Site::start(cx, case.restore, store, BUCKET).await?;
    for backup in ["demo-full", "demo-ns", "demo-sched", "demo-sel"] {
        let found = site.synchronised(backup).await?;
        ensure!(
            found["status"]["phase"] == "Completed",
            "backup {backup} is {}",
            found["status"]
        );
    }
    let restore = site.restore(case.restore, case.backup, case.flags).await?;
    ensure!(
        restore["status"]["errors"].as_u64().unwrap_or(0) == 0,
        "the restore has errors: {}",
        restore["status"]
    );
    let now = state::at_rest(&site.client, SOON * 2).await?;
    let expected = comparable(peer::objects(case.expected)?);
    let known: BTreeSet<String> = expected.iter().map(identity).collect();
    let mut got = comparable(now);
    // The rest of the cluster is not in the peer's file.
    got.retain(|object| {
        text(object, "/metadata/namespace") == case.namespace || known.contains(&identity(object))
    });
    let allowed: Vec<AllowedDifference> = ALLOWED
        .iter()
        .filter(|entry| entry.path != ["status"])
        .chain(INDEPENDENT)
        .copied()
        .collect();
    let differences: Vec<String> = compare(&expected, &got, &allowed)
        .iter()
        .map(ToString::to_string)
        .collect();
    if !differences.is_empty() {
        bail!(
            "{} differs from {}:\n{}",
            case.backup,
            case.expected,
            differences.join("\n")
        );
    }
    about_velero_alone(&site, case.restore).await?;
    report(&case, expected.len(), &restore);
    site.stop().await
}

/// What belongs to Velero differs from one version of it to another, and stays; all else comes without a warning.
async fn about_velero_alone(site: &Site, restore: &str) -> Result<()> {
    let describe = ["restore", "describe", restore, "--details"];
    let text = site.velero.ok(&describe).await?;
    let other = text.lines().find(|line| {
        line.contains(" message: /")
            && !line.contains(".velero.io ")
            && !line.contains(" /namespaces name: /velero ")
    });
    ensure!(other.is_none(), "a warning that should not be: {other:?}");
    Ok(())
}

fn comparable(mut objects: Vec<Value>) -> Vec<Value> {
    objects.retain(|object| !is_outside(object));
    objects.iter_mut().for_each(peer::without_uids);
    objects
}

#[allow(clippy::print_stdout)]
fn report(case: &Case, objects: usize, restore: &Value) {
    println!(
        "  {}: {objects} objects as the peer restored them, {} warnings",
        case.backup,
        restore["status"]["warnings"].as_u64().unwrap_or(0)
    );
}

const fn differs(
    kind: &'static str,
    path: &'static [&'static str],
    reason: &'static str,
) -> AllowedDifference {
    AllowedDifference { kind, path, reason }
}

/// What may differ from the peer's state beside [`ALLOWED`], and why that is as good or better.
const INDEPENDENT: &[AllowedDifference] = &[
    differs(
        "*",
        &["metadata", "ownerReferences", "[]", "uid"],
        "the states of the peer were written without",
    ),
    differs(
        "CustomResourceDefinition|Deployment|Pod",
        &[
            "status",
            "conditions",
            "[]",
            "lastTransitionTime|lastUpdateTime",
        ],
        "time of the restore",
    ),
    differs(
        "PersistentVolume",
        &["status", "lastPhaseTransitionTime"],
        "time of the restore",
    ),
    differs(
        "Pod",
        &[
            "status",
            "containerStatuses",
            "[]",
            "state",
            "running",
            "startedAt",
        ],
        "time of the restore",
    ),
    differs(
        "Pod",
        &["status", "startTime|podIP|podIPs"],
        "time of the restore, and what kwok gives",
    ),
    differs(
        "Pod",
        &["metadata", "labels", "topology.kubernetes.io/zone"],
        "that of the old node, a random one; the nodes here have none",
    ),
    differs(
        "EndpointSlice",
        &["endpoints", "[]", "zone"],
        "that of the node, and the nodes here have none",
    ),
    differs(
        "Namespace",
        &["metadata", "managedFields"],
        "better: the fields stay with their owner, where the peer makes its server the owner",
    ),
];
