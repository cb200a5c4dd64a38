//! Backups that are cancelled, or whose future is dropped, at random points: in a folder and in S3 no part of an
//! archive is to be found afterwards.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;
use velero_core::CancellationToken;
use velero_persistence::{Environment, Location};

use super::s3::{ACCESS_KEY, S3Server, SECRET_KEY};
use super::store_faults::{Bench, Plan, Random, noisy};
use crate::program::files;

/// Longest time for a run, and for what is cleaned up behind one that was dropped.
const DEADLINE: Duration = Duration::from_secs(30);

const TURNS: u64 = 20;

/// Parts of objects below a folder: temporary files, and those of an upload, which the S3 server keeps beside its bucket.
fn parts(folder: &Path) -> Vec<String> {
    let is_part = |path: &String| {
        let name = path.rsplit('/').next().unwrap_or_default();
        name.starts_with(".upload") || name.ends_with(".partial")
    };
    files(folder).into_iter().filter(is_part).collect()
}

/// Buckets for backups below one folder, one for each turn: what a dropped run has under way ends in its own.
struct Place<'a> {
    root: &'a Path,
    locate: &'a dyn Fn(&str) -> Location,
    bucket: String,
}

impl Place<'_> {
    fn turn(&mut self, name: &str) -> Location {
        self.bucket = format!("turn-{name}");
        std::fs::create_dir(self.root.join(&self.bucket)).unwrap();
        (self.locate)(&self.bucket)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root.join(&self.bucket).join("backups/b").join(name)
    }

    /// The archive as readers find it.
    fn archive(&self) -> Option<Vec<u8>> {
        std::fs::read(self.file("b.tar.gz")).ok()
    }

    /// Whether readers find a backup.
    fn has_metadata(&self) -> bool {
        self.file("velero-backup.json").is_file()
    }

    async fn no_parts(&self, what: &str) {
        let began = Instant::now();
        while !parts(self.root).is_empty() {
            assert!(began.elapsed() < DEADLINE, "{what}: {:?}", parts(self.root));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Behind a run that was dropped there is nothing, or a whole archive, if its last byte was on its way. A call that
    /// was under way is given the time to end.
    async fn settles(&self, whole: &[u8], what: &str) {
        let began = Instant::now();
        loop {
            let archive = self.archive();
            let is_whole = archive.as_deref() == Some(whole);
            // Only dropped behind the metadata, while the claim is given back, the backup is complete.
            if is_whole || (archive.is_none() && !self.has_metadata()) {
                return;
            }
            let size = archive.map(|bytes| bytes.len());
            assert!(
                began.elapsed() < DEADLINE,
                "{what}: {size:?} of {} bytes",
                whole.len()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Seeded by `VELERO_TEST_SEED`, else by the time; the seed is part of what a failure says.
fn seed() -> u64 {
    let seed = std::env::var("VELERO_TEST_SEED").ok();
    seed.and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.unwrap().as_nanos() as u64
    })
}

async fn end_at_random_points(bench: &Bench, mut place: Place<'_>) {
    let seed = seed();
    let (mut random, calls) = (Random(seed), Arc::new(AtomicU64::new(0)));
    let never = CancellationToken::new();
    let plan = Plan::CancelsAt(u64::MAX, never.clone());
    let location = place.turn("whole");
    let run = bench.prepare(&location, plan, never, &calls).await;
    run.await.unwrap();
    let (all, whole) = (calls.load(Ordering::SeqCst), place.archive().unwrap());
    let mut ended_early = 0;
    for turn in 0..TURNS {
        let location = place.turn(&turn.to_string());
        let (at, dropped) = (random.below(all), turn % 2 == 1);
        let what =
            format!("VELERO_TEST_SEED={seed}, turn {turn}: call {at} of {all}, dropped: {dropped}");
        let trigger = CancellationToken::new();
        let cancel = if dropped {
            CancellationToken::new()
        } else {
            trigger.clone()
        };
        let plan = Plan::CancelsAt(at, trigger.clone());
        calls.store(0, Ordering::SeqCst);
        let run = bench.prepare(&location, plan, cancel, &calls).await;
        let done = tokio::select! {
            biased;
            () = trigger.cancelled(), if dropped => false,
            ended = tokio::time::timeout(DEADLINE, run) => ended.expect("the run ends").is_ok(),
        };
        place.no_parts(&what).await;
        let archive = place.archive();
        if done {
            assert!(
                archive == Some(whole.clone()) && place.has_metadata(),
                "{what}"
            );
            continue;
        }
        ended_early += 1;
        if dropped {
            place.settles(&whole, &what).await;
        } else {
            assert!(
                archive.is_none(),
                "{what}: {} bytes",
                archive.unwrap_or_default().len()
            );
        }
    }
    assert!(ended_early >= TURNS / 2, "{ended_early} of {TURNS}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_part_of_an_archive_is_left_in_a_folder() {
    let folder = TempDir::new().unwrap();
    let bench = Bench::of(noisy(400, 240)).await;
    let root = folder.path();
    let locate = |bucket: &str| {
        let url = format!("file://{}", root.join(bucket).display());
        Location::from_url(&url).unwrap()
    };
    let place = Place {
        root,
        locate: &locate,
        bucket: String::new(),
    };
    end_at_random_points(&bench, place).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_part_of_an_archive_is_left_in_s3() {
    let s3 = S3Server::start().await;
    // More than a part of an upload holds.
    let bench = Bench::of(noisy(12, 60_000)).await;
    let keys = [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
    ];
    let keys: Environment = keys.into_iter().collect();
    let bucket = s3.bucket();
    let locate = |bucket: &str| Location::from_url_in(&s3.url(bucket, ""), &keys).unwrap();
    let place = Place {
        root: bucket.parent().unwrap(),
        locate: &locate,
        bucket: String::new(),
    };
    end_at_random_points(&bench, place).await;
}
