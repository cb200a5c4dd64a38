//! The API server goes in the middle of a restore, and comes back.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use kube::Client;
use serde_json::{Value, json};
use velero_restore::RestoreOptions;

use super::{DEADLINE, clean, count, definitions::definition, maps, object, restore};
use crate::{
    Component, Context, ControlPlane, Kubectl, Options, S3Server, Site, eventually,
    gate::{Gate, none, plain_client},
    site::SOON,
};

/// Objects of one kind that are created while something happens.
const OBJECTS: usize = 1500;
const MAPS: &str = "/configmaps?";
/// How long the API server is away.
const AWAY: Duration = Duration::from_secs(2);

/// How the API server goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// From one instruction to the next.
    Killed,
    /// As it does when its node is drained: it finishes what it has begun.
    Asked,
}

async fn outage(plane: &mut ControlPlane, way: Way) -> Result<()> {
    match way {
        Way::Killed => plane.kill(Component::ApiServer),
        Way::Asked => plane.terminate(Component::ApiServer).await?,
    }
    tokio::time::sleep(AWAY).await;
    plane.restart(Component::ApiServer).await
}

/// Maps and custom resources in two namespaces are created; the user has its rights from RBAC, which an API server that
/// starts does not know yet.
pub(super) async fn restart(cx: &Context) -> Result<()> {
    let mut plane = cx.control_plane(Options::bare()).await?;
    let kubectl = Kubectl::new(&plane)?;
    let api = "rbac.authorization.k8s.io";
    let binding = json!({"apiVersion": format!("{api}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "restorer"},
        "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": api, "kind": "User", "name": "restorer"}]});
    kubectl.apply(&[binding], &[]).await?;
    let client = plain_client(&plane.kubeconfig_for("restorer", None)?).await?;
    for way in [Way::Killed, Way::Asked] {
        interrupted(&mut plane, &client, way)
            .await
            .with_context(|| format!("{way:?}"))?;
    }
    plane.stop().await;
    Ok(())
}

async fn interrupted(plane: &mut ControlPlane, client: &Client, way: Way) -> Result<()> {
    let spaces = [format!("{way:?}-one"), format!("{way:?}-two")].map(|name| name.to_lowercase());
    let mut items: Vec<Value> = spaces.iter().flat_map(|name| maps(name, OBJECTS)).collect();
    let kind = format!("{way:?}");
    items.push(definition(&format!("{}s", kind.to_lowercase()), &kind));
    items.extend(
        (0..200).map(|n| object("slow.example.com/v1", &kind, &spaces[0], &format!("a{n}"))),
    );
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let gate: Gate = Arc::new(move |uri| {
        counter.fetch_add(usize::from(uri.contains(MAPS)), Ordering::SeqCst);
        Box::pin(async {})
    });
    let restored = restore(client, &items, gate, 0, RestoreOptions::default());
    let outage = async {
        eventually("objects are being created", DEADLINE, || async {
            Ok((seen.load(Ordering::SeqCst) > OBJECTS / 2).then_some(()))
        })
        .await?;
        outage(plane, way).await
    };
    let (restored, outage) = tokio::join!(restored, outage);
    outage?;
    let (result, _) = restored?;
    clean(&result)?;
    ensure!(
        result.counts.created as usize == items.len() + spaces.len(),
        "{:?}",
        result.counts
    );
    for name in spaces {
        let there = count(client, &format!("/api/v1/namespaces/{name}/configmaps")).await?;
        ensure!(there == OBJECTS, "{there} objects in namespace {name}");
    }
    Ok(())
}

/// Hooks wait for their pods by a watch; it is lost, and they run once all the same.
pub(super) async fn watch(cx: &Context) -> Result<()> {
    const PODS: usize = 5;
    let options = Options {
        nodes: 1,
        audit: false,
        ..Options::default()
    };
    let mut plane = cx.control_plane(options).await?;
    let kubectl = Kubectl::new(&plane)?;
    let client = plain_client(plane.kubeconfig()).await?;
    let journal = cx.scratch().join("watched");
    let mut items = vec![object("v1", "ServiceAccount", "watched", "default")];
    items.extend((0..PODS).map(|n| {
        let mut pod = object("v1", "Pod", "watched", &format!("p{n}"));
        let command = json!(["sh", "-c", format!("echo p{n} >> {}", journal.display())]);
        pod["metadata"]["annotations"] = json!({
            "post.hook.restore.velero.io/command": command.to_string(),
            "post.hook.restore.velero.io/wait-timeout": "100s",
        });
        pod["spec"] = json!({"nodeSelector": {"color": "green"}, "containers": [{"name": "main", "image": "example.com/main"}]});
        pod
    }));
    let restored = restore(&client, &items, none(), 0, RestoreOptions::default());
    let outage = async {
        eventually("the pods are there", SOON, || async {
            let there = count(&client, "/api/v1/namespaces/watched/pods").await?;
            Ok((there == PODS).then_some(()))
        })
        .await?;
        // The watch is open by then.
        tokio::time::sleep(Duration::from_secs(2)).await;
        ensure!(!journal.exists(), "hooks have run in pods that do not run");
        outage(&mut plane, Way::Killed).await?;
        kubectl
            .ok(&["label", "node", "node-0", "color=green"])
            .await
    };
    let (restored, outage) = tokio::join!(restored, outage);
    outage?;
    let (result, _) = restored?;
    clean(&result)?;
    let counts = (result.hooks.hooks_attempted, result.hooks.hooks_failed);
    ensure!(counts == (PODS as i64, 0), "{counts:?}");
    let text = std::fs::read_to_string(&journal)?;
    let ran: BTreeSet<&str> = text.lines().collect();
    ensure!(ran.len() == PODS && text.lines().count() == PODS, "{text}");
    plane.stop().await;
    Ok(())
}

/// The operator restores while the API server goes and comes back.
pub(super) async fn operator(cx: &Context) -> Result<()> {
    const NAME: &str = "through";
    let store = S3Server::start(cx.scratch().join("s3")).await?;
    store.create_bucket(NAME)?;
    let mut site = Site::start(cx, "outages", &store, NAME).await?;
    let list = json!({"apiVersion": "v1", "kind": "List", "items": maps("source", OBJECTS)});
    site.kubectl.ok(&["create", "namespace", "source"]).await?;
    site.kubectl
        .ok_with(&["create", "-f", "-"], &list.to_string())
        .await?;
    site.back_up(NAME, &["--include-namespaces", "source"])
        .await?;
    for (way, target) in [(Way::Killed, "killed"), (Way::Asked, "asked")] {
        let mapping = format!("source:{target}");
        let create = ["restore", "create", target, "--from-backup", NAME];
        let map = ["--namespace-mappings", &mapping];
        site.velero.ok(&[&create[..], &map].concat()).await?;
        let uri = format!("/api/v1/namespaces/{target}/configmaps");
        let client = site.client.clone();
        eventually("objects are being created", SOON, || async {
            Ok((count(&client, &uri).await? > OBJECTS / 10).then_some(()))
        })
        .await?;
        outage(site.plane_mut(), way).await?;
        let ended = eventually("the restore has ended", DEADLINE, || async {
            let status = site.object("restores", target).await?["status"].take();
            Ok((!status["completionTimestamp"].is_null()).then_some(status))
        });
        let status = ended.await.with_context(|| site.operator.tail())?;
        let none = |field: &str| status[field].as_u64().unwrap_or(0) == 0;
        ensure!(
            status["phase"] == "Completed" && none("errors") && none("warnings"),
            "{way:?}: {status:#}\n{}",
            site.operator.tail()
        );
        let there = count(&site.client, &uri).await?;
        ensure!(there == OBJECTS, "{way:?}: {there} objects");
    }
    site.stop().await
}
