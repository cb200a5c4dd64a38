//! An operator with no more rights than it needs, on the authorization of the real API server.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    AuditFilter, AuditLog, Context, Options, S3Server, Site,
    site::{ACCOUNT, Identity, SOON},
    state,
};

const BUCKET: &str = "backups";
const SOURCE: &str = "shop";
/// What the operator may read and write.
const KINDS: &str = "configmaps,secrets,serviceaccounts,services,pods,replicasets.apps,deployments.apps,roles.rbac.authorization.k8s.io";
const RIGHTS: &[&str] = &["--rbac-only", "restore", "--resources", KINDS];

/// Given kinds there and back, then all kinds, then an operator that may only read.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let store = S3Server::start(cx.scratch().join("s3")).await?;
    store.create_bucket(BUCKET)?;
    let plane = cx.control_plane(Options::default()).await?;
    let identity = Identity::With(RIGHTS);
    let site = Site::install_as(cx, "least-privilege", plane, &store, BUCKET, identity).await?;
    site.kubectl.apply(&world(), &[]).await?;
    state::at_rest(&site.client, SOON).await?;

    let given = ["--include-namespaces", SOURCE, "--include-resources", KINDS];
    let backup = site.back_up("given", &given).await?;
    let hooks = &backup["status"]["hookStatus"];
    ensure!(
        hooks["hooksAttempted"] == 1 && hooks["hooksFailed"].is_null(),
        "{hooks}"
    );
    let mapped = ["--namespace-mappings", "shop:shop-2"];
    let restore = site.restore("given", "given", &mapped).await?;
    let status = &restore["status"];
    ensure!(status["warnings"].is_null(), "{restore}");
    ensure!(status["hookStatus"]["hooksAttempted"] == 1, "{status}");
    // What is there is compared and changed, but where Velero lives.
    let menu = [
        "patch",
        "configmap",
        "menu",
        "-n",
        "shop-2",
        "-p",
        "{\"data\":{\"pie\":\"4\"}}",
    ];
    site.kubectl.ok(&menu).await?;
    let update = [&mapped[..], &["--existing-resource-policy", "update"]].concat();
    site.restore("again", "given", &update).await?;
    let get = [
        "get",
        "configmap",
        "menu",
        "-n",
        "shop-2",
        "-o",
        "jsonpath={.data.pie}",
    ];
    ensure!(
        site.kubectl.ok(&get).await? == "3",
        "the change is still there"
    );
    let refused = refused(&site.plane().audit().context("no audit log")?)?;
    ensure!(refused.is_empty(), "it was forbidden {refused:?}");

    everything(&site).await?;
    reader(&site).await?;
    site.stop().await
}

/// A backup of all kinds names those that the operator may not read, and holds the others.
async fn everything(site: &Site) -> Result<()> {
    let create = [
        "backup",
        "create",
        "all",
        "--include-namespaces",
        SOURCE,
        "--wait",
    ];
    let ran = site.velero.run(&create).await?;
    let backup = site.object("backups", "all").await?;
    let status = &backup["status"];
    ensure!(status["phase"] == "PartiallyFailed", "{ran:?} {status}");
    let described = site
        .velero
        .ok(&["backup", "describe", "all", "--details"])
        .await?;
    for kind in ["limitranges", "jobs.batch", "ingresses.networking.k8s.io"] {
        ensure!(described.contains(kind), "{kind} is not named: {described}");
    }
    ensure!(described.contains("shop/menu"), "{described}");
    Ok(())
}

/// An operator that may only read makes backups, and says of a restore what it may not do.
async fn reader(site: &Site) -> Result<()> {
    let rights = [
        "install",
        "--rbac-only",
        "backup",
        "--resources",
        KINDS,
        "--apply",
    ];
    site.velero.ok(&rights).await?;
    let given = ["--include-namespaces", SOURCE, "--include-resources", KINDS];
    site.back_up("read", &given).await?;
    let create = ["restore", "create", "read", "--from-backup", "given"];
    let mapped = ["--namespace-mappings", "shop:shop-3", "--wait"];
    let ran = site.velero.run(&[&create[..], &mapped].concat()).await?;
    let restore = site.object("restores", "read").await?;
    let status = &restore["status"];
    ensure!(status["phase"] == "PartiallyFailed", "{ran:?} {status}");
    let described = site
        .velero
        .ok(&["restore", "describe", "read", "--details"])
        .await?;
    ensure!(described.contains("forbidden"), "{described}");
    Ok(())
}

/// What the operator was forbidden, and how often.
fn refused(log: &AuditLog) -> Result<BTreeMap<(String, String), usize>> {
    let mut refused = BTreeMap::new();
    for event in log.events(&AuditFilter::of_user(ACCOUNT))? {
        if event.code() == 403 {
            *refused
                .entry((event.verb.clone(), event.resource()))
                .or_default() += 1;
        }
    }
    Ok(refused)
}

/// A namespace with some of the kinds, and a pod in which a command is run before it is backed up.
fn world() -> Vec<Value> {
    let of = |api: &str, kind: &str, name: &str, rest: Value| {
        let mut object = rest;
        object["apiVersion"] = json!(api);
        object["kind"] = json!(kind);
        object["metadata"]["name"] = json!(name);
        object["metadata"]["namespace"] = json!(SOURCE);
        object
    };
    let pod = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
    });
    let hooked = json!({
        "metadata": {"annotations": {
            "pre.hook.backup.velero.io/command": "[\"true\"]",
            "post.hook.restore.velero.io/command": "[\"true\"]",
        }},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
    });
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SOURCE}}),
        of("v1", "ConfigMap", "menu", json!({"data": {"pie": "3"}})),
        of("v1", "Secret", "key", json!({"stringData": {"key": "k"}})),
        of("v1", "Pod", "single", hooked),
        of(
            "apps/v1",
            "Deployment",
            "web",
            json!({"spec": {"selector": {"matchLabels": {"app": "web"}}, "template": pod}}),
        ),
        of(
            "v1",
            "Service",
            "web",
            json!({"spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}),
        ),
        of(
            "rbac.authorization.k8s.io/v1",
            "Role",
            "nodes",
            // More than the operator itself may.
            json!({"rules": [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["*"]}]}),
        ),
    ]
}
