//! Commands that need no operator.

use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Cluster, command, run};

#[tokio::test(flavor = "multi_thread")]
async fn definitions_are_printed_installed_and_kept() {
    let cluster = Cluster::start().await;
    let before = cluster.server.calls().total();
    let text = cluster
        .velero("install --crds-only --dry-run -o yaml")
        .await
        .exits(0);
    assert!(
        text.contains("kind: List") && text.contains("name: backups.velero.io"),
        "{text}"
    );
    let ran = cluster.velero("install --crds-only --dry-run").await;
    assert_eq!(
        ran.stderr,
        "nothing was sent; -o yaml prints what would be\n"
    );
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""));
    assert_eq!(cluster.server.calls().total(), before);
    let ran = cluster
        .velero("install --crds-only --dry-run --features EnableCSI,EnableAPIGroupVersions")
        .await;
    assert_eq!(
        ran.stderr,
        "warning: the feature \"EnableCSI\" changes nothing: this version makes no CSI snapshots\n\
         nothing was sent; -o yaml prints what would be\n"
    );
    ran.exits(0);
    let text = cluster.velero("install --crds-only").await.exits(0);
    assert!(
        text.contains("CustomResourceDefinition/backups.velero.io: created\n"),
        "{text}"
    );
    let text = cluster.velero("install --crds-only").await.exits(0);
    assert!(
        text.contains("backups.velero.io: already exists, kept as it is\n"),
        "{text}"
    );
    let ran = cluster.velero("install").await;
    assert!(
        ran.code == 1 && ran.stderr.contains("--crds-only"),
        "{}",
        ran.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_of_an_operator_with_few_rights_is_printed_and_installed() {
    let cluster = Cluster::start().await;
    let before = cluster.server.calls().total();
    let line = "install --rbac-only backup --resources configmaps,deployments.apps -n backups";
    let printed = cluster.velero(&format!("{line} --dry-run -o json")).await;
    let list: Value = serde_json::from_str(&printed.exits(0)).unwrap();
    let kinds: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["kind"].as_str().unwrap())
        .collect();
    let expected = [
        "Namespace",
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(list["items"][1]["metadata"]["namespace"], "backups");
    assert_eq!(cluster.server.calls().total(), before);

    let text = cluster.velero(line).await.exits(0);
    assert!(
        text.contains("Namespace/backups: created\n")
            && text.contains("ClusterRole/velero-backups: created\n"),
        "{text}"
    );
    // Names of the cluster's own are understood, and become those that roles have.
    let line = "install --rbac-only restore --resources deploy -n backups";
    let text = cluster.velero(line).await.exits(0);
    assert!(
        text.contains("ClusterRole/velero-backups: already exists, kept as it is\n"),
        "{text}"
    );
    let text = cluster.velero(&format!("{line} --apply")).await.exits(0);
    assert!(
        text.contains("ClusterRole/velero-backups: applied\n"),
        "{text}"
    );
    let store = cluster.server.store();
    let role = store.get(
        "rbac.authorization.k8s.io/v1",
        "ClusterRole",
        None,
        "velero-backups",
    );
    let role = role.unwrap();
    assert!(
        role["rules"].to_string().contains("\"deployments\""),
        "{role}"
    );
    for (line, expected) in [
        (
            "install --rbac-only backup --resources pods,tapes",
            "--resources tapes: the cluster serves no such kind",
        ),
        (
            "install --rbac-only backup --resources Pods",
            "a kind is its plural and its group",
        ),
        (
            "install --rbac-only everything",
            "possible values: backup, restore",
        ),
        ("install --crds-only --resources pods", "--resources"),
        (
            "install --crds-only --rbac-only backup",
            "cannot be used with",
        ),
    ] {
        let ran = cluster.velero(line).await;
        assert!(
            ran.code == 1 && ran.stderr.contains(expected),
            "{line}: {}",
            ran.stderr
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn create_prints_and_sends_nothing_when_asked_to() {
    let cluster = Cluster::start().await;
    cluster.velero("install --crds-only").await.exits(0);
    let line = "create backup first --include-namespaces a,b --ttl 1h -l app=web --include-cluster-resources=false -o json";
    let backup: Value = serde_json::from_str(&cluster.velero(line).await.exits(0)).unwrap();
    assert_eq!(backup["metadata"]["namespace"], "velero");
    assert_eq!(
        backup["spec"]["includedNamespaces"],
        serde_json::json!(["a", "b"])
    );
    assert_eq!(backup["spec"]["ttl"], "1h0m0s");
    assert_eq!(backup["spec"]["labelSelector"]["matchLabels"]["app"], "web");
    assert_eq!(backup["spec"]["includeClusterResources"], false);
    // A repeated list replaces the earlier one, repeated pairs are merged.
    let line = "backup create first --include-namespaces a --include-namespaces b --labels a=1 --labels b=2 -o json";
    let ran = cluster.velero(line).await;
    assert_eq!(
        ran.stderr,
        "warning: --include-namespaces is given 2 times and the last one alone counts; one list with commas is needed\n"
    );
    let backup: Value = serde_json::from_str(&ran.exits(0)).unwrap();
    assert_eq!(
        backup["spec"]["includedNamespaces"],
        serde_json::json!(["b"])
    );
    assert_eq!(
        backup["metadata"]["labels"],
        serde_json::json!({"a": "1", "b": "2"})
    );
    let table = cluster
        .velero("backup create first -o table")
        .await
        .exits(0);
    assert_eq!(table.lines().count(), 2, "{table}");
    assert_eq!(cluster.velero("backup get").await.exits(0), "");
}

/// What can be asked for without asking for anything goes into the spec, where the one rule decides.
#[tokio::test(flavor = "multi_thread")]
async fn flags_about_volumes_go_into_the_spec() {
    let cluster = Cluster::start().await;
    cluster.velero("install --crds-only").await.exits(0);
    let line = "backup create b --snapshot-volumes --snapshot-move-data=false --default-volumes-to-fs-backup=f \
                --csi-snapshot-timeout 7m --parallel-files-upload 0 -o json";
    let backup: Value = serde_json::from_str(&cluster.velero(line).await.exits(0)).unwrap();
    let spec = &backup["spec"];
    assert_eq!(
        [
            &spec["snapshotVolumes"],
            &spec["snapshotMoveData"],
            &spec["defaultVolumesToFsBackup"],
            &spec["csiSnapshotTimeout"],
        ],
        [true.into(), false.into(), false.into(), Value::from("7m0s")].each_ref()
    );
    let line = "backup create b --snapshot-volumes=true --snapshot-volumes= -o json";
    let backup: Value = serde_json::from_str(&cluster.velero(line).await.exits(0)).unwrap();
    assert_eq!(backup["spec"]["snapshotVolumes"], Value::Null);
    cluster
        .server
        .store()
        .seed("{apiVersion: velero.io/v1, kind: Backup, metadata: {name: b, namespace: velero}}")
        .unwrap();
    let line = "restore create --from-backup b --existing-resource-policy none --write-sparse-files=false \
                --parallel-files-download 0 -o json";
    let restore: Value = serde_json::from_str(&cluster.velero(line).await.exits(0)).unwrap();
    assert_eq!(restore["spec"]["existingResourcePolicy"], "none");
    assert_eq!(restore["spec"]["uploaderConfig"]["writeSparseFiles"], false);
    assert!(restore["metadata"].get("annotations").is_none());
    // Every other flag, in the form in which the peer's command line writes it.
    let line = "restore create --from-backup b --resource-modifier-configmap m --status-include-resources pods,deployments.apps \
                --status-exclude-resources jobs.batch --parallel-files-download 4 --item-operation-timeout 7m -o json";
    let ran = cluster.velero(line).await;
    assert_eq!(ran.stderr, "");
    let restore: Value = serde_json::from_str(&ran.exits(0)).unwrap();
    for (field, expected) in [
        (
            "resourceModifier",
            serde_json::json!({"apiGroup": "", "kind": "configmap", "name": "m"}),
        ),
        (
            "restoreStatus",
            serde_json::json!({"includedResources": ["pods", "deployments.apps"], "excludedResources": ["jobs.batch"]}),
        ),
        (
            "uploaderConfig",
            serde_json::json!({"parallelFilesDownload": 4}),
        ),
        ("itemOperationTimeout", "7m0s".into()),
    ] {
        assert_eq!(restore["spec"][field], expected, "{field}");
    }
    let line = "restore create --from-backup b --status-exclude-resources pods --resource-modifier-configmap= -o json";
    let ran = cluster.velero(line).await;
    assert_eq!(
        ran.stderr,
        "warning: --status-exclude-resources has no effect without --status-include-resources; no status is restored\n"
    );
    let restore: Value = serde_json::from_str(&ran.exits(0)).unwrap();
    let spec = &restore["spec"];
    assert!(
        spec.get("restoreStatus").is_none() && spec.get("resourceModifier").is_none(),
        "{spec}"
    );
    // What the peer's resource has no field for is an annotation.
    let line = "restore create --from-backup b --existing-resource-policy recreate --relink-owners -o json";
    let restore: Value = serde_json::from_str(&cluster.velero(line).await.exits(0)).unwrap();
    assert_eq!(restore["spec"]["existingResourcePolicy"], "update");
    assert_eq!(
        restore["metadata"]["annotations"],
        serde_json::json!({
            "x.velero.io/existing-resource-policy": "recreate", "x.velero.io/relink-owners": "true",
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_are_made_from_the_template_of_a_schedule() {
    let cluster = Cluster::start().await;
    cluster.velero("install --crds-only").await.exits(0);
    cluster
        .server
        .store()
        .seed(
            "{apiVersion: velero.io/v1, kind: Schedule, metadata: {name: nightly, namespace: velero, uid: u1, labels: {of: schedule}, \
             annotations: {note: x}}, spec: {schedule: '@daily', paused: true, useOwnerReferencesInBackup: true, \
             template: {includedNamespaces: [shop], ttl: 1h0m0s}}}",
        )
        .unwrap();
    let ran = cluster
        .velero("create backup --from-schedule nightly --include-namespaces other --labels a=b,of=me -o json")
        .await;
    assert_eq!(
        ran.stderr,
        "the backup is made from the template of schedule \"nightly\"; filters and options of the command line do not count\n"
    );
    let backup: Value = serde_json::from_str(&ran.exits(0)).unwrap();
    let name = backup["metadata"]["name"].as_str().unwrap();
    let time = name.strip_prefix("nightly-").unwrap();
    assert!(
        time.len() == 14 && time.bytes().all(|b| b.is_ascii_digit()),
        "{name}"
    );
    assert_eq!(
        backup["metadata"]["labels"],
        serde_json::json!({"a": "b", "of": "me", "velero.io/schedule-name": "nightly"})
    );
    assert_eq!(backup["metadata"]["annotations"]["note"], "x");
    assert_eq!(backup["metadata"]["ownerReferences"][0]["uid"], "u1");
    assert_eq!(
        (
            &backup["spec"]["includedNamespaces"],
            &backup["spec"]["ttl"]
        ),
        (&serde_json::json!(["shop"]), &Value::from("1h0m0s"))
    );
    let line = "backup create mine --from-schedule nightly";
    let text = cluster.velero(line).await.exits(0);
    assert!(
        text.starts_with("Backup request \"mine\" submitted"),
        "{text}"
    );
    for (line, missing) in [
        (
            "backup create --from-schedule weekly",
            "schedules.velero.io \"weekly\"",
        ),
        (
            "backup create b --volume-snapshot-locations aws",
            "volumesnapshotlocations.velero.io \"aws\"",
        ),
    ] {
        let message = cluster.velero(line).await.fails();
        assert_eq!(
            message,
            format!("{missing} not found in namespace \"velero\"")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_not_there_is_named() {
    let home = TempDir::new().unwrap();
    let cluster = Cluster::start().await;
    let there = std::fs::read_to_string(cluster.home.path().join(".kube/config")).unwrap();
    let address = there
        .lines()
        .find_map(|line| line.trim().strip_prefix("server: "))
        .unwrap()
        .trim_end_matches('/')
        .to_owned();
    let other = address.replace("http://", "https://");
    for (server, expected) in [
        ("http://127.0.0.1:9", "connection refused"),
        (other.as_str(), "tls fails"),
    ] {
        let path = home.path().join("config");
        std::fs::write(&path, there.replace(&address, server)).unwrap();
        let begin = std::time::Instant::now();
        let args = ["backup", "get", "--kubeconfig", path.to_str().unwrap()];
        let message = run(command(home.path(), args)).await.fails();
        assert!(
            message.starts_with(&format!(
                "the api server at {server} cannot be reached: {expected}"
            )),
            "{message}"
        );
        assert!(begin.elapsed() < std::time::Duration::from_secs(10));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_namespace_comes_from_flag_file_environment_default() {
    let cluster = Cluster::start().await;
    cluster.velero("install --crds-only").await.exits(0);
    let namespace = async |args: &[&str], environment: Option<&str>| {
        let mut command =
            cluster.command([&["backup", "create", "b", "-o", "json"], args].concat());
        if let Some(value) = environment {
            command.env("VELERO_NAMESPACE", value);
        }
        let backup: Value = serde_json::from_str(&run(command).await.exits(0)).unwrap();
        backup["metadata"]["namespace"].as_str().unwrap().to_owned()
    };
    assert_eq!(namespace(&[], None).await, "velero");
    assert_eq!(namespace(&[], Some("env")).await, "env");
    std::fs::create_dir_all(cluster.home.path().join(".config/velero")).unwrap();
    std::fs::write(
        cluster.home.path().join(".config/velero/config.json"),
        r#"{"namespace":"file"}"#,
    )
    .unwrap();
    assert_eq!(namespace(&[], Some("env")).await, "file");
    assert_eq!(namespace(&["-n", "flag"], Some("env")).await, "flag");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_words_are_usage_and_exit_with_one() {
    let home = TempDir::new().unwrap();
    for (line, expected) in [
        ("backup foo", "foo"),
        ("frobnicate", "frobnicate"),
        (
            "backup create b --snapshot-volumes=perhaps",
            "--snapshot-volumes",
        ),
        (
            "restore create --from-backup b --existing-resource-policy replace",
            "none, update, recreate or mirror",
        ),
        ("backup create b --ttl 1d", "unknown unit"),
        (
            "restore create --from-backup b --parallel-files-download -1",
            "it cannot be negative",
        ),
        ("backup get -o toml", "toml"),
        ("backup logs", "<NAME>"),
    ] {
        let ran = run(command(home.path(), line.split(' '))).await;
        assert_eq!(ran.code, 1, "{line}: {}", ran.stderr);
        assert!(
            ran.stderr.contains(expected) && ran.stderr.contains("An error occurred: "),
            "{line}: {}",
            ran.stderr
        );
    }
    for (line, expected) in [
        ("backup create", "a backup name is required"),
        (
            "backup create No_Good",
            "backup name \"No_Good\" is not valid",
        ),
        (
            "restore create",
            "either a backup or schedule must be specified",
        ),
        (
            "restore create --from-backup a --from-schedule b",
            "but not both",
        ),
        (
            "backup delete",
            "exactly one of names, --all and --selector",
        ),
        (
            "backup delete a --all",
            "exactly one of names, --all and --selector",
        ),
        ("backup get", "no kubeconfig was found"),
        ("backup create --from-schedule \t", "names no schedule"),
        (
            "backup create b --from-schedule s -l a=b --or-selector c=d",
            "--selector and --or-selector cannot be used together",
        ),
    ] {
        let message = run(command(home.path(), line.split(' '))).await.fails();
        assert!(message.contains(expected), "{line}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_of_the_log_library_are_taken_with_one_warning() {
    let home = TempDir::new().unwrap();
    let ran = run(command(
        home.path(),
        ["version", "--client-only", "-v", "5", "--logtostderr"],
    ))
    .await;
    assert_eq!(ran.code, 0);
    assert!(
        ran.stdout.starts_with("Client:\n\tVersion: v"),
        "{}",
        ran.stdout
    );
    assert_eq!(
        ran.stderr,
        "warning: --v, --logtostderr have no effect here; use RUST_LOG=debug for details\n"
    );
    let ran = run(command(home.path(), ["--help"])).await;
    assert!(
        ran.code == 0 && ran.stdout.contains("direct") && !ran.stdout.contains("--vmodule"),
        "{}",
        ran.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_that_nobody_answers_are_answered_no() {
    let cluster = Cluster::start().await;
    cluster.velero("install --crds-only").await.exits(0);
    cluster
        .server
        .store()
        .seed("{apiVersion: velero.io/v1, kind: Backup, metadata: {name: b, namespace: velero}}")
        .unwrap();
    let ran = cluster.velero("backup delete b").await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""));
    assert!(
        ran.stderr
            .contains("Are you sure you want to continue (Y/N)?"),
        "{}",
        ran.stderr
    );
    let ran = cluster.velero("backup delete b nothing --confirm").await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.stdout.contains("backup \"b\" submitted")
            && ran.stderr.contains("\"nothing\" not found"),
        "{ran:?}"
    );
    let requests = cluster
        .server
        .store()
        .list("velero.io/v1", "DeleteBackupRequest", None);
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0]["spec"]["backupName"], "b");
    assert_eq!(
        requests[0]["metadata"]["labels"]["velero.io/backup-name"],
        "b"
    );
}
