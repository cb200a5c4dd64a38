//! Runs that do not come to their end: nothing that looks like an archive is left, and nothing goes on in the dark.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use velero_backup::{ArchiveSink, BackupEngine, BackupOptions, ErrorKind};
use velero_core::action::{ActionError, BackupOutcome};
use velero_core::{CancellationToken, ItemTree};
use velero_testkit::ApiServer;

use crate::acting::on;
use crate::faults::is_archive;
use crate::gate::{Pass, behind};
use crate::support::*;

const DEADLINE: Duration = Duration::from_secs(20);

/// Numbers that look random, the same for the same seed.
struct Random(u64);

impl Random {
    /// Seeded by `VELERO_TEST_SEED`, else by the time; the seed is printed.
    fn new() -> Self {
        let seed = std::env::var("VELERO_TEST_SEED").ok();
        let seed = seed.and_then(|text| text.parse().ok()).unwrap_or_else(|| {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            since.unwrap().as_nanos() as u64
        });
        eprintln!("VELERO_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }
}

/// The small cluster, and maps whose content does not compress: the archive leaves in many pieces.
fn noisy() -> ApiServer {
    let (server, mut noise) = (world(), Random(7));
    for at in 0..300 {
        let mut noisy = map("shop", &format!("n{at:03}"), json!({}));
        let text: String = (0..120)
            .map(|_| format!("{:016x}", noise.below(u64::MAX)))
            .collect();
        noisy["data"] = json!({ "noise": text });
        seed(&server, noisy);
    }
    server
}

/// A place for an archive that is visible only once it is complete, and that something happens to at some byte.
#[derive(Clone)]
struct Place {
    bytes: Arc<Mutex<Vec<u8>>>,
    visible: Arc<AtomicBool>,
    /// At which byte, and what.
    at: usize,
    event: Event,
}

#[derive(Clone)]
enum Event {
    /// The disk is full.
    Fails,
    /// Somebody cancels the run.
    Cancels(CancellationToken),
}

impl Place {
    fn new(at: usize, event: Event) -> Self {
        let (bytes, visible) = Default::default();
        Self {
            bytes,
            visible,
            at,
            event,
        }
    }

    fn written(&self) -> usize {
        self.bytes.lock().unwrap().len()
    }

    /// Whether readers of the store find an archive.
    fn shows(&self) -> bool {
        self.visible.load(Ordering::SeqCst)
    }

    fn happens(&self, written: usize) -> io::Result<()> {
        match &self.event {
            Event::Fails if written > self.at => Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "the disk is full",
            )),
            Event::Cancels(cancel) if written > self.at => {
                cancel.cancel();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl ArchiveSink for Place {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        assert!(!self.shows(), "the archive was complete");
        self.happens(self.written() + bytes.len())?;
        self.bytes.lock().unwrap().extend_from_slice(bytes);
        Ok(())
    }

    fn complete(&mut self) -> io::Result<()> {
        self.happens(self.written() + 1)?;
        self.visible.store(true, Ordering::SeqCst);
        Ok(())
    }
}

/// Nothing is visible, what was written is no archive, and no more is written.
async fn nothing_is_left(place: &Place, what: &str) {
    let written = place.written();
    assert!(!place.shows(), "{what}: an archive shows");
    assert!(
        !is_archive(&place.bytes.lock().unwrap()),
        "{what}: it could be read"
    );
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(
        place.written(),
        written,
        "{what}: something is still being written"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_at_any_byte_gets_no_archive() {
    let engine = engine(&noisy()).await;
    let whole = run_with(&engine, json!({})).await.archive.len();
    let request = engine.request(&backup(json!({}))).await.unwrap();
    assert!(whole > 200_000, "{whole}");
    for at in [
        0,
        1,
        511,
        whole / 4,
        whole / 2,
        whole * 3 / 4,
        whole - 1,
        whole,
    ] {
        let place = Place::new(at, Event::Fails);
        let ended =
            tokio::time::timeout(DEADLINE, engine.run(&request, place.clone(), run())).await;
        let error = ended.expect("the run ends").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Sink, "{at}");
        let text = velero_core::result::chain(&error);
        assert!(text.contains("the disk is full"), "{at}: {text}");
        if at < whole {
            nothing_is_left(&place, &format!("byte {at} of {whole}")).await;
        }
        assert!(!place.shows());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_are_cancelled_at_random_points_leave_no_archive() {
    let (server, mut random) = (noisy(), Random::new());
    let calls = Arc::new(AtomicUsize::new(0));
    // The call at which the run is cancelled.
    let point: Arc<Mutex<(usize, CancellationToken)>> = Arc::default();
    let (counter, cancelling) = (Arc::clone(&calls), Arc::clone(&point));
    let engine = behind(&server, move |_| {
        let (at, cancel) = cancelling.lock().unwrap().clone();
        if counter.fetch_add(1, Ordering::SeqCst) == at {
            cancel.cancel();
        }
        Pass::Through
    });
    let engine = engine.await;
    let request = engine.request(&backup(json!({}))).await.unwrap();
    *point.lock().unwrap() = (usize::MAX, CancellationToken::new());
    calls.store(0, Ordering::SeqCst);
    let whole = Place::new(usize::MAX, Event::Fails);
    engine.run(&request, whole.clone(), run()).await.unwrap();
    let (all_calls, all_bytes) = (calls.load(Ordering::SeqCst), whole.written());
    let mut cancelled = 0;
    for turn in 0..20 {
        let cancel = CancellationToken::new();
        let (call, byte) = if turn % 2 == 0 {
            (random.below(all_calls as u64) as usize, usize::MAX)
        } else {
            (usize::MAX, random.below(all_bytes as u64) as usize)
        };
        let what = format!("turn {turn}: call {call} of {all_calls}, byte {byte} of {all_bytes}");
        *point.lock().unwrap() = (call, cancel.clone());
        calls.store(0, Ordering::SeqCst);
        let place = Place::new(byte, Event::Cancels(cancel.clone()));
        let began = Instant::now();
        let work = engine.run(&request, place.clone(), run().cancel(cancel.clone()));
        let ended = tokio::time::timeout(DEADLINE, work)
            .await
            .expect("the run ends");
        assert!(
            cancel.is_cancelled() && began.elapsed() < DEADLINE / 2,
            "{what}"
        );
        match ended {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Cancelled, "{what}: {error}");
                nothing_is_left(&place, &what).await;
                cancelled += 1;
            }
            // The last piece was on its way.
            Ok(_) => assert!(
                place.shows() && *place.bytes.lock().unwrap() == *whole.bytes.lock().unwrap(),
                "{what}"
            ),
        }
    }
    assert!(
        cancelled >= 10,
        "only {cancelled} runs were cancelled before their end"
    );
}

fn impatient(engine: BackupEngine) -> BackupEngine {
    let options = BackupOptions::default().action_timeout(Duration::from_millis(100));
    engine.options(options)
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_that_never_return_cost_their_deadlines_and_nothing_else() {
    let server = noisy();
    let plain = run_with(&engine(&server).await, json!({})).await;
    let stuck = on("cm", |_: ItemTree| async {
        std::future::pending::<()>().await;
        Err(ActionError::new("never"))
    });
    let engine = impatient(engine(&server).await).action(stuck);
    let began = Instant::now();
    let done = tokio::time::timeout(DEADLINE, run_with(&engine, json!({})));
    let done = done.await.expect("the run ends");
    // 16 at a time.
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(done.items, plain.items);
    let maps = done.of(&["configmaps"]).len();
    assert_eq!(done.result.errors(), maps);
    assert!(
        done.lines()
            .iter()
            .all(|line| line.contains("no answer within 0.1 s"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_action_that_holds_its_thread_does_not_hold_the_run() {
    let server = world();
    let plain = run_with(&engine(&server).await, json!({})).await;
    let busy = on("cm", |item: ItemTree| async move {
        if item.name() == "plain" && item.namespace() == "shop" {
            // No point at which it could be ended.
            std::thread::sleep(Duration::from_secs(4));
        }
        Ok(BackupOutcome::unchanged())
    });
    let engine = impatient(engine(&server).await).action(busy);
    let began = Instant::now();
    let done = run_with(&engine, json!({})).await;
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(done.items, plain.items);
    assert_eq!(done.result.errors(), 1, "{:?}", done.lines());
}
