//! Direct mode on bad input and in bad weather: one clear line, the right exit code, nothing half-written.

use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
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
        (
            "no folder",
            "file:///dev/null".to_owned(),
            SECRET_KEY,
            "/dev/null is no folder",
        ),
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
    // Something that speaks, but not TLS.
    let s3 = S3Server::start().await;
    let url = s3.url("", "");
    let secure = url.split("endpoint=http").nth(1).unwrap();
    let secure = format!("https{secure}");
    let tls = write("tls", &config(&secure));
    let no_tls = format!("cannot use the cluster at {secure}/: tls fails: ");
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
        (vec!["--kubeconfig", &tls], no_tls.as_str()),
        (
            vec!["--kubeconfig", &closed, "--kubecontext", "y"],
            "cannot use the kubeconfig",
        ),
    ] {
        let args = [BACKUP, &[store.as_str()], &args].concat();
        let message = run(command(home.path(), args)).await.fails();
        assert!(message.contains(expected), "{expected}: {message}");
    }
    for text in [
        "users:\n- name: u\n  user:\n    token: [S3CRET]\n",
        "users:\n- name: u\n  user: {token: S3CRET\n",
        "users: S3CRET\n",
        "users:\n- S3CRET: 1\n  S3CRET: 2\n",
    ] {
        let leaky = write("leaky", text);
        let args = [BACKUP, &[store.as_str(), "--kubeconfig", &leaky]].concat();
        let message = run(command(home.path(), args)).await.fails();
        assert!(
            message.contains(&format!("cannot read the kubeconfig {leaky}: line "))
                && !message.contains("S3CRET"),
            "{message}"
        );
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
    for (args, expected) in [
        (
            "backup b -l a!=b",
            "'--selector <SELECTOR>': \"!=\" cannot be used here",
        ),
        (
            "backup b --snapshot-volumes=perhaps",
            "'--snapshot-volumes[=<BOOL>]': a boolean is needed",
        ),
        ("backup", "required arguments were not provided: <NAME>"),
        (
            "backup b --includ-namespaces a",
            "'--includ-namespaces' found; tip: a similar argument exists: '--include-namespaces'",
        ),
        (
            "restore b --namespace-mappings shop:Bad_NS",
            "'--namespace-mappings <FROM:TO>': \"Bad_NS\" is no namespace name",
        ),
        (
            "restore b --namespace-mappings shop:a,shop:b",
            "\"shop\" is given twice, with \"a\" and with \"b\"",
        ),
        (
            "restore b --namespace-mappings shop:a --namespace-mappings shop:b",
            "--namespace-mappings: \"shop\" is given twice",
        ),
        (
            "backup b --labels bad_/Key=x",
            "'--labels <LABELS>': \"bad_/Key\" cannot be the key of a label",
        ),
        (
            "backup b --annotations=-a=x",
            "'--annotations <ANNOTATIONS>': \"-a\" cannot be the key of an annotation",
        ),
        (
            "backup b --ttl=-5h",
            "'--ttl <DURATION>': the backup would have expired",
        ),
    ] {
        let message = cluster
            .velero(&format!("direct {args} --store {store}"))
            .await
            .fails();
        assert!(message.contains(expected), "{args}: {message}");
    }
    assert_eq!(cluster.server.calls().total(), before);
    assert_eq!(files(folder.path()), Vec::<String>::new());
}

/// It would be gone with the process.
#[tokio::test(flavor = "multi_thread")]
async fn memory_is_no_store_of_the_command_line() {
    let cluster = Cluster::with_shop().await;
    let before = cluster.server.calls().total();
    for line in ["direct backup b", "direct restore b", "direct ls"] {
        let message = cluster
            .velero(&format!("{line} --store memory://x"))
            .await
            .fails();
        assert!(
            message.starts_with("--store \"memory://x\" would be gone when this command ends"),
            "{message}"
        );
    }
    assert_eq!(cluster.server.calls().total(), before);
}

/// The rule about the field is the engine's: `false` asks for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_refused_by_the_rule_for_the_field() {
    let (cluster, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = format!("file://{}", folder.path().display());
    let message = cluster
        .run([BACKUP, &[store.as_str(), "--snapshot-volumes"]].concat())
        .await
        .fails();
    assert!(
        message.contains("spec.snapshotVolumes: volume snapshots cannot be backed up"),
        "{message}"
    );
    assert_eq!(files(folder.path()), Vec::<String>::new());
    cluster
        .run([BACKUP, &[store.as_str(), "--snapshot-volumes=false"]].concat())
        .await
        .exits(0);
    let message = cluster
        .velero(&format!(
            "direct restore first --store {store} --existing-resource-policy replace"
        ))
        .await
        .fails();
    assert!(message.contains("--existing-resource-policy"), "{message}");
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
    let cause = ran.stderr.clone();
    let text = ran.exits(2);
    assert!(
        text.contains("PartiallyFailed") && text.contains("gone"),
        "{text}"
    );
    assert_eq!(cause.lines().count(), 1, "{cause}");
    assert!(
        cause.starts_with("An error occurred: backup \"first\" PartiallyFailed: ")
            && cause.contains("gone"),
        "{cause}"
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

/// Begins a backup that gets stuck in the middle.
async fn begin(cluster: &Cluster, folder: &TempDir, store: &str) -> std::process::Child {
    cluster.server.faults().add(
        Fault::new(FaultAction::Slow(Duration::from_secs(60)))
            .verb("list")
            .resource("secrets"),
    );
    let mut command = cluster.command([BACKUP, &[store, "--include-namespaces", "shop"]].concat());
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
    child
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_a_killed_backup_is_taken_over() {
    let (cluster, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = format!("file://{}", folder.path().display());
    let mut child = begin(&cluster, &folder, &store).await;
    let pid = child.id();
    let args = [BACKUP, &[store.as_str(), "--include-namespaces", "shop"]].concat();
    let message = cluster.run(&args).await.fails();
    assert!(
        message.contains("is being written by") && message.contains(&format!("(process {pid}")),
        "{message}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    cluster.server.faults().clear();
    let again = cluster.run(&args).await;
    assert!(
        again.stderr.contains("the name \"first\" was left behind")
            && again.stderr.contains(&format!("process {pid}"))
            && again.stderr.trim_end().ends_with("has ended"),
        "{}",
        again.stderr
    );
    again.exits(0);
    let hidden = std::fs::read_dir(folder.path().join("backups/first"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(['.', 'x']))
        .collect::<Vec<_>>();
    assert_eq!(hidden, Vec::<String>::new());
}

/// What a failed backup leaves.
const FAILED: [&str; 3] = [
    "backups/first/first-logs.gz",
    "backups/first/first-results.gz",
    "backups/first/velero-backup.json",
];

/// Whether this process ignores SIGHUP, as under `nohup`; then so do its children.
#[cfg(target_os = "linux")]
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    u64::from_str_radix(mask.unwrap().trim(), 16).unwrap() & 1 == 1
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_ends_cleanly_with_its_terminal_unless_told_to_outlive_it() {
    let (cluster, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = format!("file://{}", folder.path().display());
    let mut child = begin(&cluster, &folder, &store).await;
    let id = child.id().to_string();
    let signal = |name: &str| Command::new("kill").args([name, &id]).status().unwrap();
    signal("-HUP");
    if ignores_hangups() {
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(child.try_wait().unwrap(), None);
        signal("-INT");
    }
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap())
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(files(folder.path()), FAILED);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_backup_leaves_its_log() {
    let (cluster, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = format!("file://{}", folder.path().display());
    let child = begin(&cluster, &folder, &store).await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
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
    assert_eq!(files(folder.path()), FAILED);
    let metadata = std::fs::read(folder.path().join("backups/first/velero-backup.json")).unwrap();
    let status = serde_json::from_slice::<serde_json::Value>(&metadata).unwrap()["status"].clone();
    assert_eq!(status["phase"], "Failed");
    assert_eq!(status["failureReason"], "cancelled by the user");
    let time = |field: &str| {
        status[field]
            .as_str()
            .unwrap()
            .parse::<Timestamp>()
            .unwrap()
    };
    assert!(status["expiration"].is_string());
    let took = time("completionTimestamp").duration_since(time("startTimestamp"));
    assert!(took.as_secs() >= 1, "{status}");
    let listed = cluster
        .run(["direct", "ls", "--store", &store])
        .await
        .exits(0);
    assert!(listed.contains("Failed"), "{listed}");
    let logs = ["direct", "logs", "first", "--store", &store];
    assert!(stderr.contains("velero direct logs first"), "{stderr}");
    let log = cluster.run(logs).await.exits(0);
    assert!(log.contains("cancelled by the user"), "{log}");
    let message = cluster
        .run(["direct", "ls", "first", "--store", &store])
        .await
        .fails();
    assert!(
        message.contains("has failed and holds no objects: cancelled by the user"),
        "{message}"
    );
    // A failed one makes room for the next try; a dry run says so.
    cluster.server.faults().clear();
    let dry = [BACKUP, &[store.as_str(), "--dry-run"]].concat();
    let ran = cluster.run(dry).await;
    assert_eq!(
        ran.stderr,
        "warning: a failed backup \"first\" is in the store; its log and results would make room\n"
    );
    // One that is refused does not take its place.
    let refused = [BACKUP, &[store.as_str(), "--snapshot-move-data"]].concat();
    let message = cluster.run(refused).await.fails();
    assert!(message.contains("spec.snapshotMoveData"), "{message}");
    assert_eq!(files(folder.path()), FAILED);
    let again: Ran = cluster
        .run([BACKUP, &[store.as_str(), "--include-namespaces", "shop"]].concat())
        .await;
    assert_eq!(
        again.stderr,
        "a failed backup \"first\" was there; this one has taken the place of its log and results\n"
    );
    again.exits(0);
    cluster.run(logs).await.exits(0);
    // One that has an archive does not, whatever its phase is.
    std::fs::write(
        folder.path().join("backups/first/velero-backup.json"),
        &metadata,
    )
    .unwrap();
    let before = files(folder.path());
    let again = [BACKUP, &[store.as_str(), "--include-namespaces", "shop"]].concat();
    let message = cluster.run(again).await.fails();
    assert!(
        message.contains("backup \"first\" exists already in "),
        "{message}"
    );
    assert_eq!(files(folder.path()), before);
    let none = ["direct", "logs", "none", "--store", &store];
    let message = cluster.run(none).await.fails();
    assert!(
        message.contains("there is no log of a backup \"none\""),
        "{message}"
    );
}
