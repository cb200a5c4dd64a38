//! What a restore keeps of its items: nothing that grows with them but small records.

use std::io::Cursor;
use std::mem::size_of;
use std::time::Duration;

use serde_json::{Value, json};
use velero_core::plan::ItemId;
use velero_restore::{Finding, RestoreResult, RestoreRun, plan};
use velero_testkit::ApiServer;

use crate::common::*;

async fn restored(objects: usize) -> RestoreResult {
    let server = ApiServer::new();
    let items: Vec<Value> = (0..objects)
        .map(|n| config_map("shop", &format!("m{n:05}")))
        .collect();
    let result = run_items(&engine(&server).await, &items).await;
    assert_clean(&result);
    result
}

/// All that a result holds, by count.
fn sizes(result: &RestoreResult) -> [usize; 7] {
    [
        result.records.len(),
        result.excluded.len(),
        result.created_claims.len(),
        result.volumes.len(),
        result.new_volumes.len(),
        result.operations.len(),
        result.resource_list.kinds().count(),
    ]
}

#[tokio::test]
async fn a_result_grows_by_the_list_of_items_alone() {
    let (few, many) = (restored(50).await, restored(1000).await);
    assert_eq!(sizes(&few), sizes(&many));
    // The namespace is made as well.
    assert_eq!(
        (few.resource_list.len(), many.resource_list.len()),
        (51, 1001)
    );
}

/// The index is measured where it is made: 40 bytes and the name.
#[tokio::test]
async fn a_plan_takes_four_bytes_an_item() {
    let items: Vec<Value> = (0..1000)
        .map(|n| config_map("shop", &format!("m{n:05}")))
        .collect();
    let request = request(json!({}));
    let engine = engine(&ApiServer::new()).await;
    let (planned, index, spool) = engine
        .plan(&request, std::io::Cursor::new(archive(&items)))
        .await
        .unwrap();
    assert!(!spool.is_on_disk());
    let again = plan(&index, &request, &catalog().await);
    for plan in [planned, again] {
        assert_eq!(
            (plan.len(), plan.waves.len(), plan.namespaces.len()),
            (1000, 1, 1)
        );
        let bytes: usize = plan
            .waves
            .iter()
            .map(|wave| wave.items.capacity() * size_of::<ItemId>())
            .sum();
        assert!(bytes <= 1024 * 4, "{bytes}");
        assert!(plan.records.is_empty() && plan.excluded.is_empty());
    }
}

/// Who takes findings slowly holds the look up: what it is ahead by are the findings of a short queue and the calls that
/// are under way, not all that are left.
#[tokio::test(flavor = "multi_thread")]
async fn findings_are_handed_on_and_not_collected() {
    const OBJECTS: usize = 2000;
    let server = ApiServer::new();
    let items: Vec<Value> = (0..OBJECTS)
        .map(|n| config_map("default", &format!("m{n:05}")))
        .collect();
    let request = request(json!({}));
    let (mut seen, mut ahead, mut waited) = (0, 0, 0);
    let each = |finding| {
        if !matches!(finding, Finding::Item(_)) {
            return;
        }
        // Each is found out about by one call.
        if seen < 50 {
            std::thread::sleep(Duration::from_millis(10));
            waited += 1;
        }
        seen += 1;
        let asked = server.calls().count("create", "configmaps") as usize;
        ahead = ahead.max(asked.saturating_sub(seen));
    };
    let archive = Cursor::new(archive(&items));
    let engine = engine(&server).await;
    let run = RestoreRun::default();
    let verified = engine.verify(&request, archive, run, each).await.unwrap();
    assert_eq!((seen, waited, verified.errors), (OBJECTS, 50, 0));
    assert!(ahead < OBJECTS / 4, "{ahead} findings waited");
}
