//! Hooks on a real API server: commands run in pods, before and after, and what becomes of those that fail.

mod library;
mod pods;
mod restored;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::AttachParams};
use serde_json::{Value, json};

use self::pods::{Journal, KWOK, NOISE, REAL, SPACE};
use crate::{
    AuditFilter, Context, ControlPlane, Options, S3Server, Site,
    archive::Archive,
    eventually,
    kubelet::Kubelet,
    site::{ACCOUNT, Identity, NAMESPACE, SOON},
    state,
};

const BUCKET: &str = "hooks";
const NAME: &str = "hooks";
/// Bytes of a hook's output that the log keeps.
const KEPT: usize = 4096;
/// Longest time for the backup; one hook in it is given two seconds, the others need none.
const DEADLINE: Duration = Duration::from_secs(60);

/// A backup of the operator, which is no administrator but the ServiceAccount of the peer's; direct mode; the library.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let store = S3Server::start(cx.scratch().join("s3")).await?;
    let bucket = store.create_bucket(BUCKET)?;
    let plane = cx.control_plane(Options::default()).await?;
    let site =
        Site::install_as(cx, "hooks", plane, &store, BUCKET, Identity::ServiceAccount).await?;
    let _kubelet = Kubelet::start(site.plane(), &site.client, REAL).await?;
    let journal = pods::journal(cx.scratch());
    let world = pods::world(&journal, &site.kubectl);
    site.kubectl.apply(&world, &[]).await?;
    state::at_rest(&site.client, SOON).await?;
    both_forms(&site.client).await?;

    let status = back_up(&site, &journal).await?;
    let archive = Archive::new(&bucket, NAME);
    counts(&site, &status, &archive).await?;
    stored(&archive)?;
    records(&archive)?;
    log(&site).await?;
    order(&journal.lines()?)?;
    calls(site.plane())?;
    timeout_does_not_stop(&journal).await?;
    direct(cx, &site, &journal).await.context("direct mode")?;
    library::run(&site, &journal).await.context("the library")?;
    restored::run(&site, &journal)
        .await
        .context("restored pods")?;
    site.stop().await
}

/// The two nodes answer in the two forms: without this the scenario would not show what it says.
async fn both_forms(client: &Client) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), SPACE);
    for (pod, node, has_cause) in [("exit-text", KWOK, false), ("exit-code", REAL, true)] {
        let params = AttachParams::default().container("main");
        let mut process = pods.exec(pod, ["sh", "-c", "exit 4"], &params).await?;
        let status = process.take_status().context("no status")?;
        let status = tokio::time::timeout(SOON, status)
            .await?
            .context("the command ended without a word")?;
        let details = status.details.clone().unwrap_or_default();
        let mut causes = details.causes.iter().flatten();
        let cause = causes.any(|cause| {
            cause.reason.as_deref() == Some("ExitCode") && cause.message.as_deref() == Some("4")
        });
        ensure!(
            cause == has_cause && status.status.as_deref() == Some("Failure"),
            "{node} says {status:?}"
        );
    }
    Ok(())
}

/// Creates the backup as its users do, who have no flags for hooks; gives its last status.
async fn back_up(site: &Site, journal: &Journal) -> Result<Value> {
    let backup = json!({"apiVersion": "velero.io/v1", "kind": "Backup",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"includedNamespaces": [SPACE], "hooks": {"resources": pods::spec_hooks(journal)}}});
    site.kubectl.apply(&[backup], &[]).await?;
    let ended = eventually("the backup has ended", DEADLINE, || async {
        let status = site.object("backups", NAME).await?["status"].take();
        let phase = status["phase"].as_str().unwrap_or_default();
        let ended = phase == "Completed" || phase.contains("Failed");
        Ok(ended.then_some(status))
    });
    ended.await.with_context(|| site.operator.tail())
}

/// Attempted is each hook that applies, run or not; failed is each that went wrong.
async fn counts(site: &Site, status: &Value, archive: &Archive) -> Result<()> {
    // Two of each pod, but three of db, and one of slow and wrong-container, which have no other, and of exit-code and exit-text,
    // which go no further.
    let expected = json!({"hooksAttempted": 25, "hooksFailed": 9});
    ensure!(
        status["hookStatus"] == expected,
        "hooks: {}, not {expected}",
        status["hookStatus"]
    );
    ensure!(
        status["phase"] == "PartiallyFailed" && status["errors"] == 9,
        "{status}"
    );
    ensure!(archive.metadata()?["status"]["hookStatus"] == expected);
    let described = site.velero.ok(&["backup", "describe", NAME]).await?;
    for (word, number) in [("HooksAttempted:", "25"), ("HooksFailed:", "9")] {
        let told = described
            .lines()
            .any(|line| line.trim_start().starts_with(word) && line.ends_with(number));
        ensure!(told, "describe does not say {word} {number}:\n{described}");
    }
    Ok(())
}

/// Only the two pods whose pre hooks fail with `Fail` are left out.
fn stored(archive: &Archive) -> Result<()> {
    let entries = archive.entries()?;
    let is_there = |name: &str| {
        entries.contains_key(&format!("resources/pods/namespaces/{SPACE}/{name}.json"))
    };
    for name in [
        "a-deleter",
        "db",
        "doomed",
        "exit-goes-on",
        "exit-post",
        "loud",
        "own",
        "pair-a",
        "pair-b",
        "slow",
        "wrong-container",
    ] {
        ensure!(is_there(name), "pod {name} is not in the backup");
    }
    for name in ["exit-code", "exit-text"] {
        ensure!(!is_there(name), "pod {name} is in the backup");
    }
    Ok(())
}

/// Each failure is told at its pod, with how the command ended and what follows.
fn records(archive: &Archive) -> Result<()> {
    let results = archive.json("-results.gz")?;
    let errors: Vec<&str> = results["errors"]["namespaces"][SPACE]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (pod, text, times) in [
        ("doomed", "pods \"doomed\" not found", 2),
        (
            "exit-code",
            "exit code 5 in container main; the pod is left out of the backup",
            1,
        ),
        (
            "exit-text",
            "exit code 3 in container main; the pod is left out of the backup",
            1,
        ),
        (
            "exit-goes-on",
            "exit code 6 in container main; the pod is backed up all the same",
            1,
        ),
        (
            "exit-post",
            "exit code 7 in container main; the pod is in the backup",
            1,
        ),
        (
            "loud",
            "exit code 9 in container main: no luck; the pod is backed up all the same",
            1,
        ),
        (
            "slow",
            "the command did not end within 2 s; the pod is backed up all the same",
            1,
        ),
        (
            "wrong-container",
            "the pod has no container \"absent\"; it has main, side",
            1,
        ),
    ] {
        let about = format!("name: /{pod} ");
        let told = errors
            .iter()
            .filter(|line| line.contains(&about) && line.contains(text))
            .count();
        ensure!(
            told == times,
            "{pod}: {text:?} is told {told} times in {errors:#?}"
        );
    }
    ensure!(results["warnings"] == json!({}), "{}", results["warnings"]);
    Ok(())
}

/// The log has what commands print, the beginning of it when it is much.
async fn log(site: &Site) -> Result<()> {
    let log = site.velero.ok(&["backup", "logs", NAME]).await?;
    let cut = format!("x ... ({} more bytes)", NOISE - KEPT);
    let line = log
        .lines()
        .find(|line| line.contains(&cut))
        .with_context(|| format!("no line of the log ends with {cut:?}"))?;
    ensure!(
        line.contains(&"x".repeat(KEPT)) && !line.contains(&"x".repeat(KEPT + 1)),
        "{line}"
    );
    ensure!(
        line.contains("name=loud") && line.contains("stream=stdout"),
        "{line}"
    );
    ensure!(log.contains("no luck"), "stderr is not in the log");
    Ok(())
}

/// Blocks come one after the other, each whole: all its pre hooks, then all its post hooks.
fn order(lines: &[(u64, String)]) -> Result<()> {
    let texts: Vec<&str> = lines.iter().map(|(_, text)| text.as_str()).collect();
    ensure!(lines.is_sorted(), "the clock goes back: {lines:?}");
    for block in [
        &["pre a-deleter", "post a-deleter"][..],
        &["pre spec 0 side", "pre spec 1 main", "post spec 0 side"],
        &["pre exit-goes-on main", "post exit-goes-on main"],
        &["pre exit-post main", "post exit-post main"],
        // A pod's own hook stands in for those of the spec in its phase only.
        &["pre own side", "post spec 0 side"],
        &["pre pair-a", "pre pair-b", "post pair-a", "post pair-b"],
    ] {
        let found = texts.windows(block.len()).any(|window| window == block);
        ensure!(found, "not one after the other: {block:?} in {texts:#?}");
    }
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for text in &texts {
        *times.entry(text).or_default() += 1;
    }
    for (text, expected) in [
        ("pre exit-text", 1),
        ("post exit-text", 0),
        ("pre exit-code main", 1),
        ("post exit-code main", 0),
        ("pre doomed", 0),
        ("pre ended", 0),
        ("post ended", 0),
        ("post loud", 1),
        ("never", 0),
    ] {
        let found = times.get(text).copied().unwrap_or_default();
        ensure!(
            found == expected,
            "{text:?} ran {found} times, not {expected}: {texts:#?}"
        );
    }
    Ok(())
}

/// The audit log has each command once, by the operator's ServiceAccount, for the right container.
fn calls(plane: &ControlPlane) -> Result<()> {
    let audit = plane.audit().context("no audit log")?;
    let mut events = audit.events(&AuditFilter::of_user(ACCOUNT))?;
    events.retain(|event| event.resource() == "pods/exec");
    let count = |text: &str| {
        let asked = events
            .iter()
            .filter(|event| event.request_uri.contains(text));
        asked.count()
    };
    // Three of the 25 never reach the API server: two of the pod that has ended, and that for an unknown container.
    let (all, side) = (events.len(), count("container=side"));
    ensure!(
        (all, side, count("container=main")) == (22, 4, 18),
        "{all} commands, {side} of them in container side: {events:#?}"
    );
    let refused: Vec<u16> = events
        .iter()
        .map(crate::AuditEvent::code)
        .filter(|code| *code != 101 && *code != 200)
        .collect();
    ensure!(
        refused == [404, 404],
        "answers of the API server: {refused:?}"
    );
    Ok(())
}

/// As with the peer, a command that is past its timeout is not stopped, only not waited for.
async fn timeout_does_not_stop(journal: &Journal) -> Result<()> {
    eventually("the slow command comes to its end", SOON, || async {
        let lines = journal.lines()?;
        Ok(lines.iter().any(|(_, text)| text == "late").then_some(()))
    })
    .await
}

/// Direct mode runs hooks as well; a user who may not run commands gets the pod and is told.
async fn direct(cx: &Context, site: &Site, journal: &Journal) -> Result<()> {
    let folder = cx.scratch().join("direct");
    let url = format!("file://{}", folder.display());
    let filter = [
        "--include-namespaces",
        SPACE,
        "-l",
        "name=own",
        "--store",
        &url,
    ];
    let args = |name| [&["direct", "backup", name][..], &filter].concat();
    let before = journal.lines()?.len();
    site.velero.ok(&args("allowed")).await?;
    let ran = journal.lines()?.split_off(before);
    let ran: Vec<String> = ran.into_iter().map(|(_, text)| text).collect();
    ensure!(ran == ["pre own side"], "{ran:?}");

    let group = "rbac.authorization.k8s.io";
    let role = json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": {"name": "reads-all"},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}]});
    let binding = json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "reads-all"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "reads-all"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "reader"}]});
    site.kubectl.apply(&[role, binding], &[]).await?;
    let reader = site.plane().kubeconfig_for("reader", None)?;
    let reader = site.velero.clone().kubeconfig(&reader);
    let outcome = reader.run(&args("refused")).await?;
    ensure!(outcome.code == Some(2), "{outcome:?}");
    let archive = Archive::new(&folder, "refused");
    let results = archive.json("-results.gz")?["errors"].to_string();
    ensure!(
        results.contains("pre hook of the pod's annotations") && results.contains("forbidden"),
        "{results}"
    );
    let path = format!("resources/pods/namespaces/{SPACE}/own.json");
    ensure!(
        archive.entries()?.contains_key(&path),
        "the pod is not in the backup"
    );
    ensure!(journal.lines()?.len() == before + 1, "the command has run");
    Ok(())
}
