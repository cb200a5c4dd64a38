//! Lists that go wrong: what can be read is in the archive, and the result says what is missing and why.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use velero_backup::ErrorKind;
use velero_testkit::{ApiServer, Fault, FaultAction};

use crate::gate::{CALL, PAGE, Pass, behind, is_page};
use crate::support::*;

/// Longest time for a run, whatever happens in it.
const DEADLINE: Duration = Duration::from_secs(20);

/// The small cluster with three pages and a half of maps, and as many books.
fn shelves() -> ApiServer {
    let server = world();
    for at in 0..35 {
        seed(&server, map("shop", &format!("m{at:03}"), json!({})));
        let book = object(
            "example.com/v1",
            "Book",
            "shop",
            &format!("b{at:03}"),
            json!({}),
        );
        seed(&server, book);
    }
    server
}

async fn timed(engine: &velero_backup::BackupEngine) -> Result<Done, velero_backup::Error> {
    tokio::time::timeout(DEADLINE, try_run(engine, json!({})))
        .await
        .expect("the run ends within its deadline")
}

/// The items of a folder are taken out; gives how many there were.
fn take(items: &mut BTreeMap<String, Value>, folder: &str) -> usize {
    let before = items.len();
    items.retain(|path, _| !path.starts_with(folder));
    before - items.len()
}

fn through(_: &str) -> Pass {
    Pass::Through
}

#[tokio::test]
async fn history_that_is_compacted_at_any_page_costs_nothing() {
    let server = shelves();
    let whole = timed(&behind(&server, through).await).await.unwrap();
    for at in 0..3 {
        let (shared, seen) = (server.clone(), AtomicUsize::new(0));
        let engine = behind(&server, move |uri| {
            let later = is_page(uri, "configmaps", false) || is_page(uri, "books", false);
            if later && seen.fetch_add(1, Ordering::SeqCst) % 3 == at {
                shared.compact();
            }
            Pass::Through
        });
        let done = timed(&engine.await).await.unwrap();
        assert!(done.result.records.is_empty(), "{at} {:?}", done.lines());
        assert!(done.archive == whole.archive, "{at}");
    }
}

#[tokio::test]
async fn history_that_is_compacted_at_every_page_costs_nothing() {
    let server = shelves();
    for at in 0..8 * PAGE {
        seed(&server, map("shop", &format!("x{at:03}"), json!({})));
    }
    let whole = timed(&behind(&server, through).await).await.unwrap();
    let shared = server.clone();
    let engine = behind(&server, move |uri| {
        if is_page(uri, "configmaps", false) {
            shared.compact();
        }
        Pass::Through
    });
    let done = timed(&engine.await).await.unwrap();
    // Each refusal offers a token with which the list goes on, so that it comes to its end all the same.
    assert!(done.result.records.is_empty(), "{:?}", done.lines());
    assert_eq!(done.items, whole.items);
}

#[tokio::test]
async fn refusals_with_a_time_to_wait_are_waited_for() {
    let server = shelves();
    let whole = timed(&behind(&server, through).await).await.unwrap();
    let busy = |resource: &str, skip| {
        Fault::new(FaultAction::TooManyRequests {
            retry_after_seconds: 1,
        })
        .verb("list")
        .resource(resource)
        .skip(skip)
        .times(1)
    };
    let engine = behind(&server, through).await;
    for (resource, skip) in [("pods", 0), ("configmaps", 2), ("books", 1)] {
        server.faults().add(busy(resource, skip));
    }
    let began = Instant::now();
    let done = timed(&engine).await.unwrap();
    assert_eq!(server.faults().acted(), [1, 1, 1]);
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert!(done.result.records.is_empty(), "{:?}", done.lines());
    assert!(done.archive == whole.archive);
}

#[tokio::test]
async fn refusals_without_an_end_cost_their_kind_alone() {
    for wait in [0, 1, 3600] {
        let server = shelves();
        let engine = behind(&server, through).await;
        let whole = timed(&engine).await.unwrap();
        let busy = FaultAction::TooManyRequests {
            retry_after_seconds: wait,
        };
        let fault = Fault::new(busy).verb("list").resource("books").skip(2);
        server.faults().add(fault);
        let done = timed(&engine).await.unwrap();
        let mut rest = whole.items;
        let (all, stored) = (take(&mut rest, "books."), count(&done, "books."));
        assert_eq!((all, stored), (36, 2 * PAGE), "{wait}");
        // Also when the time is over while a try waits for its turn.
        told(&done, "books.example.com", "too many requests");
        let mut items = done.items;
        take(&mut items, "books.");
        assert_eq!(items, rest, "{wait}");
    }
}

fn count(done: &Done, folder: &str) -> usize {
    done.items
        .keys()
        .filter(|path| path.starts_with(folder))
        .count()
}

/// One record, about a kind, that says that not all of it is there and why.
fn told(done: &Done, resource: &str, why: &str) {
    let lines = done.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = lines[0].to_lowercase();
    assert!(
        line.starts_with(&format!("resource: /{resource} "))
            && line.contains("not all objects of this kind are in the backup")
            && line.contains(why),
        "{line}"
    );
    let kinds = &done.result.coverage.kinds;
    let incomplete: Vec<_> = kinds
        .iter()
        .filter(|kind| kind.incomplete_lists > 0)
        .collect();
    assert_eq!(incomplete.len(), 1);
    assert_eq!(incomplete[0].resource.to_string(), resource);
}

#[tokio::test]
async fn connections_that_break_once_at_every_page_cost_nothing() {
    let server = shelves();
    let whole = timed(&behind(&server, through).await).await.unwrap();
    let seen = Mutex::new(HashSet::new());
    let broken = std::sync::Arc::new(AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&broken);
    let engine = behind(&server, move |uri| {
        if seen.lock().unwrap().insert(uri.to_owned()) {
            counter.fetch_add(1, Ordering::SeqCst);
            return Pass::Broken;
        }
        Pass::Through
    });
    let done = timed(&engine.await).await.unwrap();
    assert!(broken.load(Ordering::SeqCst) > 30);
    assert!(done.result.records.is_empty(), "{:?}", done.lines());
    assert!(done.archive == whole.archive);
}

#[tokio::test]
async fn answers_that_break_off_at_every_page_cost_nothing() {
    let server = shelves();
    let whole = timed(&behind(&server, through).await).await.unwrap();
    for bytes in [0, 1, 700] {
        for page in 0..4 {
            server.faults().clear();
            let cut = Fault::new(FaultAction::Truncate(bytes)).verb("list");
            server
                .faults()
                .add(cut.clone().resource("configmaps").skip(page).times(2));
            server
                .faults()
                .add(cut.resource("books").skip(page).times(2));
            let done = timed(&behind(&server, through).await).await.unwrap();
            assert_eq!(server.faults().acted(), [2, 2]);
            assert!(done.result.records.is_empty(), "{:?}", done.lines());
            assert!(done.archive == whole.archive, "{bytes} {page}");
        }
    }
}

#[tokio::test]
async fn connections_that_stay_broken_cost_the_rest_of_their_kind() {
    let server = shelves();
    let whole = timed(&behind(&server, through).await).await.unwrap();
    for page in [0, 1, 3] {
        let engine = behind(&server, through).await;
        server.faults().clear();
        let reset = Fault::new(FaultAction::ConnectionReset).verb("list");
        server.faults().add(reset.resource("books").skip(page));
        let done = timed(&engine).await.unwrap();
        assert_eq!(count(&done, "books."), page as usize * PAGE);
        told(&done, "books.example.com", "connection reset by peer");
        let (mut items, mut rest) = (done.items, whole.items.clone());
        take(&mut items, "books.");
        take(&mut rest, "books.");
        // The definition is stored as a kind of its own.
        assert_eq!(items, rest, "{page}");
    }
}

#[tokio::test]
async fn an_aggregated_api_that_fails_costs_its_kinds_alone() {
    let server = shelves();
    let engine = behind(&server, through).await;
    let whole = timed(&engine).await.unwrap();
    let down = Fault::new(FaultAction::Unavailable)
        .verb("list")
        .resource("books");
    server.faults().add(down);
    let done = timed(&engine).await.unwrap();
    told(&done, "books.example.com", "503");
    assert_eq!(done.result.errors(), 1);
    let (mut items, mut rest) = (done.items, whole.items);
    assert_eq!(
        (take(&mut items, "books."), take(&mut rest, "books.")),
        (0, 36)
    );
    assert_eq!(items, rest);
}

/// What the server answers about its groups, when the server behind one of them does not answer.
async fn groups_without(server: &ApiServer, group: &str) -> String {
    let ask = http::Request::get("/apis").header(
        "accept",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    );
    let mut groups: Value = server
        .client()
        .request(ask.body(Vec::new()).unwrap())
        .await
        .unwrap();
    let items = groups["items"].as_array_mut().unwrap();
    let group = items
        .iter_mut()
        .find(|item| item["metadata"]["name"] == group)
        .unwrap();
    group["versions"][0]["freshness"] = "Stale".into();
    groups.to_string()
}

#[tokio::test]
async fn an_aggregated_api_that_was_down_when_asked_what_it_serves_is_told() {
    let server = shelves();
    let whole = timed(&behind(&server, through).await).await.unwrap();
    let groups = groups_without(&server, "example.com").await;
    let engine = behind(&server, move |uri| match uri {
        "/apis" => Pass::Answer(groups.clone()),
        _ => Pass::Through,
    })
    .await;
    let done = timed(&engine).await.unwrap();
    let what = "the resources of example.com/v1 are not in the backup";
    let cause = "the server behind it does not answer";
    assert_eq!(done.lines(), [format!("message: /{what}: {cause}")]);
    let (mut items, mut rest) = (done.items, whole.items);
    assert_eq!(
        (take(&mut items, "books."), take(&mut rest, "books.")),
        (0, 36)
    );
    assert_eq!(items, rest);

    // Whoever asks for one of its kinds by name does not get it: that is more than a warning.
    for (spec, asked) in [
        (json!({"includedResources": ["pods", "cm"]}), None),
        (json!({"includedResources": ["*"]}), None),
        (
            json!({"includedResources": ["cm", "books"]}),
            Some("includedResources \"books\""),
        ),
        (
            json!({"includedNamespaceScopedResources": ["*.example.com"]}),
            Some("includedNamespaceScopedResources \"*.example.com\""),
        ),
        (
            json!({"includedClusterScopedResources": ["shelves.example.com"]}),
            Some("includedClusterScopedResources \"shelves.example.com\""),
        ),
    ] {
        let request = engine.request(&backup(spec.clone())).await.unwrap();
        let dry = engine
            .dry_run(&request, &velero_core::CancellationToken::new())
            .await
            .unwrap();
        let done = run_with(&engine, spec.clone()).await;
        let expected = match asked {
            None => format!("message: /{what}: {cause}"),
            Some(asked) => format!("error: /{what}, and {asked} may mean one of them: {cause}"),
        };
        assert_eq!(done.lines()[0], expected, "{spec}");
        assert_eq!(done.result.errors(), usize::from(asked.is_some()), "{spec}");
        for kinds in [&done.result.coverage.kinds, &dry.coverage.kinds] {
            let group = kinds.iter().find(|k| k.resource.resource == "*").unwrap();
            assert_eq!(
                format!("{} {}: {}", group.resource, group.version, group.reading),
                format!("*.example.com v1: not read: group example.com/v1 is unavailable: {cause}")
            );
            assert_eq!((group.found, group.incomplete_lists), (0, 1));
        }
    }
}

#[tokio::test]
async fn a_definition_that_is_deleted_while_its_objects_are_read_is_a_warning() {
    for page in [0, 1, 3] {
        let server = shelves();
        let engine = behind(&server, through).await;
        let whole = timed(&engine).await.unwrap();
        // What the server answers once the definition is gone.
        let gone = Fault::new(FaultAction::NotFound)
            .resource("books")
            .skip(page);
        server.faults().add(gone);
        let done = timed(&engine).await.unwrap();
        assert_eq!((done.result.warnings(), done.result.errors()), (1, 0));
        told(&done, "books.example.com", "not found");
        assert_eq!(count(&done, "books."), page as usize * PAGE);
        let (mut items, mut rest) = (done.items, whole.items);
        take(&mut items, "books.");
        take(&mut rest, "books.");
        assert_eq!(items, rest, "{page}");
    }
}

/// Between two pages: deletes one object, changes one that was read and one that was not, and makes two.
fn stir(server: &ApiServer) {
    let store = server.store();
    assert!(store.remove("v1", "ConfigMap", Some("shop"), "m025"));
    for name in ["m001", "m030"] {
        assert!(store.remove("v1", "ConfigMap", Some("shop"), name));
        let mut changed = map("shop", name, json!({"changed": "yes"}));
        changed["data"] = json!({"changed": "yes"});
        seed(server, changed);
    }
    for name in ["a-first", "z-last"] {
        seed(server, map("shop", name, json!({})));
    }
}

#[tokio::test]
async fn objects_that_change_while_they_are_read_are_stored_once_each() {
    for compacted in [false, true] {
        let server = shelves();
        let whole = timed(&behind(&server, through).await).await.unwrap();
        let (shared, done_once) = (server.clone(), AtomicUsize::new(0));
        let engine = behind(&server, move |uri| {
            let second = is_page(uri, "configmaps", false);
            if second && done_once.fetch_add(1, Ordering::SeqCst) == 0 {
                stir(&shared);
                if compacted {
                    shared.compact();
                }
            }
            Pass::Through
        });
        // That nothing is stored twice is checked when the archive is opened.
        let done = timed(&engine.await).await.unwrap();
        assert!(done.result.records.is_empty(), "{:?}", done.lines());
        if !compacted {
            assert!(done.archive == whole.archive, "the list is of one moment");
            continue;
        }
        let changing = ["m001", "m025", "m030", "a-first", "z-last"];
        let at = |name: &str| format!("configmaps/namespaces/shop/{name}");
        let (mut items, mut rest) = (done.items, whole.items);
        for name in ["m001", "m030"] {
            assert!(
                items.contains_key(&at(name)),
                "{name} was there all the time"
            );
        }
        for name in changing {
            items.remove(&at(name));
            rest.remove(&at(name));
        }
        assert_eq!(items, rest);
    }
}

#[tokio::test]
async fn what_an_item_refers_to_can_go_while_it_is_read() {
    let server = world();
    let shared = server.clone();
    let engine = behind(&server, move |uri| {
        if is_page(uri, "persistentvolumeclaims", true) {
            let store = shared.store();
            store.remove("v1", "PersistentVolumeClaim", Some("shop"), "data");
            store.remove("v1", "PersistentVolume", None, "pv-shop");
        }
        Pass::Through
    });
    let done = timed(&engine.await).await.unwrap();
    assert_eq!(done.result.errors(), 0, "{:?}", done.lines());
    assert!(done.has("pods/namespaces/shop/web") && done.has("pods/namespaces/bank/web"));
    assert!(!done.has("persistentvolumeclaims/namespaces/shop/data"));
    assert!(done.has("persistentvolumeclaims/namespaces/bank/data"));
}

#[tokio::test]
async fn a_server_that_answers_nobody_ends_the_run_within_some_calls() {
    for action in [
        FaultAction::TooManyRequests {
            retry_after_seconds: 3600,
        },
        FaultAction::ConnectionReset,
        FaultAction::Slow(Duration::from_secs(60)),
    ] {
        let server = shelves();
        let engine = behind(&server, through).await;
        let request = engine.request(&backup(json!({}))).await.unwrap();
        server.faults().add(Fault::new(action.clone()).skip(4));
        let began = Instant::now();
        let kept = Kept::default();
        let ended = tokio::time::timeout(DEADLINE, engine.run(&request, kept.clone(), run())).await;
        let error = ended.expect("the run ends").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cluster, "{action:?} {error}");
        assert!(
            began.elapsed() < CALL * 8,
            "{action:?} {:?}",
            began.elapsed()
        );
        assert!(!crate::faults::is_archive(&kept.bytes()));
    }
}
