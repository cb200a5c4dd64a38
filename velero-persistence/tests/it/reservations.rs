//! Names that writers left behind, and writers that only seem to be gone.

use std::process::{Command, Stdio};
use std::time::Duration;

use hyper::StatusCode;
use velero_core::Timestamp;
use velero_persistence::{BackupFile, BackupStore, Claimant, Error, ErrorKind, ProcessId, PutMode};

use crate::Fixture;

const LEASE: Duration = Duration::from_secs(600);

/// A writer of which only the lease can tell whether it lives.
fn far(holder: &str) -> Claimant {
    Claimant::new(holder).lease(LEASE).process(None)
}

fn start() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

fn after(seconds: i64) -> Timestamp {
    Timestamp::from_second(start().as_second() + seconds).unwrap()
}

async fn stores() -> [Fixture; 3] {
    [
        crate::memory().await,
        crate::filesystem().await,
        crate::s3().await,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_has_run_out_is_taken_over() {
    for f in stores().await {
        let store = BackupStore::new(f.store.clone());
        let dead = store.reserve("b", &far("dead"), start()).await.unwrap();
        assert_eq!(dead.taken_over(), None);
        store
            .put_packed(&BackupFile::Contents.of("b"), "half".into())
            .await
            .unwrap();

        let err = store
            .reserve("b", &far("early"), after(600))
            .await
            .unwrap_err();
        assert_eq!(err.kind(), ErrorKind::AlreadyExists);
        assert!(
            err.to_string().contains(
                "is being written by \"dead\" (last sign of life at 2026-11-22T10:00:00Z, free after \
                 2026-11-22T10:10:00Z if there is no other); wait for it"
            ),
            "{err}"
        );

        let next = store.reserve("b", &far("next"), after(601)).await.unwrap();
        assert_eq!(
            next.taken_over(),
            Some("\"dead\": its last sign of life was at 2026-11-22T10:00:00Z")
        );
        let names: Vec<_> = store
            .store()
            .list("backups/b/")
            .await
            .unwrap()
            .into_iter()
            .map(|entry| entry.key)
            .collect();
        assert_eq!(
            names,
            ["backups/b/x-velero-reservation.json"],
            "no leftovers"
        );

        // The one that was taken for dead notices, and does no harm.
        let lost = dead.renew(after(602)).await.unwrap_err();
        assert!(matches!(lost, Error::ReservationLost { .. }), "{lost}");
        assert!(lost.to_string().contains("\"next\" has taken it"), "{lost}");
        assert!(dead.release(after(602)).await.is_err());
        assert_eq!(
            store.reservation("b").await.unwrap().as_deref(),
            Some("next")
        );
        next.renew(after(603)).await.unwrap();
        next.release(after(604)).await.unwrap();
        assert!(store.list_backups().await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signs_of_life_keep_a_name() {
    for f in stores().await {
        let store = BackupStore::new(f.store.clone());
        let alive = store.reserve("b", &far("alive"), start()).await.unwrap();
        for minute in 1..=3 {
            alive.renew(after(minute * 300)).await.unwrap();
            let late = store
                .reserve("b", &far("late"), after(minute * 300 + 300))
                .await;
            assert!(late.is_err());
        }
        alive.release(after(1000)).await.unwrap();
        store.reserve("b", &far("late"), after(1000)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_backup_is_never_taken_over() {
    for f in stores().await {
        let store = BackupStore::new(f.store.clone());
        store.reserve("b", &far("dead"), start()).await.unwrap();
        store
            .put_metadata("b", "{}".into(), PutMode::Create)
            .await
            .unwrap();
        let err = store
            .reserve("b", &far("next"), after(9000))
            .await
            .unwrap_err();
        assert!(matches!(err, Error::BackupExists { .. }), "{err}");
        assert!(store.backup_exists("b").await.unwrap());
    }
}

/// Of two that want to add to a backup one does, and neither removes anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_complete_backup_is_changed_by_one_at_a_time() {
    for f in stores().await {
        let store = BackupStore::new(f.store.clone());
        let none = store.reserve_complete("b", &far("one"), start()).await;
        assert_eq!(none.unwrap_err().kind(), ErrorKind::NotFound);
        assert!(store.list_backups().await.unwrap().is_empty());
        store
            .put_packed(&BackupFile::Contents.of("b"), "whole".into())
            .await
            .unwrap();
        store
            .put_metadata("b", "{}".into(), PutMode::Create)
            .await
            .unwrap();

        let one = store
            .reserve_complete("b", &far("one"), start())
            .await
            .unwrap();
        let two = store.reserve_complete("b", &far("two"), after(60)).await;
        assert!(
            matches!(two, Err(Error::BackupReserved { ref holder, .. }) if holder == "one"),
            "{two:?}"
        );
        let again = store
            .reserve_complete("b", &far("one"), after(60))
            .await
            .unwrap();
        assert!(one.renew(after(61)).await.is_err());
        again.renew(after(61)).await.unwrap();
        let late = store
            .reserve_complete("b", &far("two"), after(662))
            .await
            .unwrap();
        assert!(late.taken_over().is_some());
        late.release(after(663)).await.unwrap();
        let keys: Vec<_> = store
            .store()
            .list("backups/b/")
            .await
            .unwrap()
            .into_iter()
            .map(|entry| entry.key)
            .collect();
        assert_eq!(keys, ["backups/b/b.tar.gz", "backups/b/velero-backup.json"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_of_an_unknown_writer_stays() {
    for f in stores().await {
        let store = BackupStore::new(f.store.clone());
        let key = "backups/b/x-velero-reservation.json";
        let mark = r#"{"holder":"somebody"}"#;
        store.store().put(key, mark.into()).await.unwrap();
        let err = store
            .reserve("b", &far("next"), after(99_999_999))
            .await
            .unwrap_err();
        assert!(
            err.to_string().contains("written by \"somebody\"; wait"),
            "{err}"
        );
        // Its own holder may go on.
        let own = store.reserve("b", &far("somebody"), start()).await.unwrap();
        assert!(own.taken_over().is_some());
        own.release(start()).await.unwrap();
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_process_of_this_machine_is_taken_over_at_once() {
    for f in stores().await {
        let store = BackupStore::new(f.store.clone());
        let mut child = Command::new("sleep")
            .arg("60")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // What the other process would write about itself.
        let mut seen = serde_json::to_value(ProcessId::current()).unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let began = stat
            .rsplit_once(") ")
            .unwrap()
            .1
            .split(' ')
            .nth(19)
            .unwrap();
        seen["pid"] = child.id().into();
        seen["began"] = began.into();
        let process: ProcessId = serde_json::from_value(seen).unwrap();
        let other = Claimant::new("other").process(Some(process));
        store.reserve("b", &other, start()).await.unwrap();

        let err = store
            .reserve("b", &far("next"), after(1))
            .await
            .unwrap_err();
        assert!(
            err.to_string()
                .contains(&format!("(process {}", child.id())),
            "{err}"
        );
        child.kill().unwrap();
        child.wait().unwrap();
        let next = store.reserve("b", &far("next"), after(1)).await.unwrap();
        assert!(
            next.taken_over().unwrap().ends_with("has ended"),
            "{:?}",
            next.taken_over()
        );
    }
}

/// Many writers find the same dead one; one of them gets the name.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_takes_a_name_over() {
    let f = crate::filesystem().await;
    let store = BackupStore::new(f.store.clone());
    for round in 0..10 {
        let backup = format!("b{round}");
        store.reserve(&backup, &far("dead"), start()).await.unwrap();
        let tries = (0..8).map(|at| {
            let (store, backup) = (store.clone(), backup.clone());
            tokio::spawn(async move {
                let claimant = far(&format!("writer-{at}"));
                store.reserve(&backup, &claimant, after(601)).await
            })
        });
        let mut winners = Vec::new();
        for outcome in futures::future::join_all(tries).await {
            match outcome.unwrap() {
                Ok(won) => winners.push(won),
                Err(err) => assert_eq!(err.kind(), ErrorKind::AlreadyExists, "{err}"),
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        winners[0].renew(after(602)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn takeovers_on_s3_are_conditional() {
    let f = crate::s3().await;
    let server = f._server.as_ref().unwrap();
    let store = BackupStore::new(f.store.clone());
    store.reserve("b", &far("dead"), start()).await.unwrap();
    let from = server.script.lock().unwrap().requests.len();
    let next = store.reserve("b", &far("next"), after(601)).await.unwrap();
    next.renew(after(602)).await.unwrap();
    {
        let script = server.script.lock().unwrap();
        let conditions: Vec<&str> = script.requests[from..]
            .iter()
            .zip(&script.headers[from..])
            .filter(|(line, _)| line.starts_with("PUT "))
            .map(|(_, headers)| {
                ["if-none-match", "if-match"]
                    .into_iter()
                    .find(|name| headers.contains_key(*name))
                    .unwrap_or("none")
            })
            .collect();
        assert_eq!(conditions, ["if-none-match", "if-match", "if-match"]);
    }
    // Somebody else is faster: the store refuses, and nothing is overwritten.
    server.script.lock().unwrap().code = "PreconditionFailed";
    server.script.lock().unwrap().only = Some("PUT ".to_owned());
    server.script.lock().unwrap().faults = [StatusCode::PRECONDITION_FAILED; 9].into();
    let late = store.reserve("b", &far("late"), after(9000)).await;
    assert_eq!(late.unwrap_err().kind(), ErrorKind::AlreadyExists);
    server.script.lock().unwrap().faults.clear();
    assert_eq!(
        store.reservation("b").await.unwrap().as_deref(),
        Some("next")
    );
}

#[tokio::test]
async fn what_is_discarded_leaves_the_mark_alone_and_nothing_of_writes_that_broke_off() {
    let folder = tempfile::TempDir::new().unwrap();
    let url = format!("file://{}", folder.path().display());
    let location = velero_persistence::Location::from_url(&url).unwrap();
    let store = BackupStore::open(&location).await.unwrap();
    let claim = store.reserve("b", &far("one"), start()).await.unwrap();
    let log = BackupFile::Logs.of("b");
    store.put_text(&log, b"half").await.unwrap();
    let dir = folder.path().join("backups/b");
    std::fs::write(dir.join(".velero-0123.partial"), "half").unwrap();
    store.discard("b").await.unwrap();
    let names: Vec<_> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    let key = BackupStore::reservation_key("b");
    assert_eq!(names, [key.rsplit('/').next().unwrap()]);
    claim.renew(start()).await.unwrap();
    claim.release(start()).await.unwrap();
    assert!(!store.store().exists(&key).await.unwrap());
}
