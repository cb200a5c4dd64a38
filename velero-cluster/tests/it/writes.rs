use bytes::Bytes;
use serde_json::json;
use velero_cluster::{DeleteOptions, ErrorKind, PatchKind, WriteOptions};
use velero_testkit::{Fault, FaultAction};

use crate::{config_map, connect, connect_with, core, server_with, short};

fn body(name: &str) -> Bytes {
    config_map("a", name, 1).to_string().into()
}

#[tokio::test]
async fn writes_name_their_field_manager() {
    let server = server_with(&["a"], 0);
    let cluster = connect(&server).await;
    let maps = core(&cluster, "configmaps");
    let options = WriteOptions::default();
    let made = cluster
        .create(&maps, "a", "x", body("x"), &options)
        .await
        .unwrap();
    assert!(!made.head().uid.is_empty());
    let patch = json!({"data": {"k": "v"}}).to_string();
    let patched = cluster
        .patch(
            &maps,
            "a",
            "x",
            PatchKind::Merge,
            None,
            patch.into(),
            &options.clone().field_manager("me"),
        )
        .await
        .unwrap();
    assert_eq!(patched.tree().unwrap().str_at("/data/k"), "v");
    let patch = json!([{"op": "remove", "path": "/data/k"}]).to_string();
    cluster
        .patch(
            &maps,
            "a",
            "x",
            PatchKind::Json,
            None,
            patch.into(),
            &options,
        )
        .await
        .unwrap();
    cluster
        .replace(&maps, "a", "x", body("x"), &options)
        .await
        .unwrap();
    let managers = server.calls().field_managers();
    assert_eq!((managers["velero-server"], managers["me"]), (3, 1));
    assert!(
        cluster
            .delete(&maps, "a", "x", &DeleteOptions::default())
            .await
            .unwrap()
    );
    assert!(
        !cluster
            .delete(&maps, "a", "x", &DeleteOptions::default())
            .await
            .unwrap()
    );
    assert!(cluster.get(&maps, "a", "x").await.unwrap().is_none());
}

#[tokio::test]
async fn dry_runs_change_nothing() {
    let server = server_with(&["a"], 0);
    let cluster = connect(&server).await;
    let maps = core(&cluster, "configmaps");
    cluster
        .create(
            &maps,
            "a",
            "x",
            body("x"),
            &WriteOptions::default().dry_run(true),
        )
        .await
        .unwrap();
    assert!(cluster.get(&maps, "a", "x").await.unwrap().is_none());
}

#[tokio::test]
async fn a_cluster_of_dry_runs_writes_nothing_whatever_the_options_say() {
    let server = server_with(&["a"], 1);
    let real = connect(&server).await;
    let maps = core(&real, "configmaps");
    let name = "m0000";
    let cluster = real.dry_run(real.catalog());
    assert!(cluster.is_dry_run() && !real.is_dry_run());
    let (before, options) = (server.store().resource_version(), WriteOptions::default());
    server.calls().reset();
    let created = cluster.create(&maps, "a", "x", body("x"), &options).await;
    created.unwrap();
    let (patch, kind) = (r#"{"data":{"k":"v"}}"#.into(), PatchKind::Merge);
    let patched = cluster
        .patch(&maps, "a", name, kind, None, patch, &options)
        .await;
    assert_eq!(patched.unwrap().tree().unwrap().str_at("/data/k"), "v");
    let delete = DeleteOptions::default();
    assert!(cluster.delete(&maps, "a", name, &delete).await.unwrap());
    let command = velero_cluster::ExecOptions::new(["true"]);
    let refused = cluster.exec("a", "p", &command).await.unwrap_err();
    assert!(refused.to_string().contains("are not run"), "{refused}");
    assert_eq!(server.store().resource_version(), before);
    assert_eq!(server.calls().total(), 3);
}

#[tokio::test]
async fn status_is_replaced_alone() {
    let server = server_with(&["a"], 0);
    let cluster = connect(&server).await;
    let pods = core(&cluster, "pods");
    let pod = |phase: &str, image: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "a"},
            "spec": {"containers": [{"name": "c", "image": image}]}, "status": {"phase": phase}})
        .to_string()
    };
    cluster
        .create(
            &pods,
            "a",
            "p",
            pod("Pending", "one").into(),
            &WriteOptions::default(),
        )
        .await
        .unwrap();
    let after = cluster
        .replace_status(
            &pods,
            "a",
            "p",
            pod("Running", "two").into(),
            &WriteOptions::default(),
        )
        .await
        .unwrap();
    let tree = after.tree().unwrap();
    assert_eq!(
        (
            tree.str_at("/status/phase"),
            tree.str_at("/spec/containers/0/image")
        ),
        ("Running", "one")
    );
}

#[tokio::test]
async fn refusals_have_kinds() {
    let server = server_with(&["a"], 1);
    let cluster = connect(&server).await;
    let maps = core(&cluster, "configmaps");
    let options = WriteOptions::default();
    let exists = cluster
        .create(&maps, "a", "m0000", body("m0000"), &options)
        .await
        .unwrap_err();
    assert_eq!(
        (exists.kind(), exists.maybe_done()),
        (ErrorKind::AlreadyExists, false)
    );
    assert!(
        exists
            .to_string()
            .starts_with("cannot create configmaps a/m0000: "),
        "{exists}"
    );
    let missing = cluster
        .create(
            &maps,
            "nowhere",
            "x",
            config_map("nowhere", "x", 1).to_string().into(),
            &options,
        )
        .await
        .unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
    let invalid = cluster
        .create(
            &maps,
            "a",
            "Not A Name",
            config_map("a", "Not A Name", 1).to_string().into(),
            &options,
        )
        .await
        .unwrap_err();
    assert_eq!(invalid.kind(), ErrorKind::Invalid, "{invalid}");
    let mut stale = config_map("a", "m0000", 1);
    stale["metadata"]["resourceVersion"] = "1".into();
    let conflict = cluster
        .replace(&maps, "a", "m0000", stale.to_string().into(), &options)
        .await
        .unwrap_err();
    assert_eq!(conflict.kind(), ErrorKind::Conflict, "{conflict}");
    let none = cluster
        .replace(&maps, "a", "gone", body("gone"), &options)
        .await
        .unwrap_err();
    assert_eq!(none.kind(), ErrorKind::NotFound, "{none}");
}

#[tokio::test]
async fn a_lost_answer_to_a_create_is_told_apart_from_a_stranger() {
    let server = server_with(&["a"], 0);
    let cluster = connect(&server).await;
    let maps = core(&cluster, "configmaps");
    server.faults().add(
        Fault::new(FaultAction::ConnectionReset)
            .verb("create")
            .times(1)
            .after(),
    );
    let error = cluster
        .create(&maps, "a", "x", body("x"), &WriteOptions::default())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.maybe_done()),
        (ErrorKind::AlreadyExists, true)
    );
    // Lost before it was carried out: the repeat creates it.
    server.faults().clear();
    server.faults().add(
        Fault::new(FaultAction::ConnectionReset)
            .verb("create")
            .times(1),
    );
    assert!(
        cluster
            .create(&maps, "a", "y", body("y"), &WriteOptions::default())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn what_cannot_be_told_apart_is_sent_once() {
    let server = server_with(&["a"], 1);
    let cluster = connect_with(&server, short()).await;
    let maps = core(&cluster, "configmaps");
    server
        .faults()
        .add(Fault::new(FaultAction::ConnectionReset));
    let generated = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "x-", "namespace": "a"}}).to_string();
    let error = cluster
        .create(&maps, "a", "", generated.into(), &WriteOptions::default())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.maybe_done()),
        (ErrorKind::Unreachable, true)
    );
    let patch = json!([{"op": "add", "path": "/data/x", "value": "y"}]).to_string();
    assert!(
        cluster
            .patch(
                &maps,
                "a",
                "m0000",
                PatchKind::Json,
                None,
                patch.into(),
                &WriteOptions::default()
            )
            .await
            .is_err()
    );
    assert_eq!(server.calls().total(), 2);
}

#[tokio::test]
async fn a_webhook_that_always_fails_does_not_hold_a_create_for_long() {
    let server = server_with(&["a"], 0);
    let cluster = connect(&server).await;
    server
        .faults()
        .add(Fault::new(FaultAction::InternalError).verb("create"));
    let error = cluster
        .create(
            &core(&cluster, "configmaps"),
            "a",
            "x",
            body("x"),
            &WriteOptions::default(),
        )
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(server.calls().count("create", "configmaps"), 3);
}

#[tokio::test]
async fn a_write_that_breaks_its_connection_each_time_does_not_hold_for_long() {
    let server = server_with(&["a"], 1);
    let cluster = connect(&server).await;
    let maps = core(&cluster, "configmaps");
    let breaks = |verb| {
        Fault::new(FaultAction::ConnectionReset)
            .verb(verb)
            .resource("configmaps")
    };
    let begun = std::time::Instant::now();
    for verb in ["create", "patch"] {
        server.faults().add(breaks(verb).times(u64::MAX));
        let options = WriteOptions::default();
        let ended = match verb {
            "create" => cluster.create(&maps, "a", "x", body("x"), &options).await,
            _ => {
                let patch = json!({"data": {"k": "v"}}).to_string().into();
                let merge = PatchKind::Merge;
                cluster
                    .patch(&maps, "a", "x", merge, None, patch, &options)
                    .await
            }
        };
        let error = ended.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(error.maybe_done());
        let text = format!("{error:?}");
        assert!(
            text.contains("the api server answers other calls"),
            "{text}"
        );
        assert_eq!(server.calls().count(verb, "configmaps"), 4);
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(10));
}

#[tokio::test]
async fn terminating_namespaces_are_told_apart() {
    let server = velero_testkit::ApiServer::builder()
        .namespace_delay(std::time::Duration::from_secs(600))
        .build();
    crate::seed(
        &server,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}),
    );
    let cluster = connect(&server).await;
    cluster
        .delete(
            &core(&cluster, "namespaces"),
            "",
            "a",
            &DeleteOptions::default(),
        )
        .await
        .unwrap();
    let error = cluster
        .create(
            &core(&cluster, "configmaps"),
            "a",
            "x",
            body("x"),
            &WriteOptions::default(),
        )
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Terminating, "{error}");
}

/// The name is the caller's to tell: a body is not read before it is sent.
#[tokio::test]
async fn an_error_of_a_create_has_the_callers_name() {
    let server = server_with(&["a"], 0);
    let cluster = connect(&server).await;
    let error = cluster
        .create(
            &core(&cluster, "configmaps"),
            "a",
            "broken",
            Bytes::from_static(b"{"),
            &WriteOptions::default(),
        )
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot create configmaps a/broken: "),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_answered_well_since_a_loss_means_its_refusals() {
    let server = server_with(&["a"], 0);
    let cluster = connect(&server).await;
    let maps = core(&cluster, "configmaps");
    let create = |name: &'static str| {
        let (cluster, maps) = (cluster.clone(), maps.clone());
        async move {
            let options = WriteOptions::default();
            cluster.create(&maps, "a", name, body(name), &options).await
        }
    };
    let reset = Fault::new(FaultAction::ConnectionReset).verb("create");
    server.faults().add(reset.times(1));
    create("x").await.unwrap();
    server
        .faults()
        .add(Fault::new(FaultAction::Forbidden).verb("create"));
    server.calls().reset();
    let error = create("y").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert_eq!(server.calls().count("create", "configmaps"), 1);
}

/// A server that has just started knows no roles yet.
#[tokio::test(start_paused = true)]
async fn refusals_of_a_server_that_may_have_just_started_are_not_believed_at_once() {
    for (lost, refused, times, expected) in [
        (1, FaultAction::Forbidden, Some(5), Ok(6)),
        (1, FaultAction::Unauthorized, Some(5), Ok(6)),
        // Nothing was lost: it means what it says.
        (
            0,
            FaultAction::Forbidden,
            Some(1),
            Err(ErrorKind::Forbidden),
        ),
        // Nor does it start for ever.
        (1, FaultAction::Forbidden, None, Err(ErrorKind::Forbidden)),
    ] {
        let server = server_with(&["a"], 0);
        let cluster = connect(&server).await;
        let maps = core(&cluster, "configmaps");
        let reset = Fault::new(FaultAction::ConnectionReset).verb("create");
        server.faults().add(reset.times(lost));
        let mut refusal = Fault::new(refused.clone()).verb("create");
        refusal.times = times;
        server.faults().add(refusal);
        let begun = tokio::time::Instant::now();
        let made = cluster
            .create(&maps, "a", "x", body("x"), &WriteOptions::default())
            .await;
        let calls = server.calls().count("create", "configmaps");
        let ended = made.map(|_| calls).map_err(|error| error.kind());
        assert_eq!(ended, expected, "{lost} {refused:?} {times:?}");
        assert!(begun.elapsed() < std::time::Duration::from_secs(40));
    }
}
