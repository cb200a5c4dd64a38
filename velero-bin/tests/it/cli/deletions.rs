//! Commands that delete: what they take, what they ask, and what the operator refuses.

use serde_json::{Value, json};
use velero_bin::logfile::{LogOptions, RunLogs};
use velero_bin::server::{Server, Settings};

use velero_testkit::{Fault, FaultAction};

use crate::program::{Cluster, Ran, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_deletion_is_told() {
    let cluster = Cluster::start().await;
    cluster.velero("install --crds-only").await.exits(0);
    let store = cluster.server.store();
    store
        .seed("{apiVersion: v1, kind: Namespace, metadata: {name: velero}}")
        .unwrap();
    for name in ["one", "two"] {
        let backup = json!({"apiVersion": "velero.io/v1", "kind": "Backup",
            "metadata": {"name": name, "namespace": "velero"},
            "spec": {"storageLocation": "gone"}, "status": {"phase": "Completed"}});
        store.seed_value(backup).unwrap();
    }
    // Without an operator nobody refuses, and nothing is waited for without end.
    let text = cluster.velero("backup delete one --confirm").await.exits(0);
    assert!(
        text.starts_with("Request to delete backup \"one\" submitted successfully.\n"),
        "{text}"
    );

    let logs = RunLogs::install(&LogOptions::default());
    let _operator = Server::start(cluster.server.client(), Settings::default(), logs)
        .await
        .unwrap();
    let ran = cluster.velero("backup delete one two --confirm").await;
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let fault = |name: &str| {
        format!(
            "An error occurred: backup {name:?} was not deleted: backup storage location \"gone\" not found\n"
        )
    };
    for name in ["one", "two"] {
        assert!(ran.stderr.contains(&fault(name)), "{}", ran.stderr);
    }
    assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
}

/// Runs a line with something on its stdin.
async fn answered(cluster: &Cluster, line: &str, answers: &str) -> Ran {
    let answers_file = cluster.home.path().join("answers");
    std::fs::write(&answers_file, answers).unwrap();
    let mut command = cluster.command(line.split(' '));
    command.stdin(std::fs::File::open(answers_file).unwrap());
    run(command).await
}

/// Objects of a kind, by their names and with a label that has the name too.
fn seed(cluster: &Cluster, kind: &str, names: &[&str]) {
    for name in names {
        let object = json!({"apiVersion": "velero.io/v1", "kind": kind,
            "metadata": {"name": name, "namespace": "velero", "labels": {"name": name, "all": "of-them"}}, "spec": {}});
        cluster.server.store().seed_value(object).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_said_what_is_deleted() {
    let cluster = Cluster::installed().await;
    for noun in [
        "backup",
        "restore",
        "schedule",
        "backup-location",
        "snapshot-location",
    ] {
        for (args, expected) in [
            (
                &[] as &[&str],
                "exactly one of names, --all and --selector is needed",
            ),
            (
                &["a", "--all"],
                "exactly one of names, --all and --selector is needed",
            ),
            (
                &["--all", "-l", "a=b"],
                "exactly one of names, --all and --selector is needed",
            ),
            (
                &["a", "-l", "a=b"],
                "exactly one of names, --all and --selector is needed",
            ),
            // An empty variable in a script must not mean everything.
            (
                &["-l", ""],
                "--selector \"\" would take everything; --all says that",
            ),
            (
                &["--selector= "],
                "--selector \"\" would take everything; --all says that",
            ),
        ] {
            for words in [[noun, "delete"], ["delete", noun]] {
                let line = words.iter().chain(args).chain(&["--confirm"]);
                let message = cluster.run(line).await.fails();
                assert_eq!(message, expected, "{words:?} {args:?}");
            }
        }
        let ran = cluster
            .velero(&format!("{noun} delete -l a!=b --confirm"))
            .await;
        assert!(
            ran.code == 1 && ran.stderr.contains("notin"),
            "{}",
            ran.stderr
        );
        let text = cluster
            .velero(&format!("{noun} delete --all --confirm"))
            .await
            .exits(0);
        assert!(
            text.starts_with("No ") && text.ends_with("s found\n"),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restores_are_deleted_by_name_label_or_all_at_once() {
    let cluster = Cluster::installed().await;
    seed(&cluster, "Restore", &["a", "b", "c", "d", "e"]);
    let left = || {
        let store = cluster.server.store();
        let found = store.list("velero.io/v1", "Restore", None);
        let name = |restore: &Value| restore["metadata"]["name"].as_str().unwrap().to_owned();
        found.iter().map(name).collect::<Vec<_>>()
    };
    // Nothing is deleted when one of the names does not exist.
    let message = cluster
        .velero("restore delete a gone b --confirm")
        .await
        .fails();
    assert_eq!(
        message,
        "restores.velero.io \"gone\" not found in namespace \"velero\""
    );
    assert_eq!(left(), ["a", "b", "c", "d", "e"]);
    let text = cluster.velero("restore delete a --confirm").await.exits(0);
    assert_eq!(
        text,
        "Request to delete restore \"a\" submitted successfully.\n"
    );
    cluster
        .run(["delete", "restores", "-l", "name in (b,c)", "--confirm"])
        .await
        .exits(0);
    assert_eq!(left(), ["d", "e"]);
    // One that cannot be deleted does not hold the others back.
    let denied = Fault::new(FaultAction::Forbidden)
        .verb("delete")
        .resource("restores")
        .name("d");
    cluster.server.faults().add(denied);
    let ran = cluster.velero("restore delete --all --confirm").await;
    assert_eq!(
        (ran.code, ran.stderr.lines().count()),
        (1, 1),
        "{}",
        ran.stderr
    );
    assert_eq!(left(), ["d"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_are_deleted_by_name_label_or_all_at_once() {
    let cluster = Cluster::installed().await;
    seed(&cluster, "Backup", &["a", "b", "c"]);
    // A name that the API server makes up may be taken.
    let taken = Fault::new(FaultAction::Conflict)
        .verb("create")
        .resource("deletebackuprequests")
        .times(2);
    cluster.server.faults().add(taken);
    for (flags, expected) in [
        (&["-l", "name=b"] as &[&str], &["b"] as &[&str]),
        (&["c", "a"], &["a", "c"]),
        (&["--all"], &["a", "b", "c"]),
    ] {
        let line = ["backup", "delete", "--confirm"].iter().chain(flags);
        cluster.run(line).await.exits(0);
        let store = cluster.server.store();
        let requests = store.list("velero.io/v1", "DeleteBackupRequest", None);
        let mut names = Vec::new();
        for request in requests {
            let name = request["metadata"]["name"].as_str().unwrap();
            store.remove("velero.io/v1", "DeleteBackupRequest", Some("velero"), name);
            names.push(request["spec"]["backupName"].as_str().unwrap().to_owned());
        }
        assert_eq!(names, expected, "{flags:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_letter_answers_the_question() {
    let cluster = Cluster::installed().await;
    for (answers, asked, deleted) in [
        ("n\n", 1, false),
        ("N\n", 1, false),
        ("yes\nno\n\nn\n", 4, false),
        ("", 1, false),
        ("x\ny\n", 2, true),
        ("Y\n", 1, true),
    ] {
        let schedule = json!({"apiVersion": "velero.io/v1", "kind": "Schedule",
            "metadata": {"name": "s", "namespace": "velero"}, "spec": {"schedule": "@daily", "template": {}}});
        cluster
            .server
            .store()
            .remove("velero.io/v1", "Schedule", Some("velero"), "s");
        cluster.server.store().seed_value(schedule).unwrap();
        let ran = answered(&cluster, "schedule delete s", answers).await;
        assert_eq!(ran.code, 0, "{answers:?}: {}", ran.stderr);
        let questions = ran
            .stderr
            .matches("Are you sure you want to continue (Y/N)?")
            .count();
        assert_eq!(questions, asked, "{answers:?}: {}", ran.stderr);
        let store = cluster.server.store();
        let there = store
            .get("velero.io/v1", "Schedule", Some("velero"), "s")
            .is_some();
        assert_eq!(there, !deleted, "{answers:?}");
    }
}
