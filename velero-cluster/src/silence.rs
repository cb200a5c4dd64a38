//! Whether the API server says anything at all, and how long calls wait for one that does not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::Target;

/// Silence after which it is told, once.
const TELL_AFTER: Duration = Duration::from_secs(15);

/// How many ms may pass from one answer to another until the later one is noted.
const GRAIN: u64 = 50;

/// What the calls of one cluster know of their server's silence. Clones share it.
///
/// A call has its full time, until one has waited all of it for a server that said nothing to anybody. From then on calls
/// get a short time, those under way too, and any answer gives them the full time back.
#[derive(Debug, Clone)]
pub(crate) struct Silence {
    /// Full time of a call.
    total: Duration,
    /// Time of a call while the server is taken for silent.
    short: Duration,
    /// Silence that counts for a verdict.
    least: Duration,
    ears: Arc<Mutex<Ears>>,
    /// When anything came last, as far as it is told without a lock: in ms since the beginning, and 1 more.
    lately: Arc<AtomicU64>,
    beginning: Instant,
    verdict: Arc<watch::Sender<Option<Verdict>>>,
}

#[derive(Debug, Default)]
struct Ears {
    /// When anything came last.
    heard: Option<Instant>,
    /// Whether the present silence has been told.
    told: bool,
}

/// A call has waited in vain for all of its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Verdict {
    /// When the silence began, as far as anybody was listening.
    since: Instant,
    /// When the first call gave up.
    first: Instant,
    /// When the last one did.
    last: Instant,
}

impl Silence {
    pub(crate) fn new(total: Duration, attempt: Duration, short: Duration) -> Self {
        Self {
            total,
            short: short.min(total),
            least: attempt.min(total) / 2,
            ears: Arc::default(),
            lately: Arc::default(),
            beginning: Instant::now(),
            verdict: Arc::new(watch::Sender::new(None)),
        }
    }

    fn ears(&self) -> MutexGuard<'_, Ears> {
        self.ears.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something came from the server. It is noted to the nearest [`GRAIN`].
    pub(crate) fn heard(&self) {
        let ms = u64::try_from(self.beginning.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        // Whoever takes the server for silent has set it to zero.
        let lately = self.lately.load(Ordering::Acquire);
        if lately != 0 && ms.saturating_sub(lately) < GRAIN {
            return;
        }
        self.lately.store(ms, Ordering::Release);
        let told = {
            let mut ears = self.ears();
            ears.heard = Some(Instant::now());
            std::mem::take(&mut ears.told)
        };
        if told {
            tracing::info!("the API server answers again");
        }
        self.verdict
            .send_if_modified(|found| found.take().is_some());
    }

    /// The verdict that holds; one that nobody has confirmed for the full time of a call is out of date.
    fn verdict(&self) -> Option<Verdict> {
        let verdict = *self.verdict.borrow();
        verdict.filter(|verdict| verdict.last.elapsed() < self.total)
    }

    /// The end of a call that began at `begun`, as things are now.
    pub(crate) fn deadline(&self, begun: Instant) -> Instant {
        let full = begun + self.total;
        match self.verdict() {
            Some(verdict) => full.min(begun.max(verdict.first) + self.short),
            None => full,
        }
    }

    /// How long nothing has come while a call that began at `begun` was listening.
    fn since(&self, begun: Instant) -> Instant {
        self.ears().heard.map_or(begun, |heard| heard.max(begun))
    }

    /// A call that began at `begun` has had all its time and no success.
    pub(crate) fn gave_up(&self, begun: Instant) {
        let (since, now) = (self.since(begun), Instant::now());
        let silent = now.duration_since(since) >= self.least;
        let held = self.verdict();
        if !silent && held.is_none() {
            return;
        }
        self.lately.store(0, Ordering::Release);
        self.verdict.send_modify(|found| {
            let (since, first) = held.map_or((since, now), |held| (held.since, held.first));
            *found = Some(Verdict {
                since,
                first,
                last: now,
            });
        });
        if held.is_none() {
            tracing::warn!(
                "the API server has answered nothing for {} s: calls get {} s each until it does",
                now.duration_since(since).as_secs(),
                self.short.as_secs_f64()
            );
        }
    }

    /// What an error says besides while the server is taken for silent.
    pub(crate) fn note(&self) -> Option<String> {
        let verdict = self.verdict()?;
        let seconds = verdict.since.elapsed().as_secs_f64();
        Some(format!(
            "the api server has answered nothing for {seconds:.0} s"
        ))
    }

    /// Waits for the end of a call that began at `begun`, and gives the time that the call had.
    ///
    /// Tells of a silence that lasts.
    pub(crate) async fn over(&self, begun: Instant, target: &Target) -> Duration {
        let mut verdict = self.verdict.subscribe();
        loop {
            let deadline = self.deadline(begun);
            let now = Instant::now();
            if now >= deadline {
                return deadline.duration_since(begun);
            }
            let wake = self
                .tell(begun, target)
                .map_or(deadline, |at| at.min(deadline));
            // Whichever it is, the deadline is looked at again.
            let _ = tokio::time::timeout_at(wake, verdict.changed()).await;
        }
    }

    /// Tells of a silence that has lasted long enough; gives the time at which to look again.
    fn tell(&self, begun: Instant, target: &Target) -> Option<Instant> {
        let since = self.since(begun);
        let due = since + TELL_AFTER;
        let mut ears = self.ears();
        if ears.told {
            return None;
        }
        let now = Instant::now();
        if now < due {
            return Some(due);
        }
        ears.told = true;
        self.lately.store(0, Ordering::Release);
        drop(ears);
        let left = self.deadline(begun).saturating_duration_since(now);
        tracing::warn!(
            "the API server has not answered for {} s: {target}, waiting {} s more",
            now.duration_since(since).as_secs(),
            left.as_secs()
        );
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn silence() -> Silence {
        Silence::new(300 * S, 60 * S, 10 * S)
    }

    async fn wait(silence: &Silence) -> Duration {
        let begun = Instant::now();
        let had = silence.over(begun, &Target::default()).await;
        assert_eq!(had, begun.elapsed());
        silence.gave_up(begun);
        had
    }

    #[tokio::test(start_paused = true)]
    async fn one_call_waits_long_and_the_others_short() {
        let silence = silence();
        assert_eq!(wait(&silence).await, 300 * S);
        for _ in 0..40 {
            assert_eq!(wait(&silence).await, 10 * S);
        }
        let note = silence.note().unwrap();
        assert_eq!(note, "the api server has answered nothing for 700 s");
        silence.heard();
        assert_eq!(silence.note(), None);
        assert_eq!(wait(&silence).await, 300 * S);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_under_way_are_cut_short_and_an_answer_gives_their_time_back() {
        let silence = silence();
        let early = wait(&silence);
        let late = async {
            tokio::time::sleep(200 * S).await;
            wait(&silence).await
        };
        assert_eq!(tokio::join!(early, late), (300 * S, 110 * S));
        let answered = async {
            tokio::time::sleep(5 * S).await;
            silence.heard();
        };
        let ((), had) = tokio::join!(answered, wait(&silence));
        assert_eq!(had, 300 * S);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_talks_is_not_silent_and_an_old_verdict_does_not_count() {
        let silence = silence();
        let begun = Instant::now();
        tokio::time::sleep(280 * S).await;
        silence.heard();
        tokio::time::sleep(20 * S).await;
        silence.gave_up(begun);
        assert_eq!(silence.note(), None, "20 s of silence are none");
        wait(&silence).await;
        assert!(silence.note().is_some());
        tokio::time::sleep(400 * S).await;
        assert_eq!(wait(&silence).await, 300 * S);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silence_is_told_once() {
        let (silence, begun) = (silence(), Instant::now());
        let tell = || silence.tell(begun, &Target::default());
        assert_eq!(tell(), Some(begun + 15 * S));
        assert!(!silence.ears().told);
        tokio::time::sleep(15 * S).await;
        assert_eq!(tell(), None);
        assert!(silence.ears().told);
        assert_eq!(tell(), None);
        silence.heard();
        assert!(!silence.ears().told);
        assert!(tell().is_some());
    }
}
