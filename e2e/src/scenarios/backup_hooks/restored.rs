//! Commands in restored pods: a scheduler places them, two kinds of nodes run them, and one is never placed.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::pods::{Journal, KWOK, REAL};
use crate::{
    AuditEvent, AuditFilter, Site, eventually,
    site::{ACCOUNT, NAMESPACE},
};

/// Namespace of the pods, and the one that they are restored into.
const SOURCE: &str = "thaw";
const TARGET: &str = "thawed";
const NAME: &str = "thaw";
/// Longest time for the restore; one hook waits three seconds in vain, one runs into its timeout of two.
const DEADLINE: Duration = Duration::from_secs(90);

/// Backs pods with hooks up, restores them under another name, and looks at what was run, counted and told.
pub(super) async fn run(site: &Site, journal: &Journal) -> Result<()> {
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SOURCE}});
    let pods = [vec![space], pods(journal)].concat();
    site.kubectl.apply(&pods, &[]).await?;
    site.back_up(NAME, &["--include-namespaces", SOURCE])
        .await?;
    let before = journal.lines()?.len();
    let audit = site.plane().audit().context("no audit log")?.from_now()?;

    let restore = json!({"apiVersion": "velero.io/v1", "kind": "Restore",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"backupName": NAME, "namespaceMapping": {SOURCE: TARGET}, "hooks": {"resources": spec_hooks(journal)}}});
    let begun = Instant::now();
    site.kubectl.apply(&[restore], &[]).await?;
    let mut seen = Vec::new();
    let status = loop {
        let status = site.object("restores", NAME).await?["status"].take();
        let phase = status["phase"].as_str().unwrap_or_default().to_owned();
        if seen.last() != Some(&phase) {
            seen.push(phase.clone());
        }
        if matches!(
            phase.as_str(),
            "Completed" | "PartiallyFailed" | "Failed" | "FailedValidation"
        ) {
            break status;
        }
        ensure!(
            begun.elapsed() < DEADLINE,
            "the restore is {seen:?}: {}",
            site.operator.tail()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let waited = seen.iter().any(|phase| phase.starts_with("Finalizing"));
    ensure!(waited, "the restore did not wait for its hooks: {seen:?}");
    // Init containers are no commands, and are not counted.
    let expected = json!({"hooksAttempted": 9, "hooksFailed": 5});
    ensure!(
        status["phase"] == "PartiallyFailed"
            && status["errors"] == 5
            && status["hookStatus"] == expected,
        "{status:#}"
    );
    told(site).await?;
    initialised(site).await?;
    ran(&journal.lines()?[before..])?;

    let looks = looks(audit.events(&AuditFilter::of_user(ACCOUNT))?);
    ensure!(
        looks.len() <= 4,
        "pods were looked at too often: {looks:#?}"
    );
    eventually("the slow command comes to its end", DEADLINE, || async {
        let lines = journal.lines()?;
        let late = lines[before..]
            .iter()
            .any(|(_, text)| text.starts_with("late thawed"));
        Ok(late.then_some(()))
    })
    .await
}

/// Each failure is told at its pod, and what commands print is in the log.
async fn told(site: &Site) -> Result<()> {
    let described = site.velero.ok(&["restore", "describe", NAME]).await?;
    for (pod, text) in [
        ("exit-code", "exit code 5 in container main: no luck"),
        ("exit-text", "exit code 3 in container main"),
        (
            "absent",
            "in container absent: the pod has no such container; it has main, side",
        ),
        (
            "never",
            "in container main: the container was not running within 3s: the pod is Pending",
        ),
        (
            "slow",
            "in container main: the command did not end within 2 s",
        ),
    ] {
        let line = described
            .lines()
            .find(|line| line.contains(&format!("name: /{pod} ")) && line.contains(text));
        ensure!(line.is_some(), "{pod}: {text:?} is not told:\n{described}");
    }
    let log = site.velero.ok(&["restore", "logs", NAME]).await?;
    ensure!(
        log.contains("no luck") && log.contains("restore completed"),
        "{log}"
    );
    Ok(())
}

/// Init containers of hooks come before those that a pod has, and the pods run.
async fn initialised(site: &Site) -> Result<()> {
    for (pod, expected) in [
        ("init-own", &["prepares", "has"][..]),
        ("init-spec", &["first", "second", "has"]),
        ("db", &[]),
    ] {
        let get = ["get", "pod", pod, "-n", TARGET, "-o", "json"];
        let live: Value = serde_json::from_str(&site.kubectl.ok(&get).await?)?;
        let init = live["spec"]["initContainers"].as_array();
        let names: Vec<&str> = init
            .into_iter()
            .flatten()
            .filter_map(|container| container["name"].as_str())
            .collect();
        ensure!(names == expected, "{pod} has the init containers {names:?}");
        ensure!(
            live["status"]["phase"] == "Running",
            "{pod}: {}",
            live["status"]
        );
    }
    let get = [
        "get",
        "pod",
        "init-own",
        "-n",
        TARGET,
        "-o",
        "jsonpath={.spec.initContainers[0]}",
    ];
    let container: Value = serde_json::from_str(&site.kubectl.ok(&get).await?)?;
    ensure!(
        container["image"] == "example.com/prepare"
            && container["command"] == json!(["sh", "-c", "prepare"]),
        "{container:#}"
    );
    Ok(())
}

/// What ran where. Of the hooks of one container the order is that of the spec.
fn ran(lines: &[(u64, String)]) -> Result<()> {
    let mut texts: Vec<&str> = lines.iter().map(|(_, text)| text.as_str()).collect();
    texts.retain(|text| !text.starts_with("late"));
    let at = |text: &str| texts.iter().position(|line| *line == text);
    ensure!(at("spec 0 side") < at("spec 1 main"), "{texts:?}");
    texts.sort_unstable();
    let expected = [
        "exit-code main",
        "exit-text",
        "initialised main",
        "own side",
        "spec 0 side",
        "spec 1 main",
    ];
    ensure!(texts == expected, "{texts:?}");
    Ok(())
}

fn pods(journal: &Journal) -> Vec<Value> {
    let exit =
        |text: &str, code: u8| journal.shell("", text, &format!("; echo no luck >&2; exit {code}"));
    let note = |text: &str| journal.note(text);
    let mut pods = vec![
        pod("db", REAL, json!({})),
        pod(
            "own",
            REAL,
            json!({"command": note("own"), "container": "side"}),
        ),
        pod(
            "exit-code",
            REAL,
            json!({"command": exit("exit-code", 5), "on-error": "Fail"}),
        ),
        pod(
            "exit-text",
            KWOK,
            json!({"command": exit("exit-text", 3), "wait-for-ready": "true"}),
        ),
        pod(
            "absent",
            KWOK,
            json!({"command": note("never"), "container": "absent"}),
        ),
        pod(
            "never",
            "nowhere",
            json!({"command": note("never"), "wait-timeout": "3s"}),
        ),
        pod(
            "slow",
            REAL,
            json!({"command": journal.shell("sleep 6; ", "late thawed", ""), "exec-timeout": "2s"}),
        ),
    ];
    for pod in &mut pods[..2] {
        pod["metadata"]["labels"]["app"] = json!("db");
    }
    pods.extend(with_init(journal));
    pods
}

/// Pods that have an init container, and get more: one by its annotations, which has a command as well, one by the spec.
fn with_init(journal: &Journal) -> [Value; 2] {
    let mut own = pod(
        "init-own",
        REAL,
        json!({"command": journal.note("initialised")}),
    );
    for (key, value) in [
        ("container-image", "example.com/prepare"),
        ("container-name", "prepares"),
        ("command", r#"["sh", "-c", "prepare"]"#),
    ] {
        own["metadata"]["annotations"][format!("init.hook.restore.velero.io/{key}")] = value.into();
    }
    let mut spec = pod("init-spec", KWOK, json!({}));
    for pod in [&mut own, &mut spec] {
        pod["metadata"]["labels"]["init"] = "yes".into();
        pod["spec"]["initContainers"] = json!([{"name": "has", "image": "example.com/has"}]);
    }
    [own, spec]
}

/// A pod of two containers that is placed on one node, with annotations given without their common part.
fn pod(name: &str, node: &str, hooks: Value) -> Value {
    let mut annotations = json!({});
    for (key, value) in hooks.as_object().into_iter().flatten() {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        annotations[format!("post.hook.restore.velero.io/{key}")] = json!(text);
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": SOURCE, "labels": {"name": name}, "annotations": annotations},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": node},
            "containers": [{"name": "main", "image": "example.com/main"}, {"name": "side", "image": "example.com/side"}],
        },
    })
}

/// The hooks of the restore's spec: for the pods whose annotations have none.
fn spec_hooks(journal: &Journal) -> Value {
    let exec = |text: &str, container: &str| {
        json!({"exec": {"command": journal.note(text), "container": container,
        "onError": "Fail", "execTimeout": "20s", "waitTimeout": "1m"}})
    };
    let init = |name: &str| json!({"name": name, "image": "example.com/prepare", "command": ["prepare", name]});
    json!([
        {"name": "thaw", "includedNamespaces": [TARGET], "labelSelector": {"matchLabels": {"app": "db"}},
            "postHooks": [exec("spec 0", "side"), exec("spec 1", "")]},
        {"name": "prepare", "includedNamespaces": [TARGET], "labelSelector": {"matchLabels": {"init": "yes"}},
            "postHooks": [{"init": {"initContainers": [init("first"), init("second")]}}]},
        {"name": "elsewhere", "includedNamespaces": [SOURCE], "postHooks": [exec("never", "")]},
    ])
}

/// What the restore has read of its pods, but for those that the kubelet changed while they were given their owners: a
/// patch that is refused for that needs the pod as it is now.
fn looks(events: Vec<AuditEvent>) -> Vec<AuditEvent> {
    let pod = |event: &AuditEvent| {
        let object = event.object_ref.clone()?;
        let is_pod = object.namespace == TARGET
            && object.resource == "pods"
            && object.subresource.is_empty();
        is_pod.then_some(object.name)
    };
    let refused: HashSet<String> = events
        .iter()
        .filter(|event| event.response_status.as_ref().map(|status| status.code) == Some(409))
        .filter_map(pod)
        .collect();
    let mut looks = events;
    looks.retain(|event| {
        pod(event).is_some_and(|name| match event.verb.as_str() {
            "get" => !refused.contains(&name),
            verb => matches!(verb, "list" | "watch"),
        })
    });
    looks
}
