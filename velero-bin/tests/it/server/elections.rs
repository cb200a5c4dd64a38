//! Several servers, of which one acts.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::json;
use velero_bin::logfile::{LogOptions, RunLogs};
use velero_bin::server::{LeaderElection, Server, Settings};
use velero_core::api::{Backup, BackupPhase, Restore, RestorePhase};
use velero_testkit::{Fault, FaultAction};

use super::world::{NAMESPACE, World, eventually, files, folder, settings};

fn rules(identity: &str) -> LeaderElection {
    LeaderElection {
        duration: Duration::from_secs(2),
        acts_for: Duration::from_millis(1200),
        retry: Duration::from_millis(100),
        ..LeaderElection::new(identity)
    }
}

/// A server whose calls are known by its name.
async fn start(world: &World, rules: LeaderElection) -> Server {
    let client = world.api.client_with_user_agent(&rules.identity);
    let settings = Settings {
        metrics_address: None,
        leader_election: Some(rules),
        ..settings()
    };
    let logs = RunLogs::install(&LogOptions::default());
    Server::start(client, settings, logs).await.unwrap()
}

async fn lease(world: &World) -> Option<Lease> {
    let api: Api<Lease> = Api::namespaced(world.api.client(), NAMESPACE);
    api.get_opt("velero-server").await.unwrap()
}

/// Waits until a server has the Lease.
async fn leads(world: &World, identity: &str) {
    let found = eventually(async || {
        let spec = lease(world).await?.spec?;
        (spec.holder_identity.as_deref() == Some(identity)).then_some(())
    });
    assert!(
        found.await.is_some(),
        "{identity} never led: {:?}",
        lease(world).await
    );
}

/// Calls of a server, but for those about the Lease.
fn calls_of(world: &World, server: &str) -> usize {
    let log = world.api.calls().log();
    let of = log
        .iter()
        .filter(|call| call.user_agent.as_deref() == Some(server));
    of.filter(|call| call.resource != "leases").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_acts_and_another_takes_over_when_it_stops() {
    let folder = folder();
    let world = World::empty();
    world.seed_shop("shop");
    world.add_folder("default", folder.path()).await;
    let one = start(&world, rules("one")).await;
    leads(&world, "one").await;
    let two = start(&world, rules("two")).await;
    world.api.calls().reset();
    world.back_up("b1", &["shop"]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(calls_of(&world, "two"), 0, "{:?}", world.api.calls().log());
    assert!(one.stop().await);
    let began = std::time::Instant::now();
    leads(&world, "two").await;
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "it was given back"
    );
    world.api.calls().reset();
    world.back_up("b2", &["shop"]).await;
    assert_eq!(calls_of(&world, "one"), 0);
    let spec = lease(&world).await.unwrap().spec.unwrap();
    assert_eq!(spec.lease_transitions, Some(1));
    assert!(two.stop().await);
    assert_eq!(
        lease(&world)
            .await
            .unwrap()
            .spec
            .unwrap()
            .holder_identity
            .as_deref(),
        Some("")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_renew_ends_and_what_it_did_is_taken_up() {
    let folder = folder();
    let world = World::empty();
    world.seed_shop("shop");
    world.add_folder("default", folder.path()).await;
    let mut one = start(&world, rules("one")).await;
    leads(&world, "one").await;
    world.back_up("done", &["shop"]).await;
    let slow = |verb: &str| {
        let slow = Fault::new(FaultAction::Slow(Duration::from_secs(8))).verb(verb);
        world.api.faults().add(slow.resource("configmaps").times(1));
    };
    slow("list");
    let spec = json!({"includedNamespaces": ["shop"]});
    world
        .create::<Backup>(json!({"metadata": {"name": "b"}, "spec": spec}))
        .await;
    let lists = eventually(async || (world.api.faults().acted() == [1]).then_some(()));
    assert!(lists.await.is_some());
    slow("create");
    let spec = json!({"backupName": "done", "namespaceMapping": {"shop": "new"}});
    world
        .create::<Restore>(json!({"metadata": {"name": "r"}, "spec": spec}))
        .await;
    let creates = eventually(async || (world.api.faults().acted() == [1, 1]).then_some(()));
    assert!(creates.await.is_some());
    let two = start(&world, rules("two")).await;
    let silent = Fault::new(FaultAction::Unavailable)
        .verb("update")
        .resource("leases");
    world.api.faults().add(silent.times(u64::MAX));
    let error = tokio::time::timeout(Duration::from_secs(10), one.broken())
        .await
        .unwrap();
    assert!(
        error.to_string().contains("does not lead any more"),
        "{error}"
    );
    world.api.calls().reset();
    one.stop().await;
    // What was under way when the fence was shut may come to its end; nothing more is begun.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(calls_of(&world, "one"), 0, "{:?}", world.api.calls().log());
    let left = world.get::<Backup>("b").await.unwrap();
    assert_eq!(
        *left.phase(),
        BackupPhase::InProgress,
        "it could not write how it ended: {:?}",
        left.status
    );

    world.api.faults().clear();
    leads(&world, "two").await;
    let ended = world.backup_ended("b").await;
    assert_eq!(*ended.phase(), BackupPhase::Completed, "{:?}", ended.status);
    let attempts = ended.metadata.annotations.unwrap();
    assert_eq!(attempts["x.velero.io/attempt"], "2");
    let tidy = eventually(async || {
        (files(&folder.path().join("bucket/backups/b")).len() == 9).then_some(())
    });
    assert!(tidy.await.is_some(), "{:?}", files(folder.path()));
    let ended = world.restore_ended("r").await;
    assert_eq!(
        *ended.phase(),
        RestorePhase::Completed,
        "{:?}",
        ended.status
    );
    assert_eq!(calls_of(&world, "one"), 0);
    assert!(two.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_takes_its_own_lease_back_at_once() {
    let world = World::empty();
    let hour = |identity: &str| LeaderElection {
        duration: Duration::from_secs(3600),
        ..rules(identity)
    };
    let killed = start(&world, hour("pod-0")).await;
    leads(&world, "pod-0").await;
    drop(killed);
    let before = lease(&world).await.unwrap().metadata.annotations;
    let again = start(&world, hour("pod-0")).await;
    let taken = eventually(async || {
        let now = lease(&world).await?.metadata.annotations;
        (now != before).then_some(())
    });
    assert!(taken.await.is_some());
    // Another one waits.
    let other = start(&world, hour("pod-1")).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    leads(&world, "pod-0").await;
    assert!(other.stop().await && again.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_may_not_be_read_is_told_with_what_helps() {
    let world = World::empty();
    world.api.faults().add(
        Fault::new(FaultAction::Forbidden)
            .verb("get")
            .resource("leases")
            .times(u64::MAX),
    );
    let mut server = start(&world, rules("one")).await;
    let error = tokio::time::timeout(Duration::from_secs(10), server.broken())
        .await
        .unwrap();
    let text = error.to_string();
    assert!(
        text.contains("Lease \"velero-server\"") && text.contains("--leader-elect=false"),
        "{text}"
    );
}
