//! Every item of an archive is accounted for, whatever goes wrong: counted by how it ended, or left out for a reason, and
//! named where it did not come back.

use std::io::Cursor;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use velero_core::archive::{ArchiveWriter, ArchiveWriterOptions};
use velero_core::plan::ExclusionReason;
use velero_core::{GroupResource, ProgressUpdate};
use velero_restore::{RestoreResult, RestoreRun};
use velero_testkit::{ApiServer, Fault, FaultAction};

use crate::common::*;
use crate::going::dying;

fn pod(namespace: &str, name: &str, phase: &str) -> Value {
    let mut pod = object("v1", "Pod", namespace, name);
    pod["spec"] = json!({"containers": [{"name": "main", "image": "web:1"}]});
    pod["status"] = json!({"phase": phase});
    pod
}

fn with_data(mut map: Value, value: &str) -> Value {
    map["data"] = json!({"key": value});
    map
}

/// What comes back.
fn good() -> Vec<Value> {
    let mut items = vec![namespace("shop"), namespace("bank")];
    for n in 0..40 {
        items.push(config_map("shop", &format!("good-{n}")));
        items.push(config_map("bank", &format!("good-{n}")));
    }
    items.push(pod("shop", "web", "Running"));
    items
}

/// What the cluster has already: two namespaces, two maps and what is to be changed.
fn there() -> Vec<Value> {
    vec![
        namespace("old"),
        config_map("old", "equal"),
        with_data(config_map("old", "changed"), "live"),
    ]
}

/// What goes wrong.
fn bad() -> Vec<Value> {
    let mut big = config_map("shop", "big");
    big["data"]["text"] = json!("x".repeat(4 << 20));
    vec![
        config_map("shop", "refused"),
        big,
        object("gone.example.com/v1", "Thing", "shop", "t1"),
        object("gone.example.com/v1", "Thing", "shop", "t2"),
        object("batch/v1beta1", "CronJob", "shop", "old"),
        namespace("stuck"),
        config_map("stuck", "a"),
        config_map("stuck", "b"),
    ]
}

/// What is left out, and how many for which reason.
fn left_out() -> (Vec<Value>, Vec<(ExclusionReason, u64)>) {
    let mut mirror = pod("shop", "mirror", "Running");
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    let mut job = object("batch/v1", "Job", "shop", "done");
    job["status"] = json!({"completionTime": "2026-01-01T00:00:00Z"});
    let items = vec![
        pod("shop", "done", "Succeeded"),
        pod("shop", "broken", "Failed"),
        job,
        mirror,
        object("v1", "Node", "", "n1"),
        object("v1", "Event", "shop", "e1"),
        object("v1", "Service", "shop", "web"),
        config_map("elsewhere", "a"),
        // The maps of `twin` come to the names of those in `bank`.
        namespace("twin"),
        config_map("twin", "good-0"),
        config_map("twin", "good-1"),
    ];
    let reasons = vec![
        (ExclusionReason::Completed, 3),
        (ExclusionReason::MirrorPod, 1),
        (ExclusionReason::NeverRestored, 2),
        (ExclusionReason::Resource, 1),
        (ExclusionReason::Namespace, 1),
        (ExclusionReason::SameTarget, 3),
    ];
    (items, reasons)
}

/// An archive of items, with two entries that are no objects.
fn spoiled(items: &[Value]) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(Vec::new(), ArchiveWriterOptions::default()).unwrap();
    for item in items {
        add(&mut writer, &path_of(item), item.to_string().as_bytes());
    }
    for (name, text) in [("not-json", "{"), ("no-object", "[]")] {
        let path = path_of(&config_map("shop", name));
        add(&mut writer, &path, text.as_bytes());
    }
    writer.finish().unwrap()
}

fn left(result: &RestoreResult, reason: ExclusionReason) -> u64 {
    let of_reason = result
        .excluded
        .iter()
        .filter(|((_, why), _)| *why == reason);
    of_reason.map(|(_, count)| count).sum()
}

/// A cluster on which much goes wrong.
fn troubled() -> ApiServer {
    let server = ApiServer::new();
    for item in there() {
        server.store().seed_value(item).unwrap();
    }
    server.store().seed_value(dying("stuck")).unwrap();
    let maps = |action| Fault::new(action).verb("create").resource("configmaps");
    server
        .faults()
        .add(maps(FaultAction::Forbidden).name("refused"));
    // These pass: a reset whose call was carried out, a storm, an outage.
    let mut lost = maps(FaultAction::ConnectionReset).skip(10).times(3);
    lost.after = true;
    server.faults().add(lost);
    let storm = FaultAction::TooManyRequests {
        retry_after_seconds: 1,
    };
    server.faults().add(maps(storm).skip(20).times(20));
    server
        .faults()
        .add(maps(FaultAction::Unavailable).skip(50).times(2));
    server
}

#[tokio::test(start_paused = true)]
async fn the_items_of_a_run_with_many_faults_add_up() {
    let server = troubled();
    let (left_out, reasons) = left_out();
    let mut items = good();
    items.extend(there().into_iter().map(|mut item| {
        if item["metadata"]["name"] == "changed" {
            item = with_data(item, "stored");
        }
        item
    }));
    items.extend(bad());
    items.extend(left_out);
    let request = request(json!({
        "excludedResources": ["services"],
        "excludedNamespaces": ["elsewhere"],
        "namespaceMapping": {"twin": "bank"},
        "existingResourcePolicy": "update",
        "includeClusterResources": true,
    }));
    let seen: Arc<Mutex<Vec<ProgressUpdate>>> = Arc::default();
    let told = Arc::clone(&seen);
    let run =
        RestoreRun::default().progress(Arc::new(move |update| told.lock().unwrap().push(update)));
    let options = options().terminating_timeout(Duration::from_millis(100));
    let engine = engine(&server).await.options(options);
    let result = engine
        .run(&request, Cursor::new(spoiled(&items)), run)
        .await
        .unwrap();

    let counts = result.counts;
    let told = errors(&result);
    let ends = (
        counts.created,
        counts.updated,
        counts.skipped,
        counts.failed,
    );
    assert_eq!(
        ends,
        (good().len() as u64, 1, 1, bad().len() as u64 + 2),
        "{told:?}"
    );
    assert_eq!((counts.deleted, counts.left), (0, 0));
    for (reason, count) in &reasons {
        assert_eq!(left(&result, *reason), *count, "{reason:?}");
    }
    // A namespace that is there stays as it is, and is nobody's result.
    let as_they_are = 1;
    let accounted = counts.total + result.excluded.values().sum::<u64>() + as_they_are;
    assert_eq!(accounted, items.len() as u64 + 2, "two are no objects");

    // Each that did not come back is named by an error.
    assert_eq!(told.len() as u64, counts.failed, "{told:#?}");
    for name in [
        "refused",
        "big",
        "t1",
        "t2",
        "old",
        "stuck",
        "a",
        "b",
        "not-json",
        "no-object",
    ] {
        let named = told
            .iter()
            .filter(|line| line.contains(&format!("name: /{name} ")));
        assert_eq!(named.count(), 1, "{name}: {told:#?}");
    }
    // The list has all but the entries that are no objects, and the pod that a kubelet makes.
    assert_eq!(result.resource_list.len() as u64, counts.total - 2 + 1);
    assert_eq!(
        entries(&result, "v1/Pod"),
        ["shop/mirror(skipped)", "shop/web(created)"]
    );
    let things = entries(&result, "gone.example.com/v1/Thing");
    assert_eq!(things, ["shop/t1(failed)", "shop/t2(failed)"]);
    assert_eq!(entries(&result, "v1/Namespace")[2..], ["stuck(failed)"]);

    // The progress ends where the counts are.
    let last = seen.lock().unwrap().last().copied().unwrap();
    assert_eq!((last.done, last.total), (counts.total, counts.total));
    assert!(
        seen.lock()
            .unwrap()
            .iter()
            .all(|step| step.done <= step.total)
    );
    let pods = GroupResource::core("pods");
    assert_eq!(result.excluded[&(pods, ExclusionReason::MirrorPod)], 1);
}
