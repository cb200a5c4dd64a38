//! What actions start and leave running.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use velero_core::action::{
    ActionContext, ActionError, OperationProgress, ResourceSelector, RestoreInput,
    RestoreItemAction, RestoreOutcome,
};
use velero_core::api::{Restore, RestorePhase};
use velero_core::artifact::{OperationPhase, RestoreItemOperation};
use velero_core::result::Severity;
use velero_restore::{RestoreEngine, RestoreRun};
use velero_testkit::ApiServer;

use crate::common::*;

type Answers = Arc<Mutex<BTreeMap<String, OperationProgress>>>;

/// Starts an operation for each ConfigMap, named as it, and answers as it is told, by the name.
#[derive(Default)]
struct Fill {
    answers: Answers,
    cancelled: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl RestoreItemAction for Fill {
    fn name(&self) -> &str {
        "example.com/fill"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["configmaps"])
    }

    async fn execute(
        &self,
        input: RestoreInput,
        _: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        let name = input.item.name().to_owned();
        let outcome = match name.as_str() {
            "skipped" => RestoreOutcome::skip(input.item),
            _ => RestoreOutcome::create(input.item),
        };
        Ok(match name.as_str() {
            "none" => outcome.started(""),
            _ => outcome.started(name),
        })
    }

    async fn progress(
        &self,
        id: &str,
        cx: &ActionContext<'_, Restore>,
    ) -> Result<OperationProgress, ActionError> {
        assert_eq!(cx.run.metadata.name.as_deref(), Some("r1"));
        match id {
            "refuses" => Err(ActionError::new("no such work")),
            "panics" => panic!("as told"),
            "hangs" => std::future::pending().await,
            _ => Ok(self
                .answers
                .lock()
                .unwrap()
                .get(id)
                .cloned()
                .unwrap_or_default()),
        }
    }

    async fn cancel(&self, id: &str, _: &ActionContext<'_, Restore>) -> Result<(), ActionError> {
        self.cancelled.lock().unwrap().push(id.to_owned());
        Ok(())
    }
}

async fn with(server: &ApiServer, fill: Fill) -> RestoreEngine {
    let mut options = options();
    options.progress_timeout = Duration::from_millis(200);
    engine(server).await.action(fill).options(options)
}

fn of<'a>(operations: &'a [RestoreItemOperation], id: &str) -> &'a RestoreItemOperation {
    let mut all = operations.iter();
    all.find(|o| o.spec.operation_id == id).unwrap()
}

#[tokio::test]
async fn operations_are_recorded_as_new_even_if_the_item_is_skipped() {
    let server = ApiServer::new();
    let fill = Fill::default();
    let done = OperationProgress::succeeded();
    fill.answers.lock().unwrap().insert("a".into(), done);
    let engine = with(&server, fill).await;
    let items = ["a", "skipped", "none"].map(|name| config_map("shop", name));
    let request = request(json!({"namespaceMapping": {"shop": "copy"}}));
    let archive = Cursor::new(archive(&items));
    let result = engine
        .run(&request, archive, RestoreRun::default())
        .await
        .unwrap();
    assert_clean(&result);
    assert_eq!(result.operations.len(), 2);
    assert_eq!(result.phase(), RestorePhase::WaitingForPluginOperations);
    for id in ["a", "skipped"] {
        let operation = of(&result.operations, id);
        assert_eq!(operation.status.phase, OperationPhase::New);
        assert!(operation.status.created.is_some() && operation.status.started.is_none());
        let spec = serde_json::to_value(&operation.spec).unwrap();
        assert_eq!(
            spec,
            json!({"restoreName": "r1", "restoreUID": "", "restoreItemAction": "example.com/fill", "operationID": id,
                "resourceIdentifier": {"Group": "", "Resource": "configmaps", "Namespace": "copy", "Name": id}})
        );
    }
    assert_eq!(
        entries(&result, "v1/ConfigMap"),
        [
            "copy/a(created)",
            "copy/none(created)",
            "copy/skipped(skipped)"
        ]
    );
}

#[tokio::test]
async fn answers_become_phases_and_failures_become_records() {
    let server = ApiServer::new();
    let fill = Fill::default();
    for (id, progress) in [
        ("runs", OperationProgress::running(1, 9, "Bytes")),
        ("done", OperationProgress::succeeded()),
        ("fails", OperationProgress::failed("no space")),
    ] {
        fill.answers.lock().unwrap().insert(id.into(), progress);
    }
    let engine = with(&server, fill).await;
    let names = [
        "runs", "done", "fails", "refuses", "panics", "hangs", "quiet",
    ];
    let items = names.map(|name| config_map("default", name));
    let request = request(json!({}));
    let archive = Cursor::new(archive(&items));
    let mut operations = engine
        .run(&request, archive, RestoreRun::default())
        .await
        .unwrap()
        .operations;
    let mut lost = of(&operations, "done").clone();
    lost.spec.restore_item_action = "example.com/gone".into();
    lost.spec.operation_id = "lost".into();
    operations.push(lost);
    let restore = request.restore();
    let run = RestoreRun::default();
    let records = engine.poll_operations(restore, &mut operations, &run).await;
    use OperationPhase::{Completed, Failed, InProgress, New};
    for (id, phase, error) in [
        ("runs", InProgress, ""),
        ("done", Completed, ""),
        ("fails", Failed, "no space"),
        ("refuses", Failed, "no such work"),
        ("panics", Failed, "it panicked"),
        ("hangs", New, ""),
        ("quiet", New, ""),
        (
            "lost",
            Failed,
            "there is no action \"example.com/gone\" to ask",
        ),
    ] {
        let status = &of(&operations, id).status;
        assert_eq!(
            (&status.phase, status.error.as_str()),
            (&phase, error),
            "{id}"
        );
    }
    assert_eq!(records.len(), 4);
    assert!(records.iter().all(|r| r.severity == Severity::Error));
    assert!(records.iter().any(|r| r.line()
        == "resource: /configmaps name: /fails error: /operation \"fails\" of action example.com/fill failed: no space"));
    // What has ended is not asked about again.
    let records = engine.poll_operations(restore, &mut operations, &run).await;
    assert_eq!(records.len(), 0);
}

#[tokio::test]
async fn operations_that_take_too_long_are_cancelled() {
    let server = ApiServer::new();
    let fill = Fill::default();
    let cancelled = Arc::clone(&fill.cancelled);
    let engine = with(&server, fill).await;
    let items = ["a", "hangs"].map(|name| config_map("default", name));
    let request = request(json!({"itemOperationTimeout": "10m"}));
    let archive = Cursor::new(archive(&items));
    let mut operations = engine
        .run(&request, archive, RestoreRun::default())
        .await
        .unwrap()
        .operations;
    let at = |minutes: i64| {
        let now = velero_core::Timestamp::now();
        let later = velero_core::Timestamp::from_second(now.as_second() + minutes * 60).unwrap();
        RestoreRun::default().clock(move || later)
    };
    let restore = request.restore();
    let early = engine
        .poll_operations(restore, &mut operations, &at(9))
        .await;
    assert_eq!((early.len(), cancelled.lock().unwrap().len()), (0, 0));
    let late = engine
        .poll_operations(restore, &mut operations, &at(11))
        .await;
    assert_eq!(late.len(), 2);
    let mut ids = cancelled.lock().unwrap().clone();
    ids.sort();
    assert_eq!(ids, ["a", "hangs"]);
    for operation in &operations {
        assert_eq!(operation.status.phase, OperationPhase::Failed);
        let text = "it has not ended within 10m0s and is given up";
        assert_eq!(operation.status.error, text);
    }
}
