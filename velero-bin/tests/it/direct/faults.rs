//! Direct mode on bad input and in bad weather: one clear line, the right exit code, nothing half-written.

use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use velero_testkit::{Fault, FaultAction};

use super::s3::{ACCESS_KEY, S3Server, SECRET_KEY};
use crate::program::{Cluster, Ran, command, files, run};

const BACKUP: &[&str] = &["direct", "backup", "first", "--store"];

#[tokio::test(flavor = "multi_thread")]
async fn stores_that_cannot_be_used_are_told_apart() {
    let (cluster, s3) = (Cluster::with_shop().await, S3Server::start().await);
    let closed =
        "s3://backups?region=us-east-1&forcePathStyle=true&endpoint=http://127.0.0.1:9".to_owned();
    let missing = s3.url("nothing-here", "");
    for (name, url, key, expected) in [
        (
            "unreachable",
            closed,
            SECRET_KEY,
            "the store cannot be reached",
        ),
        (
            "wrong credentials",
            s3.url("backups", ""),
            "wrong",
            "access denied",
        ),
        ("missing bucket", missing, SECRET_KEY, "nothing-here"),
        ("no store", "ftp://x".to_owned(), SECRET_KEY, "store URL"),
        ("no region", "s3://".to_owned(), SECRET_KEY, "store URL"),
    ] {
        let mut command = cluster.command([BACKUP, &[url.as_str()]].concat());
        command
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", key);
        let message = run(command).await.fails();
        assert!(message.contains(expected), "{name}: {message}");
        assert!(!message.contains(SECRET_KEY));
    }
    assert_eq!(files(&s3.bucket()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_that_cannot_be_used_are_told_apart() {
    let (home, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = format!("file://{}/store", folder.path().display());
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let config = |server: &str| {
        format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: \"{server}\"}}}}]\nusers: [{{name: u, user: {{}}}}]\n\
             contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n"
        )
    };
    let (broken, closed) = (
        write("broken", "clusters: [{"),
        write("closed", &config("http://127.0.0.1:9")),
    );
    for (args, expected) in [
        (vec![], "no kubeconfig was found"),
        (
            vec!["--kubeconfig", "/nowhere/config"],
            "there is no kubeconfig /nowhere/config",
        ),
        (vec!["--kubeconfig", &broken], "cannot read the kubeconfig"),
        (
            vec!["--kubeconfig", &closed],
            "cannot use the cluster at http://127.0.0.1:9/: ",
        ),
        (
            vec!["--kubeconfig", &closed, "--kubecontext", "y"],
            "cannot use the kubeconfig",
        ),
    ] {
        let args = [BACKUP, &[store.as_str()], &args].concat();
        let message = run(command(home.path(), args)).await.fails();
        assert!(message.contains(expected), "{expected}: {message}");
    }
    assert!(!folder.path().join("store/backups").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_flags_that_are_wrong_are_refused_before_anything_is_done() {
    let (cluster, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = format!("file://{}", folder.path().display());
    let before = cluster.server.calls().total();
    for (args, expected) in [
        (
            vec!["direct", "backup", "No_Good"],
            "backup name \"No_Good\" is not valid",
        ),
        (
            vec!["direct", "backup", "../up"],
            "backup name \"../up\" is not valid",
        ),
        (
            vec!["direct", "restore", "UP"],
            "backup name \"UP\" is not valid",
        ),
        (
            vec!["direct", "restore", "first", "--restore-name", "x y"],
            "restore name \"x y\" is not valid",
        ),
        (
            vec!["direct", "backup", "b", "--include-namespaces", "a,*"],
            "must stand alone",
        ),
        (
            vec!["direct", "backup", "b", "-l", "a=b", "--or-selector", "c=d"],
            "cannot be used together",
        ),
        (
            vec![
                "direct",
                "backup",
                "b",
                "--include-resources",
                "a",
                "--include-cluster-scoped-resources",
                "b",
            ],
            "cannot be used together",
        ),
    ] {
        let message = cluster
            .run([&args[..], &["--store", &store]].concat())
            .await
            .fails();
        assert!(message.contains(expected), "{args:?}: {message}");
    }
    assert_eq!(cluster.server.calls().total(), before);
    for args in [
        vec!["direct", "backup", "b", "-l", "a!=b"],
        vec!["direct", "backup", "b", "--data-mover=x"],
        vec!["direct", "backup"],
    ] {
        let ran = cluster
            .run([&args[..], &["--store", &store]].concat())
            .await;
        assert_eq!(ran.code, 1, "{args:?}");
        assert!(
            ran.stderr.contains("error: ") && ran.stderr.contains("\nAn error occurred: "),
            "{}",
            ran.stderr
        );
    }
    assert_eq!(files(folder.path()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_that_are_not_there_or_there_already() {
    let (cluster, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = format!("file://{}", folder.path().display());
    let at = |words: &[&str]| {
        [words, &["--store", &store]]
            .concat()
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    for args in [
        at(&["direct", "restore", "nothing"]),
        at(&["direct", "ls", "nothing"]),
        at(&["direct", "cat", "nothing", "pods/x"]),
    ] {
        let message = cluster.run(&args).await.fails();
        assert!(
            message.contains("there is no backup \"nothing\" in"),
            "{message}"
        );
    }
    assert_eq!(files(folder.path()), Vec::<String>::new());
    let message = cluster
        .run(["direct", "ls", "--store", "file:///nowhere/at-all"])
        .await
        .fails();
    assert!(
        message.contains("there is no folder /nowhere/at-all"),
        "{message}"
    );

    cluster
        .run(at(&["direct", "backup", "first"]))
        .await
        .exits(0);
    let read = || std::fs::read(folder.path().join("backups/first/first.tar.gz")).unwrap();
    let (listed, archive) = (files(folder.path()), read());
    let message = cluster
        .run(at(&["direct", "backup", "first"]))
        .await
        .fails();
    assert!(
        message.contains("backup \"first\" exists already"),
        "{message}"
    );
    assert_eq!((files(folder.path()), read()), (listed, archive));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_not_there_is_an_error_of_the_backup() {
    let (cluster, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = format!("file://{}", folder.path().display());
    let ran = cluster
        .run(
            [
                BACKUP,
                &[store.as_str(), "--include-namespaces", "shop,gone"],
            ]
            .concat(),
        )
        .await;
    let text = ran.exits(2);
    assert!(
        text.contains("PartiallyFailed") && text.contains("gone"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_that_cannot_be_read_are_errors_of_the_backup() {
    let (cluster, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = format!("file://{}", folder.path().display());
    cluster.server.faults().add(
        Fault::new(FaultAction::Forbidden)
            .verb("list")
            .resource("secrets"),
    );
    let ran = cluster
        .run([BACKUP, &[store.as_str(), "--include-namespaces", "shop"]].concat())
        .await;
    let text = ran.exits(2);
    assert!(
        text.contains("Backup \"first\" PartiallyFailed.") && text.contains("secrets"),
        "{text}"
    );
    let listed = cluster
        .run(["direct", "ls", "first", "--store", &store])
        .await
        .exits(0);
    assert!(
        listed.contains("settings") && !listed.contains("v1/Secret"),
        "{listed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_backup_leaves_its_log() {
    let (cluster, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = format!("file://{}", folder.path().display());
    cluster.server.faults().add(
        Fault::new(FaultAction::Slow(Duration::from_secs(60)))
            .verb("list")
            .resource("secrets"),
    );
    let mut command =
        cluster.command([BACKUP, &[store.as_str(), "--include-namespaces", "shop"]].concat());
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    let claimed = folder.path().join("backups/first");
    for _ in 0..600 {
        if claimed.is_dir() && cluster.server.calls().count("list", "secrets") > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(claimed.is_dir(), "the backup never began");
    Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap())
        .await
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("backup \"first\" failed: cancelled"),
        "{stderr}"
    );
    assert_eq!(
        files(folder.path()),
        [
            "backups/first/first-logs.gz",
            "backups/first/first-results.gz",
            "backups/first/velero-backup.json"
        ]
    );
    let metadata = std::fs::read(folder.path().join("backups/first/velero-backup.json")).unwrap();
    let status = serde_json::from_slice::<serde_json::Value>(&metadata).unwrap()["status"].clone();
    assert_eq!(status["phase"], "Failed");
    assert_eq!(status["failureReason"], "cancelled by the user");
    assert!(status["completionTimestamp"].is_string() && status["expiration"].is_string());
    let listed = cluster
        .run(["direct", "ls", "--store", &store])
        .await
        .exits(0);
    assert!(listed.contains("Failed"), "{listed}");
    // A failed one makes room for the next try.
    let again: Ran = {
        cluster.server.faults().clear();
        cluster
            .run([BACKUP, &[store.as_str(), "--include-namespaces", "shop"]].concat())
            .await
    };
    again.exits(0);
}
