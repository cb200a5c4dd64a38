//! What goes wrong on the way, and that it stays where it happened.

use std::io::Cursor;
use std::time::Duration;

use serde_json::json;
use velero_core::GroupResource;
use velero_core::archive::{ArchiveWriter, ArchiveWriterOptions, ItemPath};
use velero_restore::{ArchiveIndex, ErrorKind, RestoreRun};
use velero_testkit::{ApiServer, Fault, FaultAction};

use crate::common::*;

fn maps(n: usize) -> Vec<serde_json::Value> {
    (0..n)
        .map(|n| config_map("default", &format!("m{n}")))
        .collect()
}

#[tokio::test]
async fn an_item_that_is_no_object_stops_no_other() {
    let server = ApiServer::new();
    let mut writer = ArchiveWriter::new(Vec::new(), ArchiveWriterOptions::default()).unwrap();
    let path = |name: &str| ItemPath::new(GroupResource::core("configmaps"), "default", name);
    add(&mut writer, &path("broken"), b"{not json");
    add(&mut writer, &path("bare"), b"{}");
    add(
        &mut writer,
        &path("good"),
        config_map("default", "good").to_string().as_bytes(),
    );
    let result = restore_bytes(&server, writer.finish().unwrap(), &request(json!({}))).await;
    let errors = errors(&result);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[1]
            .starts_with("default: resource: /configmaps name: /broken error: /cannot be decoded"),
        "{errors:?}"
    );
    assert_eq!(entries(&result, "v1/ConfigMap"), ["default/good(created)"]);
}

#[tokio::test]
async fn of_two_entries_with_one_path_the_later_counts() {
    let server = ApiServer::new();
    let mut later = config_map("default", "a");
    later["data"] = json!({"key": "later"});
    let result = restore(&server, &[config_map("default", "a"), later], json!({})).await;
    assert_clean(&result);
    assert_eq!(
        server
            .store()
            .get("v1", "ConfigMap", Some("default"), "a")
            .unwrap()["data"],
        json!({"key": "later"})
    );
    assert_eq!(result.counts.total, 1);
}

#[tokio::test]
async fn one_refusal_stops_no_other() {
    let server = ApiServer::new();
    server.faults().add(
        Fault::new(FaultAction::Forbidden)
            .verb("create")
            .resource("configmaps")
            .name("m1"),
    );
    let result = restore(&server, &maps(3), json!({})).await;
    let errors = errors(&result);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].starts_with(
            "default: resource: /configmaps name: /m1 error: /cannot create configmaps default/m1"
        ),
        "{errors:?}"
    );
    assert_eq!(
        entries(&result, "v1/ConfigMap"),
        [
            "default/m0(created)",
            "default/m1(failed)",
            "default/m2(created)"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn load_shedding_and_failures_that_pass_are_waited_out() {
    for action in [
        FaultAction::TooManyRequests {
            retry_after_seconds: 1,
        },
        FaultAction::InternalError,
        FaultAction::Unavailable,
        FaultAction::ConnectionReset,
    ] {
        let server = ApiServer::new();
        server.faults().add(
            Fault::new(action.clone())
                .verb("create")
                .resource("configmaps")
                .times(2),
        );
        let result = restore(&server, &maps(5), json!({})).await;
        assert_clean(&result);
        assert_eq!(result.counts.created, 5, "{action:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_is_lost_counts_as_created() {
    let server = ApiServer::new();
    server.faults().add(
        Fault::new(FaultAction::ConnectionReset)
            .verb("create")
            .resource("configmaps")
            .times(2)
            .after(),
    );
    let mut items = maps(4);
    // Several owners: the second call is due although the answer to the first was lost.
    items[0]["metadata"]["managedFields"] = json!([
        managed("one", json!({"f:data": {".": {}, "f:key": {}}})),
        managed("two", json!({"f:data": {"f:key": {}}}))
    ]);
    let result = restore(&server, &items, json!({})).await;
    assert_clean(&result);
    assert_eq!(result.counts.created, 4);
    let live = server
        .store()
        .get("v1", "ConfigMap", Some("default"), "m0")
        .unwrap();
    assert_eq!(
        live["metadata"]["managedFields"].as_array().unwrap().len(),
        2
    );
}

#[tokio::test]
async fn an_invalid_object_is_an_error_with_the_servers_words() {
    let server = ApiServer::new();
    let mut map = config_map("default", "a");
    map["metadata"]["name"] = json!("Not_A_Name");
    let result = restore(&server, &[map], json!({})).await;
    let errors = errors(&result);
    assert!(errors.len() == 1 && errors[0].contains("422"), "{errors:?}");
}

#[tokio::test]
async fn managed_fields_are_set_in_spite_of_others() {
    let server = ApiServer::new();
    server.faults().add(
        Fault::new(FaultAction::Conflict)
            .verb("patch")
            .resource("configmaps")
            .times(2),
    );
    let mut map = config_map("default", "a");
    map["metadata"]["managedFields"] = json!([
        managed("one", json!({"f:data": {".": {}}})),
        managed("two", json!({"f:data": {"f:key": {}}}))
    ]);
    let result = restore(&server, std::slice::from_ref(&map), json!({})).await;
    assert_clean(&result);
    let live = server
        .store()
        .get("v1", "ConfigMap", Some("default"), "a")
        .unwrap();
    assert_eq!(
        live["metadata"]["managedFields"].as_array().unwrap().len(),
        2,
        "{live}"
    );
    let server = ApiServer::new();
    server.faults().add(
        Fault::new(FaultAction::Conflict)
            .verb("patch")
            .resource("configmaps"),
    );
    let result = restore(&server, &[map], json!({})).await;
    let warnings = warnings(&result);
    assert!(
        warnings.len() == 1 && warnings[0].contains("managed fields are not set"),
        "{warnings:?}"
    );
    assert_eq!(entries(&result, "v1/ConfigMap"), ["default/a(created)"]);
}

#[tokio::test]
async fn a_spool_folder_that_is_missing_ends_the_run() {
    let server = ApiServer::new();
    let options = options().spool_dir("/nowhere/at/all").spool_memory(0);
    let engine = engine(&server).await.options(options);
    let error = engine
        .run(
            &request(json!({})),
            Cursor::new(archive(&maps(1))),
            RestoreRun::default(),
        )
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Spool);
}

#[tokio::test]
async fn items_in_a_file_are_restored_like_those_in_memory() {
    let items = maps(2000);
    let folder = tempfile::TempDir::new().unwrap();
    let files = || std::fs::read_dir(folder.path()).unwrap().count();
    for (memory, in_file) in [(16 << 20, false), (0, true)] {
        let options = options().spool_memory(memory);
        let with_folder = options.clone().spool_dir(folder.path());
        let bytes = Cursor::new(archive(&items));
        let selected = request(json!({}));
        let (_, spool) = ArchiveIndex::read(bytes, selected.selectors(), &with_folder).unwrap();
        // One file at most, and that without a name: nothing is unpacked.
        assert_eq!((spool.is_on_disk(), files()), (in_file, 0));

        let server = ApiServer::new();
        let engine = engine(&server).await;
        let result = run_items(&engine.clone().options(with_folder), &items).await;
        assert_clean(&result);
        assert_eq!((result.counts.created, files()), (2000, 0));
        for item in &items {
            let name = item["metadata"]["name"].as_str().unwrap();
            let map = server.store().get("v1", "ConfigMap", Some("default"), name);
            assert_eq!(map.unwrap()["data"], item["data"], "{name}");
        }

        // A folder that is not there is missed only where a file is needed.
        let nowhere = options.spool_dir(folder.path().join("nowhere"));
        let engine = engine.options(nowhere);
        let bytes = Cursor::new(archive(&items));
        let again = engine.run(&selected, bytes, RestoreRun::default()).await;
        assert_eq!(again.is_err(), in_file, "{:?}", again.err());
    }
}

#[tokio::test]
async fn many_bytes_in_flight_are_held_back() {
    let server = ApiServer::new();
    server.faults().add(
        Fault::new(FaultAction::Slow(Duration::from_millis(5)))
            .verb("create")
            .resource("configmaps"),
    );
    let mut items = maps(30);
    for item in &mut items {
        item["data"]["big"] = json!("x".repeat(200_000));
    }
    let mut options = options();
    options.bytes_in_flight = 300_000;
    let engine = engine(&server).await.options(options);
    let result = run_items(&engine, &items).await;
    assert_eq!(result.counts.created, 30);
}
