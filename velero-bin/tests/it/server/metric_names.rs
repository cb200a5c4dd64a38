//! What is scraped, compared with all that the peer's server exposes.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt as _;
use serde_json::json;
use velero_core::api::{DeleteBackupRequest, Restore, Schedule};

use super::locations::http_get;
use super::world::{World, eventually, folder};

/// A metric: name, type, and labels.
type Metric = (&'static str, &'static str, &'static [&'static str]);

const SCHEDULE: &[&str] = &["schedule"];

/// The peer's, of what this server does. Upstream: `pkg/metrics/metrics.go`.
const PEER: [Metric; 26] = [
    ("velero_backup_total", "gauge", &[]),
    ("velero_backup_attempt_total", "counter", SCHEDULE),
    ("velero_backup_success_total", "counter", SCHEDULE),
    ("velero_backup_partial_failure_total", "counter", SCHEDULE),
    ("velero_backup_failure_total", "counter", SCHEDULE),
    (
        "velero_backup_validation_failure_total",
        "counter",
        SCHEDULE,
    ),
    ("velero_backup_warning_total", "counter", SCHEDULE),
    ("velero_backup_deletion_attempt_total", "counter", SCHEDULE),
    ("velero_backup_deletion_success_total", "counter", SCHEDULE),
    ("velero_backup_deletion_failure_total", "counter", SCHEDULE),
    ("velero_backup_duration_seconds", "histogram", SCHEDULE),
    ("velero_backup_tarball_size_bytes", "gauge", SCHEDULE),
    ("velero_backup_last_successful_timestamp", "gauge", SCHEDULE),
    ("velero_backup_items_total", "gauge", SCHEDULE),
    ("velero_backup_items_errors", "gauge", SCHEDULE),
    ("velero_backup_last_status", "gauge", SCHEDULE),
    ("velero_volume_snapshot_attempt_total", "counter", SCHEDULE),
    ("velero_volume_snapshot_success_total", "counter", SCHEDULE),
    ("velero_volume_snapshot_failure_total", "counter", SCHEDULE),
    (
        "velero_backup_location_status_gauge",
        "gauge",
        &["backup_location_name"],
    ),
    ("velero_restore_total", "gauge", &[]),
    ("velero_restore_attempt_total", "counter", SCHEDULE),
    (
        "velero_restore_validation_failed_total",
        "counter",
        SCHEDULE,
    ),
    ("velero_restore_failed_total", "counter", SCHEDULE),
    ("velero_restore_success_total", "counter", SCHEDULE),
    ("velero_restore_partial_failure_total", "counter", SCHEDULE),
];

/// The peer's, of engines that are not built: nothing may be told under their names. Those that start with `podVolume_`
/// are the node agent's.
const LATER: [&str; 6] = [
    "velero_csi_snapshot_attempt_total",
    "velero_csi_snapshot_success_total",
    "velero_csi_snapshot_failure_total",
    "velero_repo_maintenance_success_total",
    "velero_repo_maintenance_failure_total",
    "velero_repo_maintenance_duration_seconds",
];

/// Those of this server alone.
const OURS: [Metric; 1] = [("velero_backup_age_seconds", "gauge", SCHEDULE)];

type Found = BTreeMap<String, (String, BTreeSet<String>)>;

/// Names, types and labels out of the text of a scrape.
fn parse(text: &str) -> Found {
    let mut types = BTreeMap::new();
    let mut found = Found::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            types.insert(name.to_owned(), kind.to_owned());
            continue;
        }
        if !line.starts_with("velero_") && !line.starts_with("podVolume_") {
            continue;
        }
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let of_histogram = ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|end| name.strip_suffix(end))
            .find(|name| types.get(*name).is_some_and(|kind| kind == "histogram"));
        let name = of_histogram.unwrap_or(name);
        let family = match types.contains_key(name) {
            true => name,
            false => name.strip_suffix("_total").unwrap(),
        };
        let labels = labels.trim_end_matches('}').split("\",");
        let keys = labels.filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        let keys = keys.filter(|key| key != "le");
        let entry = found.entry(name.to_owned()).or_default();
        entry.0.clone_from(&types[family]);
        entry.1.extend(keys);
    }
    found
}

#[tokio::test]
async fn metrics_are_the_peers_and_ours() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    let schedule = json!({
        "metadata": {"name": "nightly"},
        "spec": {"schedule": "0 3 * * *", "template": {"includedNamespaces": ["shop"]}},
    });
    let schedule: Schedule = world.create(schedule).await;
    world.back_up("b", &["shop"]).await;
    world.back_up("kept", &["shop"]).await;
    let restore = json!({"metadata": {"name": "r"}, "spec": {"backupName": "b"}});
    world.create::<Restore>(restore).await;
    world.restore_ended("r").await;
    let request = json!({"metadata": {"name": "d"}, "spec": {"backupName": "b"}});
    world.create::<DeleteBackupRequest>(request).await;
    world.wait_gone::<DeleteBackupRequest>("d").await;
    let of_schedule = format!("{{schedule=\"{}\"}} 0", schedule.name_any());
    world
        .wait_metric(&format!("velero_backup_attempt_total{of_schedule}"))
        .await;
    world
        .wait_metric("velero_backup_deletion_success_total{schedule=\"\"} 1")
        .await;

    // That one comes from the store, at the next look into it.
    let age = eventually(async || {
        let text = world.metrics();
        text.contains("velero_backup_age_seconds{").then_some(())
    });
    assert!(age.await.is_some());
    let address = world.server.as_ref().unwrap().address().unwrap();
    let found = parse(&http_get(address, "metrics").await);
    let of = |(_, kind, labels): &Metric| {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        ((*kind).to_owned(), labels)
    };
    let expected: Found = PEER
        .iter()
        .chain(&OURS)
        .map(|metric| (metric.0.to_owned(), of(metric)))
        .collect();
    assert_eq!(found, expected);
    assert!(LATER.iter().all(|name| !found.contains_key(*name)));
}
