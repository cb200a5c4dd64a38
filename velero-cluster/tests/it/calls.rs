use std::time::{Duration, Instant};

use velero_cluster::velero_core::action::ClusterReader as _;
use velero_cluster::velero_core::{CancellationToken, GroupResource, ResourceIdentifier, Selector};
use velero_cluster::{ClusterOptions, ErrorKind, LimiterOptions, WriteOptions, client_from};
use velero_testkit::{ApiServer, Fault, FaultAction};

use crate::{config_map, connect, connect_with, core, server_with};

#[tokio::test]
async fn retry_after_holds_all_calls_and_no_object_is_lost() {
    let server = server_with(&["a"], 0);
    let cluster = connect(&server).await;
    let maps = core(&cluster, "configmaps");
    server.faults().add(
        Fault::new(FaultAction::TooManyRequests {
            retry_after_seconds: 1,
        })
        .verb("create")
        .skip(5)
        .times(3),
    );
    let before = Instant::now();
    let creates = (0..40).map(|at| {
        let (cluster, maps) = (cluster.clone(), maps.clone());
        async move {
            let name = format!("n{at:02}");
            let body = config_map("a", &name, at).to_string();
            cluster
                .create(&maps, "a", &name, body.into(), &WriteOptions::default())
                .await
        }
    });
    let results = futures::future::join_all(creates).await;
    assert!(results.iter().all(Result::is_ok));
    assert!(before.elapsed() >= Duration::from_secs(1));
    let stats = cluster.limiter().stats();
    assert!(
        stats.throttled == 3 && (1..=3).contains(&stats.cuts) && stats.in_flight == 0,
        "{stats:?}"
    );
    assert_eq!(server.calls().count("create", "configmaps"), 43);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_ends_its_calls_and_sends_no_more() {
    let server = server_with(&["a"], 3);
    let (whole, token) = (connect(&server).await, CancellationToken::new());
    let cluster = whole.cancelled_by(token.clone(), Duration::from_secs(2));
    let maps = core(&cluster, "configmaps");
    let slow = FaultAction::Slow(Duration::from_secs(3600));
    server.faults().add(Fault::new(slow));
    let begun = tokio::time::Instant::now();
    let body = config_map("a", "new", 1).to_string();
    let options = WriteOptions::default();
    let cancel = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        token.cancel();
    };
    let write = cluster.create(&maps, "a", "new", body.into(), &options);
    let read = cluster.get(&maps, "a", "m0001");
    let (read, write, ()) = tokio::join!(read, write, cancel);
    assert_eq!(begun.elapsed(), Duration::from_secs(7));
    for (error, maybe_done) in [(read.unwrap_err(), false), (write.unwrap_err(), true)] {
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
        assert_eq!(error.maybe_done(), maybe_done, "{error}");
    }
    server.faults().clear();
    server.calls().reset();
    let error = cluster.get(&maps, "a", "m0001").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot get configmaps a/m0001: cancelled"
    );
    assert_eq!(server.calls().count("get", "configmaps"), 0);
    assert!(whole.get(&maps, "a", "m0001").await.unwrap().is_some());
    assert_eq!(cluster.limiter().stats().in_flight, 0);
}

#[tokio::test]
async fn never_more_calls_than_the_limit() {
    let server = server_with(&["a"], 30);
    let limiter = LimiterOptions::default().start(4).max(4);
    let cluster = connect_with(&server, ClusterOptions::default().limiter(limiter)).await;
    server
        .faults()
        .add(Fault::new(FaultAction::Slow(Duration::from_millis(20))).verb("get"));
    let maps = core(&cluster, "configmaps");
    let before = Instant::now();
    let gets = (0..30).map(|at| {
        let (cluster, maps) = (cluster.clone(), maps.clone());
        async move {
            let found = cluster.get(&maps, "a", &format!("m{at:04}")).await.unwrap();
            assert!(cluster.limiter().stats().in_flight <= 4);
            found.is_some()
        }
    });
    assert!(
        futures::future::join_all(gets)
            .await
            .into_iter()
            .all(|found| found)
    );
    assert!(before.elapsed() >= Duration::from_millis(20 * 30 / 4));
}

#[tokio::test]
async fn readers_for_actions() {
    let server = server_with(&["a", "b"], 4);
    let cluster = connect(&server).await;
    let reader = cluster.reader();
    let maps = GroupResource::core("configmaps");
    let found = reader
        .get(&ResourceIdentifier::namespaced(maps.clone(), "a", "m0001"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.str_at("/data/at"), "1");
    assert!(
        reader
            .get(&ResourceIdentifier::namespaced(maps.clone(), "a", "none"))
            .await
            .unwrap()
            .is_none()
    );
    let odd: Selector = "parity=odd".parse().unwrap();
    assert_eq!(reader.list(&maps, "a", &odd).await.unwrap().len(), 2);
    assert_eq!(reader.list(&maps, "", &odd).await.unwrap().len(), 4);
    let unserved = reader
        .list(&GroupResource::core("unicorns"), "", &odd)
        .await
        .unwrap_err();
    assert!(
        velero_cluster::velero_core::result::chain(&unserved).contains("does not serve unicorns")
    );
}

#[tokio::test]
async fn a_missing_object_is_not_a_missing_kind() {
    let server = ApiServer::new();
    let cluster = connect(&server).await;
    let mut unknown = core(&cluster, "configmaps");
    unknown.plural = "unicorns".into();
    let error = cluster.get(&unknown, "default", "x").await.unwrap_err();
    assert_eq!(error.kind(), velero_cluster::ErrorKind::Unserved);
}

#[tokio::test]
async fn nobody_there() {
    let config = velero_cluster::kube::Config::new("http://127.0.0.1:9".parse().unwrap());
    let client = client_from(config, "").unwrap();
    let options =
        ClusterOptions::default().timeouts(Duration::from_millis(300), Duration::from_millis(500));
    let error = velero_cluster::Cluster::connect_with(client, options)
        .await
        .unwrap_err();
    assert_eq!(
        error.kind(),
        velero_cluster::ErrorKind::Unreachable,
        "{error:?}"
    );
}

#[tokio::test]
async fn refusals_until_the_deadline_are_told_as_such() {
    let server = server_with(&["a"], 3);
    let options =
        ClusterOptions::default().timeouts(Duration::from_secs(5), Duration::from_millis(1500));
    let cluster = connect_with(&server, options).await;
    let maps = core(&cluster, "configmaps");
    for wait in [1, 3600] {
        server.faults().clear();
        server
            .faults()
            .add(Fault::new(FaultAction::TooManyRequests {
                retry_after_seconds: wait,
            }));
        // Each refusal holds the others back: at the end most of them wait for their turn, some from the beginning.
        let gets = (0..12).map(|at| {
            let (cluster, maps) = (cluster.clone(), maps.clone());
            async move {
                tokio::time::sleep(Duration::from_millis(130) * at).await;
                cluster.get(&maps, "a", "m0000").await.unwrap_err()
            }
        });
        for error in futures::future::join_all(gets).await {
            let line = error.to_string().to_lowercase();
            assert!(line.contains("too many requests"), "{wait}: {line}");
            assert_eq!(error.kind(), ErrorKind::TooManyRequests, "{wait}: {line}");
        }
    }
}

#[tokio::test]
async fn what_came_before_the_deadline_is_told() {
    let server = server_with(&["a"], 3);
    let options =
        ClusterOptions::default().timeouts(Duration::from_secs(5), Duration::from_millis(900));
    let cluster = connect_with(&server, options).await;
    server
        .faults()
        .add(Fault::new(FaultAction::Unavailable).verb("get").times(1));
    server
        .faults()
        .add(Fault::new(FaultAction::Slow(Duration::from_secs(5))).verb("get"));
    let maps = core(&cluster, "configmaps");
    let error = cluster.get(&maps, "a", "m0000").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let line = error.to_string();
    assert!(
        line.starts_with("cannot get configmaps a/m0000: no answer within 0.9 s; the try before: ")
            && line.contains("503"),
        "{line}"
    );
}
