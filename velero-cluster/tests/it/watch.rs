use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use velero_cluster::{Change, ErrorKind, ListScope, Watch};
use velero_testkit::{Fault, FaultAction};

use crate::{connect, core, seed, server_with};

/// What these tests read of an object.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Named {
    metadata: Metadata,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Metadata {
    name: String,
}

async fn next(watch: &mut Watch<Named>) -> (bool, String) {
    match watch.next().await.unwrap().unwrap() {
        Change::Present(named) => (true, named.metadata.name),
        Change::Left(named) => (false, named.metadata.name),
    }
}

#[tokio::test]
async fn what_is_there_comes_first_and_changes_follow() {
    let server = server_with(&["a", "b"], 3);
    let cluster = connect(&server).await;
    let maps = core(&cluster, "configmaps");
    let scope = ListScope::namespace("a").labels("parity=even".parse().unwrap());
    let limit = Duration::from_secs(60);
    let mut watch = cluster.watch::<Named>(&maps, &scope, limit).await.unwrap();
    let mut there = [next(&mut watch).await, next(&mut watch).await];
    there.sort();
    assert_eq!(there, [(true, "m0000".into()), (true, "m0002".into())]);
    seed(
        &server,
        json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": "a", "name": "odd", "labels": {"parity": "odd"}}}),
    );
    seed(
        &server,
        json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": "a", "name": "new", "labels": {"parity": "even"}}}),
    );
    assert_eq!(next(&mut watch).await, (true, "new".to_owned()));
    let gone = server.store();
    gone.remove("v1", "ConfigMap", Some("a"), "m0000");
    assert_eq!(next(&mut watch).await, (false, "m0000".to_owned()));
    assert_eq!(server.calls().count("watch", "configmaps"), 1);
}

#[tokio::test]
async fn watches_end_by_their_limit_and_say_what_is_wrong() {
    let server = server_with(&["a"], 0);
    let cluster = connect(&server).await;
    let maps = core(&cluster, "configmaps");
    let scope = ListScope::namespace("a").labels("parity=none".parse().unwrap());
    let second = Duration::from_secs(1);
    let mut watch = cluster.watch::<Named>(&maps, &scope, second).await.unwrap();
    assert_eq!(watch.next().await.unwrap(), None);
    for (action, kind) in [
        (FaultAction::Forbidden, ErrorKind::Forbidden),
        (FaultAction::ConnectionReset, ErrorKind::Unreachable),
        (FaultAction::Gone, ErrorKind::Gone),
    ] {
        let fault = Fault::new(action.clone()).verb("watch").times(1);
        server.faults().add(fault);
        let refused = cluster.watch::<Named>(&maps, &scope, second).await;
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(
            error
                .to_string()
                .starts_with("cannot watch configmaps in namespace a: "),
            "{error}"
        );
    }
}
