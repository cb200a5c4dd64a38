//! A restore that is cancelled while the API server says nothing.

use std::io::Cursor;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use velero_restore::{RestoreRequest, RestoreResult, RestoreRun};
use velero_testkit::{ApiServer, Fault, FaultAction};

use crate::common::*;
use crate::recreate::{recreate, secret};

/// Longer than any call may take.
const SILENCE: FaultAction = FaultAction::Slow(Duration::from_secs(3600));

/// Restores and cancels after a second; the result, and the seconds from the cancel to the end.
async fn cancelled(
    server: &ApiServer,
    items: &[Value],
    request: &RestoreRequest,
) -> (RestoreResult, u64) {
    let (engine, run) = (engine(server).await, RestoreRun::default());
    let cancel = run.cancel.clone();
    let restored = engine.run(request, Cursor::new(archive(items)), run);
    let stop = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cancel.cancel();
        Instant::now()
    };
    let (result, at) = tokio::join!(restored, stop);
    let result = result.unwrap();
    assert!(result.cancelled);
    (result, at.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn calls_under_way_end_soon_and_their_items_are_named() {
    let server = ApiServer::new();
    let silence = Fault::new(SILENCE).verb("create").resource("configmaps");
    server.faults().add(silence.skip(10));
    let mut items = vec![namespace("shop")];
    items.extend((0..30).map(|n| config_map("shop", &format!("m{n}"))));
    let (result, seconds) = cancelled(&server, &items, &request(json!({}))).await;
    assert!(seconds <= 3, "{seconds} s");
    let sent = server.calls().count("create", "configmaps");
    assert_eq!(result.counts.created, 11, "the namespace and ten maps");
    let errors = errors(&result);
    assert!(errors.len() as u64 >= sent - 10, "{sent}");
    assert_eq!(errors.len(), entries(&result, "v1/ConfigMap").len() - 10);
    for line in errors {
        assert!(
            line.ends_with(": cancelled before an answer came; it may have been carried out"),
            "{line}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn namespaces_and_definitions_hold_it_up_no_longer() {
    let definition = crate::definitions::definition();
    for (verb, resource) in [
        ("create", "namespaces"),
        ("create", "customresourcedefinitions"),
        ("get", "customresourcedefinitions"),
        ("list", "configmaps"),
    ] {
        let server = ApiServer::new();
        let silence = Fault::new(SILENCE).verb(verb).resource(resource);
        server.faults().add(silence);
        let mut items = vec![namespace("shop"), definition.clone()];
        items.extend((0..300).map(|n| config_map("default", &format!("m{n}"))));
        for item in items.iter().filter(|item| item["kind"] == "ConfigMap") {
            server.store().seed_value(item.clone()).unwrap();
        }
        let (_, seconds) = cancelled(&server, &items, &request(json!({}))).await;
        assert!(seconds <= 3, "{verb} {resource}: {seconds} s");
        let met = server.calls().count(verb, resource);
        assert!(met > 0, "{verb} {resource} was not called");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_to_be_created_anew_still_is() {
    let server = ApiServer::new();
    let old = secret("example.com/old");
    server.store().seed_value(old).unwrap();
    // The first creation finds the old object; the second is answered long after the cancel.
    let late = Fault::new(FaultAction::Slow(Duration::from_secs(20)))
        .verb("create")
        .resource("secrets");
    server.faults().add(late.skip(1));
    let (result, seconds) = cancelled(&server, &[secret("example.com/new")], &recreate()).await;
    assert!((19..=21).contains(&seconds), "{seconds} s");
    assert_clean(&result);
    let now = server
        .store()
        .get("v1", "Secret", Some("default"), "keys")
        .unwrap();
    assert_eq!(now["type"], json!("example.com/new"));
}
