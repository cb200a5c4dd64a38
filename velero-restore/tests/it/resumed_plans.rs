//! Restores that go on under policies that change what is there: what others have done meanwhile is looked at.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use velero_core::api::Restore;
use velero_restore::{
    Error, ErrorKind, ExistingPolicy, ExpectedPlan, Journal, RestoreRequest, RestoreResult,
    RestoreRun,
};
use velero_testkit::{ApiServer, Fault, FaultAction};

use crate::common::*;
use crate::mirror::{all, is_there, map, plan, seed, world};
use crate::resumed::Notes;

fn with_policy(policy: Option<ExistingPolicy>) -> RestoreRequest {
    let mut restore: Restore = serde_json::from_value(json!({
        "metadata": {"name": "r1", "namespace": "velero"}, "spec": {"backupName": "b1"},
    }))
    .unwrap();
    if let Some(policy) = policy {
        policy.apply(&mut restore);
    }
    RestoreRequest::resolve(restore).unwrap()
}

/// One restore, over all its attempts.
struct Attempts<'a> {
    server: &'a ApiServer,
    items: Vec<Value>,
    request: RestoreRequest,
    expected: Option<Arc<ExpectedPlan>>,
    notes: Arc<Notes>,
}

impl Attempts<'_> {
    fn run(&self) -> RestoreRun {
        let mut run = RestoreRun::default().journal(Arc::clone(&self.notes) as Arc<dyn Journal>);
        run.expected = self.expected.clone();
        run
    }

    async fn carry_out(&self, run: RestoreRun) -> Result<RestoreResult, Error> {
        let engine = engine(self.server).await;
        let archive = Cursor::new(archive(&self.items));
        engine.run(&self.request, archive, run).await
    }

    async fn again(&self) -> Result<RestoreResult, Error> {
        self.carry_out(self.run()).await
    }

    /// Carries it out until a call of a verb was answered for a resource, and drops it there.
    async fn interrupted_after(&self, verb: &str, resource: &str) {
        let answered = async {
            let is_it = || {
                let writes = self.server.calls().writes();
                writes
                    .iter()
                    .any(|call| call.verb == verb && call.resource == resource && call.code == 200)
            };
            while !is_it() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            biased;
            () = answered => {}
            ended = self.again() => panic!("it has ended: {ended:?}"),
        }
    }
}

fn change(server: &ApiServer, name: &str) {
    let store = server.store();
    let mut live = store.get("v1", "ConfigMap", Some("shop"), name).unwrap();
    live["data"] = json!({"key": "spoilt"});
    store.remove("v1", "ConfigMap", Some("shop"), name);
    store.seed_value(live).unwrap();
}

fn data(server: &ApiServer, name: &str) -> Value {
    let store = server.store();
    let live = store.get("v1", "ConfigMap", Some("shop"), name).unwrap();
    live["data"]["key"].clone()
}

#[tokio::test]
async fn what_differs_by_now_is_left_by_the_policy_none_alone() {
    for (policy, key, action) in [
        (None, "spoilt", "created"),
        (Some(ExistingPolicy::Update), "one", "updated"),
        (Some(ExistingPolicy::Recreate), "one", "updated"),
    ] {
        let server = ApiServer::new();
        let attempts = Attempts {
            server: &server,
            items: vec![namespace("shop"), map("shop", "one"), map("shop", "two")],
            request: with_policy(policy),
            expected: None,
            notes: Arc::default(),
        };
        assert_clean(&attempts.again().await.unwrap());
        change(&server, "one");
        let result = attempts.again().await.unwrap();
        assert_clean(&result);
        assert_eq!(data(&server, "one"), key, "{policy:?}");
        let mut maps = entries(&result, "v1/ConfigMap");
        maps.sort();
        let expected = [
            format!("shop/one({action})"),
            "shop/two(created)".to_owned(),
        ];
        assert_eq!(maps, expected, "{policy:?}");
    }
}

/// A mirror whose first attempt is interrupted when it has created what was missing and has deleted a part.
async fn killed_mirror(server: &ApiServer) -> Attempts<'_> {
    let mut items = world(server);
    let mut account = object("v1", "ServiceAccount", "new", "default");
    account["imagePullSecrets"] = json!([{"name": "pull"}]);
    items.extend([
        map("shop", "missing"),
        namespace("new"),
        map("new", "one"),
        account,
    ]);
    let mut stale = map("shop", "stale");
    seed(server, std::slice::from_ref(&stale));
    stale["data"] = json!({"key": "as backed up"});
    items.push(stale);
    let request = all().await;
    let found = plan(server, &items, &request).await;
    // The first one only asks whether it could be deleted.
    server.faults().add(
        Fault::new(FaultAction::Slow(Duration::from_secs(600)))
            .verb("delete")
            .resource("secrets")
            .skip(1),
    );
    let attempts = Attempts {
        server,
        items,
        request,
        expected: Some(found.expected()),
        notes: Arc::default(),
    };
    attempts.interrupted_after("delete", "configmaps").await;
    server.faults().clear();
    assert!(attempts.notes.text.lock().unwrap().is_some());
    assert!(is_there(server, "missing"));
    attempts
}

#[tokio::test]
async fn a_killed_mirror_goes_on_with_its_plan() {
    let server = ApiServer::new();
    let attempts = killed_mirror(&server).await;
    // Nobody has planned to delete it.
    seed(&server, &[map("shop", "later")]);
    let result = attempts.again().await.unwrap();
    assert_clean(&result);
    let store = server.store();
    assert!(store.get("v1", "Secret", Some("shop"), "since").is_none());
    assert!(!is_there(&server, "since") && is_there(&server, "later"));
    assert_eq!(data(&server, "stale"), "as backed up");
}

#[tokio::test]
async fn what_others_have_changed_since_the_plan_stops_a_restore_that_goes_on() {
    for mirrors in [true, false] {
        let server = ApiServer::new();
        let mut attempts = killed_mirror(&server).await;
        if !mirrors {
            // The same items by another policy, with what its plan says.
            attempts.request = with_policy(Some(ExistingPolicy::Recreate));
            let found = plan(&server, &attempts.items, &attempts.request).await;
            attempts.expected = Some(found.expected());
        }
        change(&server, "kept");
        server.calls().reset();
        let error = attempts.again().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Moved, "{mirrors}");
        let message = error.chain();
        assert!(
            message.ends_with("configmaps shop/kept (now: update)"),
            "{mirrors}: {message}"
        );
        assert_eq!(data(&server, "kept"), "spoilt");
        assert_eq!(server.calls().writes().len(), 0, "{mirrors}");
        assert!(attempts.notes.text.lock().unwrap().is_some());
    }
}

#[tokio::test]
async fn a_look_that_is_cancelled_begins_nothing() {
    let server = ApiServer::new();
    let items = vec![namespace("new"), map("new", "one")];
    let request = with_policy(Some(ExistingPolicy::Recreate));
    let found = plan(&server, &items, &request).await;
    let attempts = Attempts {
        server: &server,
        items,
        request,
        expected: Some(found.expected()),
        notes: Arc::default(),
    };
    let run = attempts.run();
    run.cancel.cancel();
    let result = attempts.carry_out(run).await.unwrap();
    assert!(result.cancelled);
    assert!(attempts.notes.text.lock().unwrap().is_none());
    assert!(server.store().get("v1", "Namespace", None, "new").is_none());
}

#[tokio::test]
async fn a_restore_that_is_cancelled_makes_no_namespaces() {
    let server = ApiServer::new();
    let attempts = Attempts {
        server: &server,
        items: vec![namespace("new"), map("new", "one")],
        request: with_policy(None),
        expected: None,
        notes: Arc::default(),
    };
    let run = attempts.run();
    run.cancel.cancel();
    assert!(attempts.carry_out(run).await.unwrap().cancelled);
    assert!(server.store().get("v1", "Namespace", None, "new").is_none());
}
