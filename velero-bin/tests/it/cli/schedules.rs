//! Commands about schedules.

use serde_json::{Value, json};
use velero_testkit::{Fault, FaultAction};

use crate::program::Cluster;

/// Adds a schedule to a namespace.
fn seed(cluster: &Cluster, namespace: &str, name: &str, spec: Value) {
    let mut schedule = json!({"apiVersion": "velero.io/v1", "kind": "Schedule",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"name": name}},
        "spec": {"schedule": "@daily", "template": {}}});
    for (key, value) in spec.as_object().unwrap() {
        schedule["spec"][key] = value.clone();
    }
    cluster.server.store().seed_value(schedule).unwrap();
}

fn get(cluster: &Cluster, namespace: &str, name: &str) -> Option<Value> {
    let store = cluster.server.store();
    store.get("velero.io/v1", "Schedule", Some(namespace), name)
}

fn names(cluster: &Cluster) -> Vec<String> {
    let found = cluster
        .server
        .store()
        .list("velero.io/v1", "Schedule", None);
    let name = |schedule: &Value| schedule["metadata"]["name"].as_str().unwrap().to_owned();
    found.iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_created_shown_and_deleted() {
    let cluster = Cluster::installed().await;
    let create = [
        "schedule",
        "create",
        "nightly",
        "--schedule",
        "0 1 * * *",
        "--include-namespaces",
        "shop",
        "--ttl",
        "72h",
        "-l",
        "app=web",
        "--labels",
        "team=a",
        "--annotations",
        "note=x",
        "--skip-immediately",
        "true",
    ];
    let printed = cluster.run(create.iter().chain(&["-o", "json"])).await;
    let printed: Value = serde_json::from_str(&printed.exits(0)).unwrap();
    assert_eq!(
        printed["spec"]["template"]["includedNamespaces"],
        json!(["shop"])
    );
    assert_eq!(names(&cluster), [] as [&str; 0]);

    let ran = cluster.run(create).await;
    assert_eq!(ran.exits(0), "Schedule \"nightly\" created successfully.\n");
    let made = get(&cluster, "velero", "nightly").unwrap();
    // Annotations are those of its backups as well.
    assert_eq!(made["metadata"]["annotations"], json!({"note": "x"}));
    assert_eq!(made["metadata"]["labels"], json!({"team": "a"}));
    assert_eq!(made["spec"], printed["spec"]);
    assert_eq!(made["spec"]["skipImmediately"], true);
    let message = cluster.run(create).await.fails();
    assert!(message.contains("already exists"), "{message}");

    seed(&cluster, "velero", "weekly", json!({"schedule": "@weekly"}));
    let table = cluster.velero("schedule get weekly").await.exits(0);
    assert_eq!(
        table,
        "NAME     STATUS   CREATED                         SCHEDULE   BACKUP TTL   LAST BACKUP   SELECTOR   PAUSED\n\
         weekly   New      2026-01-01 00:00:00 +0000 UTC   @weekly    0s           n/a           <none>     false\n"
    );
    let table = cluster
        .velero("get schedules -l name=weekly -L name --show-labels")
        .await
        .exits(0);
    assert!(
        table.contains("PAUSED   NAME     LABELS\n")
            && table.ends_with("false    weekly   name=weekly\n"),
        "{table}"
    );
    // Those of another installation are not listed.
    seed(&cluster, "other", "theirs", json!({}));
    let list = cluster.velero("get schedule -o yaml").await.exits(0);
    assert!(!list.contains("theirs"), "{list}");
    assert!(
        list.contains("kind: ScheduleList") && list.contains("name: nightly"),
        "{list}"
    );
    let text = cluster.velero("schedule describe nightly").await.exits(0);
    for part in [
        "Name:         nightly\n",
        "Phase:  New\n",
        "Schedule:  0 1 * * *\n",
        "    Included:  shop\n",
        "  TTL:  72h0m0s\n",
        "Last Backup:  <never>\n",
    ] {
        assert!(text.contains(part), "{part:?}: {text}");
    }
    let both = cluster.velero("describe schedules").await.exits(0);
    assert!(both.contains("<never>\n\n\nName:         weekly"), "{both}");
    assert!(!both.contains("theirs"), "{both}");
    let message = cluster.velero("schedule get weekly never").await.fails();
    assert_eq!(
        message,
        "schedules.velero.io \"never\" not found in namespace \"velero\""
    );

    let text = cluster
        .velero("delete schedule -l name=weekly --confirm")
        .await
        .exits(0);
    assert_eq!(text, "Deleted schedule \"weekly\".\n");
    assert_eq!(names(&cluster), ["theirs", "nightly"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_checks_the_cron_expression_and_the_command_the_locations() {
    let cluster = Cluster::installed().await;
    for (flags, expected) in [
        ("", "--schedule is needed"),
        (
            "--schedule @daily --storage-location gone",
            "backupstoragelocations.velero.io \"gone\" not found",
        ),
        (
            "--schedule @daily --volume-snapshot-locations gone",
            "volumesnapshotlocations.velero.io \"gone\" not found",
        ),
        (
            "--schedule @daily -l a=b --or-selector c=d",
            "cannot be used together",
        ),
    ] {
        let line = format!("schedule create s {flags}");
        let message = cluster.velero(line.trim_end()).await.fails();
        assert!(message.contains(expected), "{flags}: {message}");
    }
    cluster
        .velero("create schedule s --schedule whenever --paused")
        .await
        .exits(0);
    let made = get(&cluster, "velero", "s").unwrap();
    assert_eq!(
        (&made["spec"]["schedule"], &made["spec"]["paused"]),
        (&json!("whenever"), &json!(true))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_rest_and_go_on() {
    let cluster = Cluster::installed().await;
    for (name, spec) in [
        ("one", json!({"skipImmediately": true})),
        ("three", json!({"paused": true})),
        ("two", json!({})),
    ] {
        seed(&cluster, "velero", name, spec);
    }
    seed(&cluster, "other", "theirs", json!({}));
    let state = |name: &str| {
        let spec = &get(&cluster, "velero", name).unwrap()["spec"];
        let is = |key: &str| spec.get(key).and_then(Value::as_bool);
        (is("paused"), is("skipImmediately"))
    };
    let text = cluster.velero("schedule pause --all").await.exits(0);
    assert_eq!(
        text,
        "Schedule \"one\" is paused.\nSchedule \"three\" is paused already.\nSchedule \"two\" is paused.\n"
    );
    // Whether to skip is for the server to say again.
    assert_eq!(state("one"), (Some(true), None));
    // Those of another installation are left alone.
    let theirs = get(&cluster, "other", "theirs").unwrap();
    assert_eq!(theirs["spec"].get("paused"), None);

    let text = cluster
        .velero("schedule unpause one --skip-immediately true")
        .await
        .exits(0);
    assert_eq!(text, "Schedule \"one\" is unpaused.\n");
    assert_eq!(state("one"), (Some(false), Some(true)));
    let text = cluster
        .velero("schedule unpause one --skip-immediately=false")
        .await
        .exits(0);
    assert_eq!(text, "Schedule \"one\" is unpaused.\n");
    assert_eq!(state("one"), (Some(false), Some(false)));

    // One that cannot be changed, and one that is missing, do not hold the others back.
    let denied = Fault::new(FaultAction::Forbidden)
        .verb("patch")
        .resource("schedules")
        .name("three");
    cluster.server.faults().add(denied);
    let ran = cluster.velero("schedule unpause gone three two").await;
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (1, "Schedule \"two\" is unpaused.\n")
    );
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ran.stderr);
    assert!(
        lines[0].contains("\"gone\" not found")
            && lines[1].contains("cannot change schedule \"three\": "),
        "{}",
        ran.stderr
    );
    let text = cluster
        .velero("schedule pause -l name=never")
        .await
        .exits(0);
    assert_eq!(text, "No schedules found\n");
}
