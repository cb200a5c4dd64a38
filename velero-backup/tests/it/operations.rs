//! Operations: recorded, asked about, ended, and what is stored once more after them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use velero_backup::{
    ArchiveBase, BackupEngine, BackupOptions, BackupRun, ErrorKind, FinalizeResult,
    OperationCounts, artifacts,
};
use velero_core::action::{
    ActionContext, ActionError, BackupItemAction, BackupOperation, BackupOutcome,
    OperationProgress, ResourceSelector,
};
use velero_core::api::{Backup, BackupPhase};
use velero_core::archive::{ArchiveReader, END_MEMBER, EntryKind, VersionDir};
use velero_core::artifact::{BackupItemOperation, OperationPhase};
use velero_core::result::Record;
use velero_core::{GroupResource, ItemTree, ResourceIdentifier, Timestamp};
use velero_testkit::ApiServer;

use crate::acting::{id, on};
use crate::ending::Full;
use crate::support::{
    Done, Kept, backup, connect, engine, map, namespace, run, run_with, seed, start, world,
};

/// A map that every namespace has.
const EVERYWHERE: &str = "kube-root-ca.crt";
const SNAP: &str = "example.com/snap";

type Answer = fn(&str) -> Result<OperationProgress, ActionError>;

/// Starts an operation for each ConfigMap; afterwards the map `plain` of the same namespace is to be read again.
struct Snap {
    id: &'static str,
    again: Vec<ResourceIdentifier>,
    answer: Answer,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Default for Snap {
    fn default() -> Self {
        Self {
            id: "op",
            again: vec![map_id("shop", "plain")],
            answer: |_| Ok(OperationProgress::succeeded()),
            heard: Arc::default(),
        }
    }
}

#[async_trait]
impl BackupItemAction for Snap {
    fn name(&self) -> &str {
        SNAP
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["configmaps"])
    }

    async fn execute(
        &self,
        mut item: ItemTree,
        cx: &ActionContext<'_, Backup>,
    ) -> Result<BackupOutcome, ActionError> {
        if item.name() == EVERYWHERE {
            return Ok(BackupOutcome::unchanged());
        }
        let phase = cx.run.status.phase.clone().unwrap_or_default();
        if phase == BackupPhase::Finalizing {
            self.heard
                .lock()
                .unwrap()
                .push(format!("again {}", item.name()));
            item.set_annotation("example.com/final", "yes");
            let role = GroupResource::new("rbac.authorization.k8s.io", "clusterroles");
            let more = ResourceIdentifier::cluster(role, "unused");
            return Ok(BackupOutcome::changed(item).with([more]));
        }
        let id = match self.id {
            "" => String::new(),
            id => format!("{id}-{}", item.name()),
        };
        Ok(BackupOutcome::unchanged()
            .started(BackupOperation::new(id).then_read(self.again.clone())))
    }

    async fn progress(
        &self,
        id: &str,
        _: &ActionContext<'_, Backup>,
    ) -> Result<OperationProgress, ActionError> {
        self.heard.lock().unwrap().push(format!("progress {id}"));
        if id == "never-plain" {
            std::future::pending::<()>().await;
        }
        (self.answer)(id)
    }

    async fn cancel(&self, id: &str, _: &ActionContext<'_, Backup>) -> Result<(), ActionError> {
        self.heard.lock().unwrap().push(format!("cancel {id}"));
        Ok(())
    }
}

fn map_id(namespace: &str, name: &str) -> ResourceIdentifier {
    id("configmaps", namespace, name)
}

fn maps_of_shop() -> Value {
    json!({"includedNamespaces": ["shop"], "includedResources": ["configmaps"]})
}

async fn backed_up(server: &ApiServer, action: Snap, spec: Value) -> (BackupEngine, Done) {
    let engine = engine(server).await.action(action);
    let done = run_with(&engine, spec).await;
    (engine, done)
}

#[tokio::test]
async fn operations_are_recorded_as_new() {
    let server = world();
    let (_, done) = backed_up(&server, Snap::default(), maps_of_shop()).await;
    let id = |name: &str| json!({"Group": "", "Resource": "configmaps", "Namespace": "shop", "Name": name});
    let entry = |name: &str| {
        json!({
            "spec": {"backupName": "b1", "backupUID": "", "backupItemAction": SNAP, "resourceIdentifier": id(name),
                "operationID": format!("op-{name}"), "postOperationItems": [id("plain")]},
            "status": {"phase": "New", "created": "2026-11-22T05:49:12Z"},
        })
    };
    assert_eq!(
        serde_json::to_value(&done.result.item_operations).unwrap(),
        json!([entry("chosen"), entry("plain")])
    );
    let status = artifacts::final_status(&backup(json!({})), &done.result);
    assert_eq!(status.phase, Some(BackupPhase::WaitingForPluginOperations));
    assert_eq!(status.completion_timestamp, None);
    assert_eq!(status.backup_item_operations_attempted, 2);
    assert_eq!(status.backup_item_operations_completed, 0);

    let nameless = Snap {
        id: "",
        ..Snap::default()
    };
    let (_, done) = backed_up(&server, nameless, maps_of_shop()).await;
    assert!(done.result.item_operations.is_empty());
    let status = artifacts::final_status(&backup(json!({})), &done.result);
    assert_eq!(status.phase, Some(BackupPhase::Completed));
}

/// What a look makes of an answer: phase, part of the error, what the action heard.
async fn looked(
    server: &ApiServer,
    id: &'static str,
    answer: Answer,
    now: &str,
    rename: Option<&str>,
) -> (BackupItemOperation, Vec<Record>, Vec<String>) {
    let action = Snap {
        id,
        answer,
        ..Snap::default()
    };
    let heard = Arc::clone(&action.heard);
    let (engine, done) = backed_up(server, action, maps_of_shop()).await;
    // Only what never answers is worth a short wait; printing a panic with its trace takes a while.
    let wait = Duration::from_millis(if id == "never" { 100 } else { 30_000 });
    let engine = engine.options(BackupOptions::default().progress_timeout(wait));
    let mut operations = vec![done.result.item_operations[1].clone()];
    if let Some(name) = rename {
        operations[0].spec.backup_item_action = name.to_owned();
    }
    let spec = json!({"itemOperationTimeout": "1h0m0s"});
    let now: Timestamp = now.parse().unwrap();
    let run = BackupRun::starting_at(start()).clock(move || now);
    let records = engine
        .poll_operations(&backup(spec), &mut operations, &run)
        .await;
    let heard = heard.lock().unwrap().clone();
    (operations.remove(0), records, heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_become_phases() {
    let server = world();
    const SOON: &str = "2026-11-22T06:00:00Z";
    const LATE: &str = "2026-11-22T06:49:13Z";
    let running: Answer = |_| Ok(OperationProgress::running(3, 9, "Bytes"));
    type Case<P> = (
        &'static str,
        &'static str,
        Answer,
        &'static str,
        Option<&'static str>,
        P,
        &'static str,
        &'static [&'static str],
    );
    let cases: [Case<_>; 9] = [
        (
            "ended",
            "op",
            |_| Ok(OperationProgress::succeeded()),
            SOON,
            None,
            OperationPhase::Completed,
            "",
            &["progress op-plain"],
        ),
        (
            "failed",
            "op",
            |_| Ok(OperationProgress::failed("no space")),
            SOON,
            None,
            OperationPhase::Failed,
            "no space",
            &["progress op-plain"],
        ),
        (
            "not begun",
            "op",
            |_| Ok(OperationProgress::default()),
            SOON,
            None,
            OperationPhase::New,
            "",
            &["progress op-plain"],
        ),
        (
            "running",
            "op",
            running,
            SOON,
            None,
            OperationPhase::InProgress,
            "",
            &["progress op-plain"],
        ),
        (
            "error",
            "op",
            |id| Err(ActionError::new(format!("{id} is unknown"))),
            SOON,
            None,
            OperationPhase::Failed,
            "op-plain is unknown",
            &["progress op-plain"],
        ),
        (
            "panic",
            "op",
            |_| panic!("lost my head"),
            SOON,
            None,
            OperationPhase::Failed,
            "lost my head",
            &["progress op-plain"],
        ),
        (
            "late",
            "op",
            running,
            LATE,
            None,
            OperationPhase::Failed,
            "not ended within 1h0m0s",
            &["progress op-plain", "cancel op-plain"],
        ),
        (
            "silent",
            "never",
            running,
            SOON,
            None,
            OperationPhase::New,
            "",
            &["progress never-plain"],
        ),
        (
            "nobody to ask",
            "op",
            running,
            SOON,
            Some("example.com/gone"),
            OperationPhase::Failed,
            "no action \"example.com/gone\"",
            &[],
        ),
    ];
    for (what, id, answer, now, rename, phase, error, heard) in cases {
        let (operation, records, said) = looked(&server, id, answer, now, rename).await;
        let status = &operation.status;
        assert_eq!(status.phase, phase, "{what}");
        assert!(status.error.contains(error), "{what}: {}", status.error);
        assert_eq!(said, heard, "{what}");
        let failed = phase == OperationPhase::Failed;
        assert_eq!(records.len(), usize::from(failed), "{what}: {records:?}");
        if let Some(record) = records.first() {
            let line = record.line();
            assert!(
                line.starts_with("resource: /configmaps name: /plain error: /operation")
                    && line.contains(error),
                "{what}: {line}"
            );
        }
    }
}

#[tokio::test]
async fn phases_follow_the_operations() {
    use OperationPhase::{Completed, Failed, InProgress, New};
    let server = world();
    let (_, done) = backed_up(&server, Snap::default(), maps_of_shop()).await;
    let error = Record::run(velero_core::result::Severity::Error, "x");
    for (phases, records, before, expected) in [
        (
            [New, InProgress],
            0,
            BackupPhase::WaitingForPluginOperations,
            BackupPhase::WaitingForPluginOperations,
        ),
        (
            [Completed, InProgress],
            0,
            BackupPhase::WaitingForPluginOperations,
            BackupPhase::WaitingForPluginOperations,
        ),
        (
            [Failed, InProgress],
            1,
            BackupPhase::WaitingForPluginOperations,
            BackupPhase::WaitingForPluginOperationsPartiallyFailed,
        ),
        (
            [Completed, InProgress],
            0,
            BackupPhase::WaitingForPluginOperationsPartiallyFailed,
            BackupPhase::WaitingForPluginOperationsPartiallyFailed,
        ),
        (
            [Completed, Completed],
            0,
            BackupPhase::WaitingForPluginOperations,
            BackupPhase::Finalizing,
        ),
        (
            [Completed, Failed],
            1,
            BackupPhase::WaitingForPluginOperations,
            BackupPhase::FinalizingPartiallyFailed,
        ),
        (
            [Completed, Completed],
            0,
            BackupPhase::WaitingForPluginOperationsPartiallyFailed,
            BackupPhase::FinalizingPartiallyFailed,
        ),
    ] {
        let mut operations = done.result.item_operations.clone();
        for (operation, phase) in operations.iter_mut().zip(phases.clone()) {
            operation.status.phase = phase;
        }
        let mut waiting = backup(json!({}));
        waiting.status.phase = Some(before);
        let records = vec![error.clone(); records];
        waiting.status = artifacts::waiting_status(&waiting, &operations, &records);
        assert_eq!(*waiting.phase(), expected, "{phases:?}");
        let counts = OperationCounts::of(&operations);
        assert_eq!(
            waiting.status.backup_item_operations_failed as u64,
            counts.failed
        );
        if !counts.all_ended() {
            continue;
        }
        let status = artifacts::finalized_status(&waiting, &operations, &[], start());
        let end = match expected {
            BackupPhase::Finalizing => BackupPhase::Completed,
            _ => BackupPhase::PartiallyFailed,
        };
        assert_eq!(status.phase, Some(end), "{phases:?}");
        assert!(status.completion_timestamp.is_some());
    }
}

/// The items of an archive, by path, in the order of their entries, with those that come twice.
fn entries(archive: &[u8]) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    ArchiveReader::new(archive)
        .for_each(|kind, json| {
            if let EntryKind::Item(path) = kind
                && path.version == VersionDir::Unversioned
            {
                all.push((path.to_string(), serde_json::from_slice(&json).unwrap()));
            }
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    all
}

fn finalizing() -> Backup {
    let mut finalizing = backup(maps_of_shop());
    finalizing.status.phase = Some(BackupPhase::Finalizing);
    finalizing
}

async fn finalize(
    engine: &BackupEngine,
    operations: &[BackupItemOperation],
    base: ArchiveBase,
) -> (FinalizeResult, Vec<u8>) {
    let kept = Kept::default();
    let result = engine
        .finalize(&finalizing(), operations, base, kept.clone(), run())
        .await
        .unwrap();
    (result, kept.bytes())
}

#[tokio::test]
async fn items_are_stored_once_more_behind_the_archive() {
    let server = world();
    seed(&server, namespace("aside", json!({})));
    let label = json!({"velero.io/exclude-from-backup": "true"});
    seed(&server, map("aside", "hidden", label));
    let missing = map_id("shop", "missing");
    let action = Snap {
        again: vec![map_id("shop", "plain"), map_id("aside", "hidden"), missing],
        ..Snap::default()
    };
    let heard = Arc::clone(&action.heard);
    let (engine, done) = backed_up(&server, action, maps_of_shop()).await;
    let operations = &done.result.item_operations;
    server.calls().reset();
    let (result, tail) = finalize(&engine, operations, ArchiveBase::Tail).await;

    let keep = done.archive.len() - END_MEMBER.len();
    let archive = [&done.archive[..keep], &tail].concat();
    assert_eq!(result.archive_bytes, tail.len() as u64);
    let all = entries(&archive);
    let added: Vec<&str> = all[done.order.len()..]
        .iter()
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(
        added,
        [
            "resources/clusterroles.rbac.authorization.k8s.io/cluster/unused.json",
            "resources/configmaps/namespaces/shop/plain.json",
            "resources/configmaps/namespaces/aside/hidden.json",
        ]
    );
    let last: BTreeMap<_, _> = all.into_iter().collect();
    let plain = &last["resources/configmaps/namespaces/shop/plain.json"];
    assert_eq!(plain["metadata"]["annotations"]["example.com/final"], "yes");
    assert_eq!(*heard.lock().unwrap(), ["again plain", "again hidden"]);
    assert_eq!(result.stored, 3);
    assert_eq!((result.errors(), result.warnings()), (0, 1));
    let line = result.records[0].line();
    assert!(
        line.contains("name: /missing") && line.contains("operation \"op-chosen\""),
        "{line}"
    );
    assert_eq!(
        result.resource_list.entries("v1/ConfigMap"),
        ["shop/plain", "aside/hidden"]
    );
    // Nothing is listed, and what is read is read by its name.
    assert_eq!(server.calls().count("list", "configmaps"), 0);
    assert_eq!(server.calls().count("get", "configmaps"), 3);

    let (_, again) = finalize(&engine, operations, ArchiveBase::Tail).await;
    assert_eq!(again, tail, "the same state gives the same bytes");
    let old = std::io::Cursor::new(done.archive.clone());
    let (_, copy) = finalize(&engine, operations, ArchiveBase::CopyOf(Box::new(old))).await;
    assert_eq!(entries(&copy), entries(&archive));
}

#[tokio::test]
async fn what_is_gone_or_going_is_not_stored_again() {
    let server = world();
    let mut going = map("shop", "going", json!({}));
    going["metadata"]["deletionTimestamp"] = json!("2026-11-22T05:00:00Z");
    going["metadata"]["finalizers"] = json!(["example.com/wait"]);
    seed(&server, going);
    let action = Snap {
        again: vec![map_id("shop", "going"), map_id("shop", "missing")],
        ..Snap::default()
    };
    let (engine, done) = backed_up(&server, action, maps_of_shop()).await;
    let (result, tail) = finalize(&engine, &done.result.item_operations, ArchiveBase::Tail).await;
    assert_eq!((result.stored, result.archive_bytes), (0, 0));
    assert!(!tail.ends_with(&END_MEMBER), "the sink was given up");
}

/// An action that never stops starting operations.
struct Restless;

#[async_trait]
impl BackupItemAction for Restless {
    fn name(&self) -> &str {
        "example.com/restless"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["configmaps"])
    }

    async fn execute(
        &self,
        item: ItemTree,
        _: &ActionContext<'_, Backup>,
    ) -> Result<BackupOutcome, ActionError> {
        if item.name() == EVERYWHERE {
            return Ok(BackupOutcome::unchanged());
        }
        let this = map_id(item.namespace(), item.name());
        Ok(BackupOutcome::unchanged().started(BackupOperation::new("more").then_read([this])))
    }
}

#[tokio::test]
async fn an_operation_started_at_the_end_is_an_error() {
    let server = world();
    let engine = BackupEngine::new(connect(&server).await).action(Restless);
    let done = run_with(&engine, maps_of_shop()).await;
    assert_eq!(done.result.item_operations.len(), 2);
    let (result, _) = finalize(&engine, &done.result.item_operations, ArchiveBase::Tail).await;
    assert_eq!((result.stored, result.errors()), (2, 2));
    let line = result.records[0].line();
    assert!(line.contains("example.com/restless"), "{line}");
}

#[tokio::test]
async fn what_is_named_and_asked_for_is_worked_on_once() {
    let server = world();
    let role = id("clusterroles.rbac.authorization.k8s.io", "", "unused");
    // The map's action asks for the role, which the operation names as well.
    let action = Snap {
        again: vec![role, map_id("shop", "plain")],
        ..Snap::default()
    };
    let (engine, done) = backed_up(&server, action, maps_of_shop()).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let engine = engine.action(on("clusterroles", move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        async { Ok(BackupOutcome::unchanged()) }
    }));
    let (result, _) = finalize(&engine, &done.result.item_operations, ArchiveBase::Tail).await;
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!((result.stored, result.records.len()), (2, 0));
}

#[tokio::test]
async fn what_a_failed_attempt_has_noted_is_kept() {
    let server = world();
    let action = Snap {
        again: vec![map_id("shop", "plain"), map_id("shop", "missing")],
        ..Snap::default()
    };
    let (engine, done) = backed_up(&server, action, maps_of_shop()).await;
    let (run, base) = (run(), ArchiveBase::Tail);
    let (noted, operations) = (run.noted.clone(), &done.result.item_operations);
    let failed = engine
        .finalize(&finalizing(), operations, base, Full(0), run)
        .await;
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Sink);
    let lines: Vec<String> = noted.take().iter().map(Record::line).collect();
    assert!(
        lines.len() == 1 && lines[0].contains("missing"),
        "{lines:?}"
    );
}
