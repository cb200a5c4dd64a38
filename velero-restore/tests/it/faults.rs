//! What goes wrong between a restore and its cluster or its archive: the run ends, all that can be restored is, once, and
//! the result says what is missing.

use std::collections::BTreeMap;
use std::io::Cursor;

use serde_json::{Value, json};
use velero_restore::{ErrorKind, RestoreRun};
use velero_testkit::{ApiServer, Fault, FaultAction};

use crate::common::*;
use crate::definitions::definition;

const OBJECTS: usize = 300;

/// Maps in several namespaces, and Services in the last wave.
fn world() -> Vec<Value> {
    let spaces = ["one", "two", "three"];
    let mut items: Vec<Value> = spaces.iter().map(|name| namespace(name)).collect();
    for n in 0..OBJECTS {
        items.push(config_map(spaces[n % 3], &format!("m{n}")));
    }
    for name in spaces {
        let mut service = object("v1", "Service", name, "web");
        service["spec"] = json!({"ports": [{"port": 80}]});
        items.push(service);
    }
    items
}

/// Every object of the archive is there, and none was created a second time.
fn assert_whole(server: &ApiServer, items: &[Value]) {
    for item in items {
        let text = |at: &str| item.pointer(at).and_then(Value::as_str);
        let (version, kind) = (text("/apiVersion").unwrap(), text("/kind").unwrap());
        let name = text("/metadata/name").unwrap();
        let live = server
            .store()
            .get(version, kind, text("/metadata/namespace"), name);
        let live = live.unwrap_or_else(|| panic!("{kind} {name} is missing"));
        assert_eq!(live.get("data"), item.get("data"), "{kind} {name}");
    }
}

#[tokio::test(start_paused = true)]
async fn storms_and_outages_in_the_middle_lose_nothing() {
    for (action, after) in [
        (
            FaultAction::TooManyRequests {
                retry_after_seconds: 1,
            },
            false,
        ),
        (FaultAction::Unavailable, false),
        (FaultAction::ConnectionReset, false),
        (FaultAction::ConnectionReset, true),
    ] {
        let server = ApiServer::new();
        let engine = engine(&server).await;
        // A restart refuses whatever comes for a while; some of it may have been carried out.
        let mut storm = Fault::new(action.clone()).skip(60).times(150);
        if matches!(action, FaultAction::Unavailable) {
            // Repeats of a write that fails by itself are counted: one object at a time meets it.
            storm = Fault::new(action.clone()).skip(60).times(2);
        }
        storm.after = after;
        server.faults().add(storm);
        let items = world();
        let result = run_items(&engine, &items).await;
        assert_clean(&result);
        assert_whole(&server, &items);
        assert_eq!(
            result.counts.created as usize,
            items.len(),
            "{action:?} {after}"
        );
        let mut uids = BTreeMap::new();
        for map in server.store().list("v1", "ConfigMap", None) {
            *uids.entry(map["metadata"]["uid"].to_string()).or_insert(0) += 1;
        }
        assert!(uids.values().all(|n| *n == 1));
    }
}

#[tokio::test]
async fn an_archive_that_is_cut_or_damaged_ends_the_run_before_anything_is_written() {
    let whole = archive(&world());
    let server = ApiServer::new();
    let engine = engine(&server).await;
    server.calls().reset();
    let request = request(json!({}));
    let mut refused = 0;
    let mut damaged: Vec<Vec<u8>> = (0..40)
        .map(|n| whole[..whole.len() * n / 40].to_vec())
        .collect();
    damaged.extend((1..20).map(|n| {
        let mut bytes = whole.clone();
        // Not in the header of the first member, whose time and name mean nothing.
        let at = 64 + (bytes.len() - 128) * n / 20;
        bytes[at] ^= 0x55;
        bytes
    }));
    let count = damaged.len();
    for bytes in damaged {
        let ended = engine
            .run(&request, Cursor::new(bytes), RestoreRun::default())
            .await;
        match ended {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Archive, "{error}");
                refused += 1;
            }
            Ok(result) => panic!("restored {} objects", result.counts.created),
        }
        assert_eq!(server.calls().writes().len(), 0);
    }
    assert_eq!(refused, count);
}

#[tokio::test]
async fn an_object_over_the_size_limit_is_an_error_that_names_it_and_stops_no_other() {
    let server = ApiServer::new();
    let mut big = config_map("default", "big");
    big["data"]["text"] = json!("x".repeat(4 << 20));
    let items = [config_map("default", "a"), big, config_map("default", "b")];
    let result = run_items(&engine(&server).await, &items).await;
    let errors = errors(&result);
    assert!(
        errors.len() == 1
            && errors[0].starts_with("default: resource: /configmaps name: /big")
            && errors[0].contains("limit is 3145728"),
        "{errors:?}"
    );
    assert_eq!(
        entries(&result, "v1/ConfigMap"),
        [
            "default/a(created)",
            "default/b(created)",
            "default/big(failed)"
        ]
    );
    // It is not sent again, and not asked for often.
    assert_eq!(server.calls().count("create", "configmaps"), 3);
}

#[tokio::test(start_paused = true)]
async fn an_object_over_the_limit_of_the_store_is_an_error_that_names_it_and_stops_no_other() {
    let server = ApiServer::new();
    let sized = |name: &str, kib: usize| {
        let mut book = object("library.example.com/v1", "Book", "default", name);
        book["spec"] = json!({"text": "x".repeat(kib * 1024)});
        book
    };
    let items = [
        definition(),
        sized("small", 1),
        sized("message", 2200),
        sized("request", 1700),
        sized("large", 1400),
    ];
    let result = run_items(&engine(&server).await, &items).await;
    let errors = errors(&result);
    let said = |name: &str, text: &str| {
        let named = errors.iter().find(|line| line.contains(name));
        named.is_some_and(|line| line.contains(text))
    };
    assert!(
        errors.len() == 2
            && said("name: /message ", "message larger than max")
            && said("name: /request ", "request is too large"),
        "{errors:?}"
    );
    assert_eq!(
        entries(&result, "library.example.com/v1/Book"),
        [
            "default/large(created)",
            "default/message(failed)",
            "default/request(failed)",
            "default/small(created)"
        ]
    );
    // A server that fails may do better the next time, but not for ever.
    let tried = server.calls().count("create", "books");
    assert!(tried <= 10, "{tried}");
}

#[tokio::test]
async fn kinds_that_are_served_elsewhere_are_named_with_where() {
    let server = ApiServer::new();
    let items = [
        object("extensions/v1beta1", "Deployment", "default", "a"),
        object("batch/v1beta1", "CronJob", "default", "b"),
        object("gone.example.com/v1", "Thing", "default", "c"),
        config_map("default", "d"),
    ];
    let result = run_items(&engine(&server).await, &items).await;
    let errors = errors(&result);
    assert_eq!(errors.len(), 3, "{errors:?}");
    for (error, expected) in errors.iter().zip([
        "name: /b error: /the cluster serves cronjobs.batch as batch/v1, not as batch/v1beta1",
        "name: /a error: /the cluster does not serve deployments.extensions as extensions/v1beta1; it serves Deployment as apps/v1",
        "name: /c error: /the cluster does not serve things.gone.example.com",
    ]) {
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(entries(&result, "v1/ConfigMap"), ["default/d(created)"]);
}

/// A refusal of one kind for good does not keep the others from being restored in time.
#[tokio::test(start_paused = true)]
async fn an_outage_that_does_not_end_is_told_for_each_object() {
    let server = ApiServer::new();
    let engine = engine(&server).await;
    server.faults().add(
        Fault::new(FaultAction::InternalError)
            .verb("create")
            .resource("configmaps")
            .namespace("one"),
    );
    let items = world();
    let result = run_items(&engine, &items).await;
    assert_eq!(errors(&result).len(), OBJECTS / 3);
    assert_eq!(result.counts.failed as usize, OBJECTS / 3);
    assert_eq!(result.counts.created as usize, items.len() - OBJECTS / 3);
}
