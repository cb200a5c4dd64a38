//! How many calls are under way at once: found out by watching how the API server takes them.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Bounds of an [`AdaptiveLimiter`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LimiterOptions {
    /// Calls under way at the beginning; 16.
    pub start: usize,
    /// Fewest calls under way; 1.
    pub min: usize,
    /// Most calls under way; 128.
    pub max: usize,
    /// What is left of the limit after an answer 429, a server error or a timeout; 0.5.
    pub shrink: f64,
    /// Extra latency over the fastest answers at which the limit shrinks slowly, down to `start`; 75 ms.
    pub latency_slack: Duration,
    /// How long the limit stays below the one that was answered with 429, at first and at most: each 429 for trying more
    /// again doubles it; 2 s and 60 s.
    pub probe: (Duration, Duration),
    /// Longest `Retry-After` that is obeyed; 60 s.
    pub max_hold: Duration,
}

impl Default for LimiterOptions {
    fn default() -> Self {
        Self {
            start: 16,
            min: 1,
            max: 128,
            shrink: 0.5,
            latency_slack: Duration::from_millis(75),
            probe: (Duration::from_secs(2), Duration::from_secs(60)),
            max_hold: Duration::from_secs(60),
        }
    }
}

impl LimiterOptions {
    /// Sets how many calls are under way at the beginning.
    #[must_use]
    pub fn start(mut self, calls: usize) -> Self {
        self.start = calls;
        self
    }

    /// Sets the most calls under way.
    #[must_use]
    pub fn max(mut self, calls: usize) -> Self {
        self.max = calls.max(1);
        self
    }
}

/// How a call went, as far as the limit is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The API server answered as it should, whatever the answer was. Short calls tell their latency.
    Answered {
        /// Whether the latency of this call can be compared with that of others (not so for lists).
        comparable: bool,
    },
    /// The API server asked for fewer calls.
    Throttled {
        /// How long it wants no calls at all.
        retry_after: Option<Duration>,
    },
    /// The API server failed, or no answer came in time.
    Failed,
}

/// The state of a limiter, for tests and metrics.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LimiterStats {
    /// Calls that may be under way now.
    pub limit: usize,
    /// Calls under way.
    pub in_flight: usize,
    /// Calls that ended.
    pub finished: u64,
    /// Answers 429.
    pub throttled: u64,
    /// Server errors and timeouts.
    pub failed: u64,
    /// How often the limit was cut.
    pub cuts: u64,
    /// Time until which no new call begins.
    pub held_for: Option<Duration>,
}

/// Permits for calls, whose number grows with success and shrinks with trouble. Cloning shares the permits.
///
/// The limit doubles with each round of answers until the first trouble, then grows by one a round. An answer 429,
/// a server error or a timeout halves it, once for all calls that were under way together. `Retry-After` holds all
/// new calls back. A number of calls that was answered with 429 is tried again after a while only, each time after a
/// longer one, so that an API server that grants few calls at a time is not asked for more again and again. There is no
/// fixed rate.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use velero_cluster::{AdaptiveLimiter, Outcome};
/// let limiter = AdaptiveLimiter::default();
/// let permit = limiter.acquire().await;
/// permit.finish(Outcome::Answered { comparable: true });
/// assert_eq!(limiter.stats().in_flight, 0);
/// # }
/// ```
#[derive(Clone)]
pub struct AdaptiveLimiter {
    shared: Arc<Shared>,
}

struct Shared {
    options: LimiterOptions,
    permits: Arc<Semaphore>,
    state: Mutex<State>,
}

struct State {
    limit: f64,
    /// Permits in the world: free ones and those of calls under way.
    issued: usize,
    in_flight: usize,
    fast_start: bool,
    last_cut: Option<Instant>,
    hold_until: Option<Instant>,
    latency: Latency,
    ceiling: Option<Ceiling>,
    finished: u64,
    throttled: u64,
    failed: u64,
    cuts: u64,
}

/// A limit that the API server has refused.
#[derive(Clone, Copy)]
struct Ceiling {
    /// Calls under way when it did.
    refused: f64,
    /// Until when the limit stays below that.
    until: Instant,
    /// How long that is.
    wait: Duration,
}

impl Ceiling {
    /// What may be under way while it stands: a tenth less, one at least.
    fn below(&self, options: &LimiterOptions) -> f64 {
        let less = (self.refused * 0.9).min(self.refused - 1.0);
        less.max(options.min as f64)
    }
}

/// Fastest and recent latency, in seconds.
#[derive(Default)]
struct Latency {
    floor: Option<(f64, Instant)>,
    recent: f64,
}

/// How fast the fastest latency is forgotten, a second.
const FORGET: f64 = 0.001;

impl Latency {
    /// Takes a measurement; tells whether calls are waiting in a queue somewhere.
    fn queued(&mut self, seconds: f64, slack: f64) -> bool {
        let now = Instant::now();
        // The floor creeps up, so that a server that became slower for good is not held against old times.
        let crept = self.floor.map_or(f64::MAX, |(floor, at)| {
            floor * (1.0 + FORGET * (now - at).as_secs_f64())
        });
        let floor = crept.min(seconds);
        self.floor = Some((floor, now));
        self.recent = if self.recent == 0.0 {
            seconds
        } else {
            self.recent * 0.9 + seconds * 0.1
        };
        self.recent > (floor * 4.0).max(floor + slack)
    }
}

impl Default for AdaptiveLimiter {
    fn default() -> Self {
        Self::new(LimiterOptions::default())
    }
}

impl fmt::Debug for AdaptiveLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptiveLimiter")
            .field("stats", &self.stats())
            .finish()
    }
}

impl AdaptiveLimiter {
    /// Makes a limiter.
    pub fn new(options: LimiterOptions) -> Self {
        let (min, max) = (options.min.max(1), options.max.max(options.min.max(1)));
        let start = options.start.clamp(min, max);
        let options = LimiterOptions {
            start,
            min,
            max,
            ..options
        };
        let state = State {
            limit: start as f64,
            issued: start,
            in_flight: 0,
            fast_start: true,
            last_cut: None,
            hold_until: None,
            latency: Latency::default(),
            ceiling: None,
            finished: 0,
            throttled: 0,
            failed: 0,
            cuts: 0,
        };
        Self {
            shared: Arc::new(Shared {
                options,
                permits: Arc::new(Semaphore::new(start)),
                state: Mutex::new(state),
            }),
        }
    }

    /// Waits for leave to make a call, in the order of asking. Callers put a deadline around it.
    pub async fn acquire(&self) -> Permit {
        // The semaphore is never closed, so an error cannot come; a permit-less call would still be correct.
        let permit = Arc::clone(&self.shared.permits).acquire_owned().await.ok();
        loop {
            let hold = self.shared.lock().hold_until;
            match hold {
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until).await,
                _ => break,
            }
        }
        self.permit(permit)
    }

    /// Gives leave if nobody has to wait for it now.
    pub(crate) fn try_acquire(&self) -> Option<Permit> {
        let permit = Arc::clone(&self.shared.permits).try_acquire_owned().ok()?;
        let hold = self.shared.lock().hold_until;
        let is_held = hold.is_some_and(|until| until > Instant::now());
        (!is_held).then(|| self.permit(Some(permit)))
    }

    fn permit(&self, permit: Option<OwnedSemaphorePermit>) -> Permit {
        self.shared.lock().in_flight += 1;
        Permit {
            shared: Arc::clone(&self.shared),
            permit,
            started: Instant::now(),
        }
    }

    /// The state as it is now.
    pub fn stats(&self) -> LimiterStats {
        let state = self.shared.lock();
        LimiterStats {
            limit: state.limit as usize,
            in_flight: state.in_flight,
            finished: state.finished,
            throttled: state.throttled,
            failed: state.failed,
            cuts: state.cuts,
            held_for: state
                .hold_until
                .and_then(|until| until.checked_duration_since(Instant::now()))
                .filter(|left| !left.is_zero()),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn grow(&mut self, options: &LimiterOptions) {
        // A limit that is not used to the full says nothing about what the server can take.
        if self.in_flight + 1 >= self.limit as usize {
            self.limit += if self.fast_start {
                1.0
            } else {
                1.0 / self.limit
            };
        }
        self.limit = self.limit.min(options.max as f64);
        if let Some(ceiling) = &self.ceiling {
            if Instant::now() < ceiling.until {
                self.limit = self.limit.min(ceiling.below(options));
            } else if self.limit > ceiling.refused + 1.0 {
                self.ceiling = None;
            }
        }
    }

    /// Notes that the present limit is more than the API server grants.
    fn refuse(&mut self, started: Instant, (first, most): (Duration, Duration)) {
        if self.last_cut.is_some_and(|at| started <= at) {
            return;
        }
        let now = Instant::now();
        let wait = match &self.ceiling {
            // It was tried once more.
            Some(known) if now >= known.until => (known.wait * 2).min(most),
            Some(known) => known.wait,
            None => first,
        };
        self.ceiling = Some(Ceiling {
            refused: self.limit.floor(),
            until: now + wait,
            wait,
        });
    }

    /// Cuts the limit, but once only for calls that were under way together.
    fn cut(&mut self, started: Instant, factor: f64, least: usize) {
        if self.last_cut.is_some_and(|at| started <= at) {
            return;
        }
        self.last_cut = Some(Instant::now());
        self.fast_start = false;
        self.cuts += 1;
        self.limit = (self.limit * factor).max(least as f64);
    }

    fn take(&mut self, outcome: Outcome, started: Instant, options: &LimiterOptions) {
        self.finished += 1;
        match outcome {
            Outcome::Answered { comparable } => {
                let seconds = started.elapsed().as_secs_f64();
                if comparable
                    && self
                        .latency
                        .queued(seconds, options.latency_slack.as_secs_f64())
                {
                    // Some calls are slow by nature: latency alone never takes the limit below its start.
                    self.cut(started, 0.9, options.start.min(self.limit as usize));
                } else {
                    self.grow(options);
                }
            }
            Outcome::Throttled { retry_after } => {
                self.throttled += 1;
                self.refuse(started, options.probe);
                self.cut(started, options.shrink, options.min);
                if let Some(wait) = retry_after {
                    let until = Instant::now() + wait.min(options.max_hold);
                    self.hold_until = Some(self.hold_until.map_or(until, |old| old.max(until)));
                }
            }
            Outcome::Failed => {
                self.failed += 1;
                self.cut(started, options.shrink, options.min);
            }
        }
    }
}

/// Leave to make one call. Dropping it gives it back without a verdict.
#[must_use]
pub struct Permit {
    shared: Arc<Shared>,
    permit: Option<OwnedSemaphorePermit>,
    started: Instant,
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("started", &self.started)
            .finish_non_exhaustive()
    }
}

impl Permit {
    /// Tells how the call went and gives the permit back.
    pub fn finish(self, outcome: Outcome) {
        let mut state = self.shared.lock();
        state.take(outcome, self.started, &self.shared.options);
        drop(state);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.in_flight -= 1;
        let wanted = state.limit as usize;
        let permits = &self.shared.permits;
        if state.issued < wanted {
            permits.add_permits(wanted - state.issued);
            state.issued = wanted;
        } else if state.issued > wanted {
            if let Some(permit) = self.permit.take() {
                permit.forget();
                state.issued -= 1;
            }
            let surplus = state.issued - wanted;
            state.issued -= permits.forget_permits(surplus);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn round(limiter: &AdaptiveLimiter, outcome: Outcome, latency: Duration) {
        let calls = limiter.stats().limit;
        let mut permits = Vec::new();
        for _ in 0..calls {
            permits.push(limiter.acquire().await);
        }
        tokio::time::sleep(latency).await;
        for permit in permits {
            permit.finish(outcome);
        }
    }

    const OK: Outcome = Outcome::Answered { comparable: true };
    const MS: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn grows_on_success_up_to_the_maximum() {
        let limiter = AdaptiveLimiter::new(LimiterOptions::default().start(2).max(40));
        for _ in 0..60 {
            round(&limiter, OK, MS).await;
        }
        assert_eq!(limiter.stats().limit, 40);
        assert_eq!(limiter.stats().in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_cuts_once_for_calls_under_way_together() {
        for outcome in [Outcome::Failed, Outcome::Throttled { retry_after: None }] {
            let limiter = AdaptiveLimiter::new(LimiterOptions::default().start(16));
            round(&limiter, outcome, MS).await;
            assert_eq!(limiter.stats().limit, 8, "{outcome:?}");
            for _ in 0..10 {
                round(&limiter, outcome, MS).await;
            }
            assert_eq!((limiter.stats().limit, limiter.stats().in_flight), (1, 0));
            // What was refused is not tried again at once.
            tokio::time::sleep(Duration::from_secs(3)).await;
            for _ in 0..40 {
                round(&limiter, OK, MS).await;
            }
            assert!(limiter.stats().limit > 4, "{:?}", limiter.stats());
        }
    }

    /// An API server with so many seats refuses what is more, and wants no call for a second then.
    async fn throttled_rounds(
        limiter: &AdaptiveLimiter,
        seats: usize,
        time: Duration,
    ) -> (u64, u64) {
        let (end, before) = (Instant::now() + time, limiter.stats());
        while Instant::now() < end {
            let calls = limiter.stats().limit;
            let mut permits = Vec::new();
            for _ in 0..calls {
                permits.push(limiter.acquire().await);
            }
            tokio::time::sleep(5 * MS).await;
            for (n, permit) in permits.into_iter().enumerate() {
                permit.finish(match n < seats {
                    true => OK,
                    false => Outcome::Throttled {
                        retry_after: Some(Duration::from_secs(1)),
                    },
                });
            }
        }
        let after = limiter.stats();
        let refused = after.throttled - before.throttled;
        (after.finished - before.finished - refused, refused)
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_refused_is_tried_again_after_ever_longer_waits() {
        let limiter = AdaptiveLimiter::default();
        throttled_rounds(&limiter, 1, Duration::from_secs(20)).await;
        let (done, refused) = throttled_rounds(&limiter, 1, Duration::from_secs(100)).await;
        assert!(refused <= 8, "{refused}");
        assert!(
            done >= 100 * 200 * 9 / 10,
            "{done} of 20,000 that fit into the time"
        );
        // A server that grants more is found out.
        throttled_rounds(&limiter, 500, Duration::from_secs(90)).await;
        assert!(limiter.stats().limit > 100, "{:?}", limiter.stats());
    }

    #[tokio::test(start_paused = true)]
    async fn few_of_many_seats_are_left_empty() {
        let limiter = AdaptiveLimiter::default();
        throttled_rounds(&limiter, 40, Duration::from_secs(20)).await;
        let (done, _) = throttled_rounds(&limiter, 40, Duration::from_secs(100)).await;
        assert!(
            done >= 40 * 100 * 200 * 7 / 10,
            "{done} of 800,000 that fit into the time"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_holds_every_new_call() {
        let limiter = AdaptiveLimiter::default();
        limiter.acquire().await.finish(Outcome::Throttled {
            retry_after: Some(Duration::from_secs(7)),
        });
        let before = Instant::now();
        let (a, b) = tokio::join!(limiter.acquire(), limiter.acquire());
        assert!(before.elapsed() >= Duration::from_secs(7));
        drop((a, b));
        assert!(limiter.stats().held_for.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_holds_while_it_shrinks() {
        let limiter = AdaptiveLimiter::new(LimiterOptions::default().start(8));
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(limiter.acquire().await);
        }
        tokio::time::sleep(MS).await;
        held.pop().unwrap().finish(Outcome::Failed);
        assert_eq!(limiter.stats().limit, 4);
        for _ in 0..3 {
            drop(held.pop());
            assert!(tokio::time::timeout(MS, limiter.acquire()).await.is_err());
        }
        drop(held.pop());
        assert!(tokio::time::timeout(MS, limiter.acquire()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn rising_latency_stops_the_growth() {
        let limiter = AdaptiveLimiter::new(LimiterOptions::default().start(4));
        // A server that handles one call a millisecond: latency rises with the calls under way.
        for _ in 0..300 {
            let latency = MS * u32::try_from(limiter.stats().limit).unwrap();
            round(&limiter, OK, latency).await;
        }
        let limit = limiter.stats().limit;
        assert!((20..128).contains(&limit), "{limit}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_gives_up_loses_no_permit() {
        let limiter = AdaptiveLimiter::new(LimiterOptions::default().start(1).max(1));
        let held = limiter.acquire().await;
        assert!(tokio::time::timeout(MS, limiter.acquire()).await.is_err());
        drop(held);
        for _ in 0..3 {
            tokio::time::timeout(MS, limiter.acquire())
                .await
                .unwrap()
                .finish(OK);
        }
    }
}
