//! Items that have to wait: for a namespace, a claim or a volume of the cluster that is being deleted, or for a webhook.
//! Nobody else waits with them.

use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use velero_core::action::{
    ActionContext, ActionError, ResourceSelector, RestoreInput, RestoreItemAction, RestoreOutcome,
};
use velero_core::api::Restore;
use velero_restore::{RestoreEngine, RestoreResult, RestoreRun};
use velero_testkit::{ApiServer, Fault, FaultAction};

use crate::common::*;
use crate::volumes::{claim, live_claim, pod, volume};

pub(crate) fn deleting(mut object: Value) -> Value {
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    object["metadata"]["finalizers"] = json!(["example.com/wait"]);
    object
}

pub(crate) fn dying(name: &str) -> Value {
    let mut dying = deleting(namespace(name));
    dying["status"] = json!({"phase": "Terminating"});
    dying
}

fn service(namespace: &str) -> Value {
    let mut service = object("v1", "Service", namespace, "web");
    service["spec"] = json!({"ports": [{"port": 80}], "selector": {"app": "web"}});
    service
}

/// Restores items; what stands in the way goes when an object is there, which would never be if that waited too.
async fn restore_until(
    server: &ApiServer,
    items: &[Value],
    there: (&str, &str, &str),
    goes: impl FnOnce(),
) -> RestoreResult {
    let engine = engine(server).await;
    let free = async {
        let (kind, namespace, name) = there;
        while server
            .store()
            .get("v1", kind, Some(namespace), name)
            .is_none()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        goes();
    };
    let request = request(json!({}));
    let run = engine.run(&request, Cursor::new(archive(items)), RestoreRun::default());
    let both = async { tokio::join!(run, free) };
    let (result, ()) = tokio::time::timeout(Duration::from_secs(4), both)
        .await
        .expect("somebody else waits too");
    result.unwrap()
}

async fn impatient(server: &ApiServer) -> RestoreEngine {
    let options = options().terminating_timeout(Duration::from_millis(100));
    engine(server).await.options(options)
}

#[tokio::test]
async fn only_the_items_of_a_namespace_that_goes_wait_for_it() {
    let server = ApiServer::new();
    server.store().seed_value(dying("shop")).unwrap();
    let items = [
        namespace("shop"),
        object("v1", "Secret", "shop", "early"),
        config_map("shop", "later"),
        object("v1", "Secret", "bank", "early"),
        service("bank"),
    ];
    // Services come in the last wave, long after Secrets.
    let result = restore_until(&server, &items, ("Service", "bank", "web"), || {
        server.store().remove("v1", "Namespace", None, "shop");
    })
    .await;
    assert_clean(&result);
    assert_eq!(
        entries(&result, "v1/Secret"),
        ["bank/early(created)", "shop/early(created)"]
    );
    let order: Vec<String> = server
        .calls()
        .writes()
        .iter()
        .filter(|call| call.namespace.as_deref() == Some("shop"))
        .map(|call| call.resource.clone())
        .collect();
    assert_eq!(order, ["secrets", "configmaps"], "their own order stays");
}

#[tokio::test]
async fn two_namespaces_that_go_do_not_wait_for_each_other() {
    let server = ApiServer::new();
    for name in ["one", "two"] {
        server.store().seed_value(dying(name)).unwrap();
    }
    let items: Vec<Value> = ["one", "two"]
        .iter()
        .flat_map(|name| [namespace(name), config_map(name, "a"), service(name)])
        .collect();
    let engine = engine(&server).await;
    let request = request(json!({}));
    let run = engine.run(
        &request,
        Cursor::new(archive(&items)),
        RestoreRun::default(),
    );
    let free = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.store().remove("v1", "Namespace", None, "one");
        while server
            .store()
            .get("v1", "Service", Some("one"), "web")
            .is_none()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        server.store().remove("v1", "Namespace", None, "two");
    };
    let both = async { tokio::join!(run, free) };
    let (result, ()) = tokio::time::timeout(Duration::from_secs(4), both)
        .await
        .expect("one waits for the other");
    assert_clean(&result.unwrap());
}

#[tokio::test]
async fn a_claim_that_goes_is_waited_for_and_created_anew() {
    let server = ApiServer::new();
    let mut old = deleting(claim());
    old["spec"]["resources"]["requests"]["storage"] = json!("9Gi");
    server.store().seed_value(namespace("shop")).unwrap();
    server.store().seed_value(old).unwrap();
    let items = [
        namespace("shop"),
        volume("Delete"),
        claim(),
        pod(),
        service("shop"),
    ];
    let result = restore_until(&server, &items, ("Service", "shop", "web"), || {
        // The pod that mounts it waits too.
        assert!(
            server
                .store()
                .get("v1", "Pod", Some("shop"), "web")
                .is_none()
        );
        server
            .store()
            .remove("v1", "PersistentVolumeClaim", Some("shop"), "data");
    })
    .await;
    assert_clean(&result);
    let live = live_claim(&server, "shop");
    assert_eq!(live["spec"]["resources"]["requests"]["storage"], "1Gi");
    assert_eq!(
        (
            entries(&result, "v1/PersistentVolumeClaim"),
            entries(&result, "v1/Pod")
        ),
        (
            vec!["shop/data(created)".to_owned()],
            vec!["shop/web(created)".to_owned()]
        )
    );
}

#[tokio::test]
async fn claims_and_volumes_that_stay_are_errors_after_the_timeout() {
    let server = ApiServer::new();
    for old in [claim(), volume("Retain")] {
        server.store().seed_value(deleting(old)).unwrap();
    }
    let items = [namespace("shop"), volume("Retain"), claim()];
    let result = run_items(&impatient(&server).await, &items).await;
    let errors = errors(&result);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors.iter().all(|error| error
            .contains("the one in the cluster is still being deleted after 0.1s, held by ")
            && error.contains("example.com/wait")),
        "{errors:?}"
    );
    assert_eq!(
        entries(&result, "v1/PersistentVolumeClaim"),
        ["shop/data(failed)"]
    );
}

#[tokio::test]
async fn a_cancelled_run_waits_for_nothing() {
    let server = ApiServer::new();
    server.store().seed_value(dying("shop")).unwrap();
    let engine = engine(&server).await;
    let run = RestoreRun::default();
    let cancel = run.cancel.clone();
    let items = archive(&[namespace("shop"), config_map("shop", "a")]);
    let request = request(json!({}));
    let restored = engine.run(&request, Cursor::new(items), run);
    let stop = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        cancel.cancel();
    };
    let both = async { tokio::join!(restored, stop) };
    let (result, ()) = tokio::time::timeout(Duration::from_secs(3), both)
        .await
        .expect("it waits on");
    assert!(result.unwrap().cancelled);
}

fn unanswered() -> Fault {
    let message = "Internal error occurred: failed calling webhook \"w.example.com\": failed to call webhook: Post \
                   \"https://hook.tools.svc:443/\": service \"hook\" not found";
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500, "reason": "InternalError",
        "message": message});
    Fault::new(FaultAction::Status { code: 500, body })
        .verb("create")
        .resource("configmaps")
        .name("m1")
}

#[tokio::test]
async fn what_a_webhook_without_a_server_refuses_is_tried_again_at_the_end() {
    let server = ApiServer::new();
    // Three tries are made of one call.
    server.faults().add(unanswered().times(3));
    let mut items: Vec<Value> = (0..3)
        .map(|n| config_map("default", &format!("m{n}")))
        .collect();
    items.push(service("default"));
    let result = run_items(&engine(&server).await, &items).await;
    assert_clean(&result);
    let last = server.calls().writes().pop().unwrap();
    assert_eq!(last.name.as_deref(), Some("m1"));
    assert_eq!(result.counts.created, 4);
}

#[tokio::test]
async fn a_webhook_that_never_answers_is_one_error_in_its_words() {
    let server = ApiServer::new();
    server.faults().add(unanswered());
    let items: Vec<Value> = (0..3)
        .map(|n| config_map("default", &format!("m{n}")))
        .collect();
    let result = run_items(&engine(&server).await, &items).await;
    let errors = errors(&result);
    assert!(
        errors.len() == 1 && errors[0].contains("service \"hook\" not found"),
        "{errors:?}"
    );
    assert_eq!(result.counts.created, 2);
}

/// Counts its calls, and does not say what it does besides.
struct Counting(Arc<AtomicUsize>);

#[async_trait]
impl RestoreItemAction for Counting {
    fn name(&self) -> &str {
        "example.com/counting"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["configmaps", "persistentvolumeclaims"])
    }

    async fn execute(
        &self,
        input: RestoreInput,
        _: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(RestoreOutcome::create(input.item))
    }
}

#[tokio::test]
async fn an_action_that_may_do_something_is_not_called_twice() {
    let server = ApiServer::new();
    server.faults().add(unanswered());
    server.store().seed_value(deleting(claim())).unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let engine = impatient(&server)
        .await
        .action(Counting(Arc::clone(&calls)));
    let items = [config_map("default", "m1"), claim()];
    let errors = errors(&run_items(&engine, &items).await);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}
