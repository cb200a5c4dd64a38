//! Backups that are made again and again.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use velero_bin::server::Settings;
use velero_core::api::{Backup, BackupPhase, Schedule, SchedulePhase};
use velero_testkit::{Fault, FaultAction};

use super::world::{Ahead, World, eventually, folder, settings};

const HOUR: i64 = 3600;
/// Many looks at each schedule.
const A_WHILE: Duration = Duration::from_millis(600);

/// A cluster with a location, an operator, and the clock that it goes by.
struct Clocked {
    world: World,
    ahead: Ahead,
    _folder: TempDir,
}

async fn started(settings: Settings) -> Clocked {
    let (folder, ahead) = (folder(), Ahead::default());
    let settings = Settings {
        clock: ahead.clock(),
        schedule_period: Duration::from_millis(50),
        zone: jiff::tz::TimeZone::fixed(jiff::tz::offset(2)),
        ..settings
    };
    let world = World::with_settings(folder.path(), settings).await;
    world.seed_shop("shop");
    Clocked {
        world,
        ahead,
        _folder: folder,
    }
}

fn schedule(name: &str, own: Value) -> Value {
    let mut spec = json!({"schedule": "@every 1h", "template": {"includedNamespaces": ["shop"]}});
    spec.as_object_mut()
        .unwrap()
        .extend(own.as_object().unwrap().clone());
    json!({"metadata": {"name": name}, "spec": spec})
}

impl Clocked {
    async fn backups(&self) -> Vec<Backup> {
        let all = self.world.kind::<Backup>().list(&Default::default()).await;
        all.unwrap().items
    }

    async fn enabled(&self, name: &str) -> Schedule {
        let is = |schedule: &Schedule| *schedule.phase() == SchedulePhase::Enabled;
        self.world.wait::<Schedule>(name, "is enabled", is).await
    }

    /// Waits until there are so many backups, all ended, and the schedule knows of the last one; none comes after them.
    async fn made(&self, name: &str, count: usize) -> Vec<Backup> {
        let all = eventually(async || {
            let all = self.backups().await;
            let ended = all.iter().all(|backup| backup.phase().is_terminal());
            (all.len() >= count && ended).then_some(all)
        });
        all.await
            .unwrap_or_else(|| panic!("{count} backups were never made"));
        self.world
            .wait::<Schedule>(name, "notes its backup", |s| s.status.last_backup.is_some())
            .await;
        tokio::time::sleep(A_WHILE).await;
        let all = self.backups().await;
        assert_eq!(
            all.len(),
            count,
            "{:?}",
            all.iter().map(|b| &b.metadata.name).collect::<Vec<_>>()
        );
        all
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_made_when_it_is_due_and_not_before() {
    let clocked = started(settings()).await;
    let world = &clocked.world;
    let mut nightly = schedule("nightly", json!({"useOwnerReferencesInBackup": true}));
    nightly["metadata"]["labels"] = json!({"team": "shop"});
    nightly["metadata"]["annotations"] = json!({"note": "mine"});
    let made: Schedule = world.create(nightly).await;
    clocked.enabled("nightly").await;
    world
        .wait_metric("velero_backup_attempt_total{schedule=\"nightly\"} 0")
        .await;
    world.api.calls().reset();
    clocked.ahead.set(HOUR - 10);
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(clocked.backups().await, []);
    let patches = world.api.calls().count("patch", "schedules");
    assert_eq!(patches, 0, "what stays as it is is not written");

    clocked.ahead.set(HOUR + 1);
    let backup = clocked.made("nightly", 1).await.remove(0);
    assert_eq!(
        *backup.phase(),
        BackupPhase::Completed,
        "{:?}",
        backup.status
    );
    let name = backup.metadata.name.unwrap();
    let local = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(3);
    let expected = format!("nightly-{}", local.strftime("%Y%m%d"));
    assert!(
        name.starts_with(&expected) && name.len() == "nightly-20261123104500".len(),
        "{name}"
    );
    assert_eq!(backup.spec.included_namespaces, ["shop"]);
    let labels = backup.metadata.labels.unwrap();
    assert_eq!(
        (
            labels["team"].as_str(),
            labels["velero.io/schedule-name"].as_str()
        ),
        ("shop", "nightly")
    );
    let annotations = backup.metadata.annotations.unwrap();
    assert_eq!(annotations["note"], "mine");
    let due: jiff::Timestamp = annotations["x.velero.io/due"].parse().unwrap();
    let created = made.metadata.creation_timestamp.unwrap().0;
    assert_eq!(due, created + jiff::SignedDuration::from_hours(1));
    let owner = &backup.metadata.owner_references.unwrap()[0];
    assert_eq!(
        (&owner.uid, owner.controller),
        (&made.metadata.uid.unwrap(), Some(true))
    );
    world
        .wait_metric("velero_backup_success_total{schedule=\"nightly\"} 1")
        .await;

    // Five missed hours are one backup.
    clocked.ahead.set(6 * HOUR + 10);
    clocked.made("nightly", 2).await;
    let noted = world.get::<Schedule>("nightly").await.unwrap();
    assert!(noted.status.last_backup.unwrap().0 > due + jiff::SignedDuration::from_hours(4));
    assert_eq!(noted.spec.skip_immediately, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paused_or_at_fault_waits_until_it_is_not() {
    let clocked = started(settings()).await;
    let world = &clocked.world;
    world
        .create::<Schedule>(schedule("paused", json!({"paused": true})))
        .await;
    world
        .create::<Schedule>(schedule("wrong", json!({"schedule": "0 25 * * *"})))
        .await;
    let is = |schedule: &Schedule| *schedule.phase() == SchedulePhase::FailedValidation;
    let wrong = world.wait::<Schedule>("wrong", "is at fault", is).await;
    let error = &wrong.status.validation_errors[0];
    assert!(
        error.starts_with("spec.schedule: ") && error.contains("25"),
        "{error}"
    );
    clocked.ahead.set(2 * HOUR);
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(clocked.backups().await, []);

    world
        .patch::<Schedule>("paused", json!({"spec": {"paused": false}}))
        .await;
    clocked.made("paused", 1).await;
    world
        .patch::<Schedule>("wrong", json!({"spec": {"schedule": "@every 1h"}}))
        .await;
    let all = clocked.made("wrong", 2).await;
    assert!(
        all.iter()
            .all(|backup| *backup.phase() == BackupPhase::Completed)
    );
    assert_eq!(
        clocked.enabled("wrong").await.status.validation_errors,
        [""; 0]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_schedule_leaves_its_own_first_run_out() {
    let skipping = Settings {
        skip_immediately: true,
        ..settings()
    };
    let clocked = started(skipping).await;
    clocked.ahead.set(2 * HOUR);
    let world = &clocked.world;
    for (name, own) in [
        ("one", json!({})),
        ("two", json!({})),
        ("not", json!({"skipImmediately": false})),
    ] {
        world.create::<Schedule>(schedule(name, own)).await;
    }
    for name in ["one", "two"] {
        let skipped = world
            .wait::<Schedule>(name, "has left one out", |s| {
                s.status.last_skipped.is_some()
            })
            .await;
        assert_eq!(skipped.spec.skip_immediately, Some(false));
    }
    let backup = clocked.made("not", 1).await.remove(0);
    assert!(backup.metadata.name.unwrap().starts_with("not-"));
    assert!(
        world
            .get::<Schedule>("not")
            .await
            .unwrap()
            .status
            .last_skipped
            .is_none()
    );
    // It is one run that is left out.
    clocked.ahead.set(4 * HOUR);
    for name in ["one", "two"] {
        world
            .wait::<Schedule>(name, "has made one", |s| s.status.last_backup.is_some())
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_note_was_lost_is_not_made_again() {
    let clocked = started(settings()).await;
    let world = &clocked.world;
    world
        .create::<Schedule>(schedule("nightly", json!({})))
        .await;
    clocked.enabled("nightly").await;
    // It is more than a second until the note is written: a second backup would have another name.
    let lost = Fault::new(FaultAction::Unavailable)
        .verb("patch")
        .resource("schedules")
        .times(4);
    world.api.faults().add(lost);
    clocked.ahead.set(HOUR + 1);
    let backup = clocked.made("nightly", 1).await.remove(0);
    assert_eq!(world.api.faults().acted(), [4]);
    let noted = world.get::<Schedule>("nightly").await.unwrap();
    let annotations = backup.metadata.annotations.unwrap();
    let due: jiff::Timestamp = annotations["x.velero.io/due"].parse().unwrap();
    assert!(noted.status.last_backup.unwrap().0 >= due);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_being_read_holds_the_next_one_back() {
    let clocked = started(settings()).await;
    let world = &clocked.world;
    world
        .create::<Schedule>(schedule("nightly", json!({})))
        .await;
    clocked.enabled("nightly").await;
    let slow = Fault::new(FaultAction::Slow(Duration::from_secs(3))).verb("list");
    world.api.faults().add(slow.resource("configmaps"));
    clocked.ahead.set(HOUR + 1);
    let running = eventually(async || {
        let all = clocked.backups().await;
        all.into_iter()
            .find(|backup| *backup.phase() == BackupPhase::InProgress)
    });
    running.await.expect("the backup never ran");
    clocked.ahead.set(3 * HOUR);
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(clocked.backups().await.len(), 1);
    clocked.made("nightly", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_series_of_a_schedule_go_with_it() {
    let clocked = started(settings()).await;
    let world = &clocked.world;
    for (name, paused) in [("paused", true), ("active", false)] {
        world
            .create::<Schedule>(schedule(name, json!({"paused": paused})))
            .await;
        clocked.enabled(name).await;
        world
            .wait_metric(&format!(
                "velero_backup_last_status{{schedule=\"{name}\"}} 1"
            ))
            .await;
        world.delete::<Schedule>(name).await;
        let of = format!("\"{name}\"");
        let gone = eventually(async || (!world.metrics().contains(&of)).then_some(())).await;
        assert!(gone.is_some(), "{}", world.metrics());
    }
}
