//! Restores of a schedule: which of its backups they take.

use std::time::Duration;

use serde_json::{Value, json};
use velero_testkit::{Fault, FaultAction};

use super::operated::Operated;
use crate::program::Cluster;

/// A backup with a phase, of a schedule and a day.
fn backup(cluster: &Cluster, name: &str, schedule: &str, phase: &str, start: Option<&str>) {
    let mut backup = json!({"apiVersion": "velero.io/v1", "kind": "Backup",
        "metadata": {"name": name, "namespace": "velero", "labels": {"velero.io/schedule-name": schedule}},
        "spec": {}, "status": {"phase": phase}});
    if let Some(day) = start {
        backup["status"]["startTimestamp"] = format!("2026-01-{day}T00:00:00Z").into();
    }
    cluster.server.store().seed_value(backup).unwrap();
}

async fn created(cluster: &Cluster, flags: &str) -> Value {
    let line = format!("restore create {flags} -o json");
    serde_json::from_str(&cluster.velero(&line).await.exits(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_that_ended_partially_failed_are_taken_where_that_is_asked_for() {
    let cluster = Cluster::start().await;
    cluster.velero("install --crds-only").await.exits(0);
    for (name, schedule, phase, day) in [
        ("first", "daily", "Completed", Some("01")),
        ("newest-partial", "daily", "PartiallyFailed", Some("05")),
        ("newest-complete", "daily", "Completed", Some("04")),
        ("older-partial", "daily", "PartiallyFailed", Some("02")),
        ("failed", "daily", "Failed", Some("07")),
        ("running", "daily", "InProgress", Some("08")),
        ("waiting", "daily", "New", None),
        ("of-another", "hourly", "Completed", Some("09")),
        ("broken", "weekly", "Failed", Some("01")),
    ] {
        backup(&cluster, name, schedule, phase, day);
    }
    for (flags, backup, schedule) in [
        // The server chooses.
        ("--from-schedule daily", None, Some("daily")),
        (
            "--from-schedule daily --allow-partially-failed=false",
            None,
            Some("daily"),
        ),
        (
            "--from-schedule daily --allow-partially-failed",
            Some("newest-partial"),
            None,
        ),
        (
            "--from-schedule hourly --allow-partially-failed=true",
            Some("of-another"),
            None,
        ),
        // Nothing to choose from: the server says so.
        (
            "--from-schedule weekly --allow-partially-failed",
            None,
            Some("weekly"),
        ),
        // Without a schedule it says nothing.
        (
            "--from-backup first --allow-partially-failed",
            Some("first"),
            None,
        ),
    ] {
        let restore = created(&cluster, flags).await;
        let spec = &restore["spec"];
        let found = (spec["backupName"].as_str(), spec["scheduleName"].as_str());
        assert_eq!(found, (backup, schedule), "{flags}");
        // The name is that of what was asked for.
        let source = flags.split(' ').nth(1).unwrap();
        let name = restore["metadata"]["name"].as_str().unwrap();
        let time = name.strip_prefix(source).and_then(|t| t.strip_prefix('-'));
        let digits = time.filter(|t| t.len() == 14 && t.bytes().all(|b| b.is_ascii_digit()));
        assert!(digits.is_some(), "{flags}: {name}");
    }
    let line = "restore create --from-schedule never --allow-partially-failed";
    let message = cluster.velero(line).await.fails();
    assert_eq!(message, "no backups found for the schedule \"never\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_backup_of_several_is_restored() {
    let world = Operated::start().await;
    let store = world.cluster.server.store();
    let paint = |color: &str| {
        let mut map = store
            .get("v1", "ConfigMap", Some("shop"), "settings")
            .unwrap();
        map["data"] = json!({"color": color});
        store.remove("v1", "ConfigMap", Some("shop"), "settings");
        store.seed_value(map).unwrap();
    };
    // Of the third one a kind is missing.
    let denied = || {
        Fault::new(FaultAction::Forbidden)
            .verb("list")
            .resource("secrets")
    };
    for (name, color, code) in [
        ("daily-1", "red", 0),
        ("daily-2", "green", 0),
        ("daily-3", "white", 2),
    ] {
        paint(color);
        if code > 0 {
            world.cluster.server.faults().add(denied());
        }
        let line = format!(
            "backup create {name} --include-namespaces shop --labels velero.io/schedule-name=daily --wait"
        );
        world.velero(&line).await.exits(code);
        // Times are whole seconds.
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    world.cluster.server.faults().clear();
    for (name, flags, backup, color) in [
        ("complete", "", "daily-2", "green"),
        ("partial", " --allow-partially-failed", "daily-3", "white"),
    ] {
        let plan = format!("restore plan --from-schedule daily{flags} -o json");
        let text = world.velero(&plan).await.exits(0);
        let head: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let spec = &head["plan"]["restore"]["spec"];
        assert_eq!(spec["backupName"], backup, "{flags}");

        let line = format!(
            "restore create {name} --from-schedule daily{flags} --namespace-mappings shop:{name} --wait"
        );
        world.velero(&line).await.exits(0);
        let map = store
            .get("v1", "ConfigMap", Some(name), "settings")
            .unwrap();
        assert_eq!(map["data"]["color"], color, "{flags}");
        let restore = store
            .get("velero.io/v1", "Restore", Some("velero"), name)
            .unwrap();
        let spec = &restore["spec"];
        // The server notes both, whoever has chosen.
        assert_eq!(
            (&spec["backupName"], &spec["scheduleName"]),
            (&json!(backup), &json!("daily")),
            "{flags}"
        );
    }
}
